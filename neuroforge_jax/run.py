"""The story of one run: choose, load, compile, train in stretches, evaluate, save. Read this file first.

A stretch is a range of steps that the device trains on its own. Between stretches the host looks at the
clock, the loss and the keyboard; where a run is cut changes none of its bits.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroforge_jax.assembly import make_model, make_state, make_training, steps_per_epoch
from neuroforge_jax.backends import choose
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.environment import describe
from neuroforge_jax.errors import DivergedError
from neuroforge_jax.execution.interface import Run, StretchMetrics
from neuroforge_jax.execution.pipelined import Streaming
from neuroforge_jax.observe.monitor import PerformanceMonitor
from neuroforge_jax.observe.pace import Pace
from neuroforge_jax.observe.sinks import JsonLines, Progress, Record, Sink
from neuroforge_jax.precision.loss_scale import PERMANENT
from neuroforge_jax.run_folder import RunFolder, check_output, write_json
from neuroforge_jax.summary import final_figures, header_rows, result_rows, seconds_rows, test_predictions
from neuroforge_jax.training.evaluate import prepare_evaluation
from neuroforge_jax.training.model import Model
from neuroforge_jax.training.selection import Best
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Params


@dataclass(frozen=True, eq=False)
class Result:
    """What a run came to.

    model, params: ready for `evaluate` and `predict`; the best weights where there was validation, else the
    last. history: the records of the epochs. figures: what result.json holds, units in the names.
    """

    model: Model
    params: Params
    history: tuple[Record, ...]
    figures: dict[str, Any]
    folder: RunFolder | None = None

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test samples that `params` classify rightly; None for a regression."""
        return self.figures["test_accuracy"]

    @property
    def test_loss(self) -> float:
        """Mean loss of `params` over the test samples."""
        return self.figures["test_loss"]


def fit(
    config: TrainConfig,
    dataset: Dataset | None = None,
    options: RunOptions | None = None,
    *,
    sinks: Sequence[Sink] = (),
) -> Result:
    """Train as the config says, on `dataset` or else on the one that the config names.

    With `options.run_dir` the run is saved there. Sinks listen: `[Console()]` shows what the command shows.
    Raises ConfigError, DataError, DeviceError or DivergedError, each a sentence for the user.
    """
    options, monitor = options or RunOptions(), PerformanceMonitor()
    choice = choose(config)
    backend = choice.backend
    if options.benchmark_output:
        check_output(options.benchmark_output, "--benchmark-output")
    if dataset is None:
        with monitor.track("load"):
            dataset = load_dataset(config.dataset, data_dir=options.data_dir, target=config.target)
    dataset, validation = dataset.first(config.train_samples).hold_out(config.held_out_fraction, config.seed)
    model, training = make_model(config, dataset), make_training(config, dataset)
    # All that can be wrong with a config is known by now: the folder of a run is one of a run that began.
    folder = RunFolder.create(options.run_dir) if options.run_dir else None
    xla_options = backend.options(config.batch_size)
    sinks = [*sinks, JsonLines(folder.path / "metrics.jsonl")] if folder else sinks
    try:
        streaming = Streaming(options.chunk_steps, options.read_ahead)
        environment = describe(backend, config.batch_size)
        with monitor.track("compile"):
            state = make_state(config, model, training)
            _tell(sinks, "header", header_rows(config, choice, dataset, validation, model, state, streaming))
            if folder:
                folder.write_config(config)
                folder.write_json("environment.json", environment)
            run = backend.prepare(model, training, dataset, streaming=streaming)
        compile_seconds = monitor.seconds["compile"]

        # Selection is on held-out data alone; test data are shown along the way and decide nothing.
        shown, split = ("test", dataset.test) if validation is None else ("validation", validation)
        evaluate_epoch = prepare_evaluation(model, split, backend.device, xla_options)
        pace, best = Pace(), Best()
        history: list[Record] = []
        for epoch in range(config.epochs):
            with monitor.track("train"):
                state, record = train_epoch(
                    run, state, epoch, config, dataset, pace, options.log_every, sinks
                )
            with monitor.track("evaluate"):
                evaluation = evaluate_epoch(state.params)
            record |= {f"{shown}_loss": evaluation.loss, f"{shown}_accuracy": evaluation.accuracy}
            history.append(record)
            _tell(sinks, "record", record)
            best = best.updated(evaluation, epoch, None if validation is None else state.params)
            if best.is_enough(epoch, config.patience, config.target_accuracy):
                break

        params = best.params if best.params is not None else state.params
        with monitor.track("evaluate"):
            test = prepare_evaluation(model, dataset.test, backend.device, xla_options)(params)
        with monitor.track("measure the peak"):
            figures = final_figures(
                config, dataset, model, backend, pace, compile_seconds, test, best, history
            )
        if folder:
            with monitor.track("save"):
                folder.write_model(model, params)
                folder.write_arrays("predictions.npz", test_predictions(model, params, dataset))
                folder.write_json("result.json", figures)
        seconds = monitor.seconds
        if options.benchmark_output:
            write_json(
                options.benchmark_output,
                {"seconds": seconds, "result": figures, "environment": environment},
            )
        _tell(sinks, "result", [*result_rows(figures), *(seconds_rows(seconds) if options.benchmark else ())])
        return Result(model, params, tuple(history), figures, folder)
    finally:
        for sink in sinks:
            sink.close()


def train_epoch(
    run: Run,
    state: TrainState,
    epoch: int,
    config: TrainConfig,
    dataset: Dataset,
    pace: Pace,
    log_every: int,
    sinks: Sequence[Sink],
) -> tuple[TrainState, dict[str, Any]]:
    """Train one epoch, stretch by stretch; the record holds its means over samples."""
    per_epoch = steps_per_epoch(config, dataset)
    step, end = epoch * per_epoch, (epoch + 1) * per_epoch
    before, loss_sum, correct_sum, counted, skipped = pace.train_seconds, 0.0, 0.0, 0.0, 0
    while step < end:
        begun = time.perf_counter()
        state, metrics = run(state, step, step + pace.next_stretch(end - step))
        stretch_samples = float(metrics.weights.sum())
        stretch_correct = float(metrics.correct.sum())  # waits for the device
        pace.measured(metrics.last_step - step, stretch_samples, time.perf_counter() - begun)
        step = metrics.last_step
        _check_overflow(state, step, per_epoch)
        _check_finite(metrics, pace, per_epoch)
        # Where the forward pass itself overflowed the step was skipped, and its loss says nothing.
        weights = metrics.weights * np.isfinite(metrics.loss)
        stretch_loss, stretch_counted = float(np.nan_to_num(metrics.loss) @ weights), float(weights.sum())
        _log_steps(metrics, log_every, per_epoch, sinks)
        progress = Progress(
            step=step,
            steps=config.epochs * per_epoch,
            epoch=epoch + 1,
            epochs=config.epochs,
            loss=stretch_loss / stretch_counted if stretch_counted else math.nan,
            accuracy=stretch_correct / stretch_samples if dataset.classes else None,
            samples_per_second=pace.samples / pace.train_seconds,
        )
        _tell(sinks, "progress", progress)
        loss_sum, correct_sum = loss_sum + stretch_loss, correct_sum + stretch_correct
        counted, skipped = counted + stretch_counted, skipped + int(metrics.skipped.sum())
    samples, seconds = len(dataset.train), pace.train_seconds - before
    record = {
        "event": "epoch",
        "epoch": epoch + 1,
        "step": step,
        "train_loss": loss_sum / counted if counted else None,
        "train_accuracy": correct_sum / samples if dataset.classes else None,
        "train_seconds": pace.train_seconds,
        "samples_per_second": samples / seconds,
    }
    if state.loss_scale is not None:
        record |= {"skipped_steps": skipped, "loss_scale": float(state.loss_scale.scale)}
    return state, record


def _check_overflow(state: TrainState, step: int, per_epoch: int) -> None:
    """A run whose every step is skipped ends, as soon as no smaller loss scale is left to be tried."""
    if state.loss_scale is None or int(state.loss_scale.failed) < PERMANENT:
        return
    scale = float(state.loss_scale.scale)
    lower = "set --loss-scale dynamic" if state.loss_scale.is_static and scale > 1 else "use --precision bf16"
    raise DivergedError(
        f"the gradients overflowed in {PERMANENT} steps in a row at the lowest loss scale, "
        f"{scale:,.10g}, before step {step + 1} (epoch {step // per_epoch + 1}); {lower}, or lower --learning-rate"
    )


def _check_finite(metrics: StretchMetrics, pace: Pace, per_epoch: int) -> None:
    """Every step that updated something must have had a finite loss; a skipped one may have had any."""
    finite = np.isfinite(metrics.loss) | (metrics.skipped > 0)
    if not finite.all():
        at = int(np.argmin(finite))
        last = metrics.loss[at - 1] if at else pace.last_loss
        step = metrics.first_step + at
        raise DivergedError(
            f"the loss became {metrics.loss[at]} at step {step + 1} (epoch {step // per_epoch + 1}), after "
            f"{last:.4g} in the step before; lower --learning-rate, or set --clip-norm 1"
        )
    pace.last_loss = float(metrics.loss[-1])


def _log_steps(metrics: StretchMetrics, log_every: int, per_epoch: int, sinks: Sequence[Sink]) -> None:
    for step in range(metrics.first_step, metrics.last_step) if log_every else ():
        if (step + 1) % log_every == 0:
            loss = float(metrics.loss[step - metrics.first_step])
            record = {"event": "step", "step": step + 1, "epoch": step // per_epoch + 1}
            # The loss of a skipped step may be a NaN, which JSON does not know.
            _tell(sinks, "record", record | {"loss": loss if math.isfinite(loss) else None})


def _tell(sinks: Sequence[Sink], event: str, what: Any) -> None:
    for sink in sinks:
        getattr(sink, event)(what)
