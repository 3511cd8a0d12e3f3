"""The story of one run: choose, load, compile, train in stretches, evaluate, save. Read this file first.

A stretch is a range of steps that the device trains on its own. Between stretches the host looks at the
clock, the loss and the keyboard; where a run is cut changes none of its bits.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from neuroforge_jax.backends.compilation_cache import programs_kept
from neuroforge_jax.backends.executors.base import Run, StretchMetrics
from neuroforge_jax.backends.executors.pipelined import Streaming
from neuroforge_jax.backends.memory_estimate import check_fits, estimate, told_in_bytes
from neuroforge_jax.backends.resolve import Choice, choose
from neuroforge_jax.callbacks.base import Progress, Sink
from neuroforge_jax.callbacks.checkpoint import Keeper, continued, open_folder, restarted
from neuroforge_jax.callbacks.divergence import (
    NonFiniteLossError,
    Replay,
    check_finite,
    check_overflow,
    explained,
)
from neuroforge_jax.checkpoint.interval import Schedule
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.job.pieces import make_model, make_state, make_training, state_maker, steps_per_epoch
from neuroforge_jax.job.summary import final_figures, header_rows, result_rows, seconds_rows, test_predictions
from neuroforge_jax.model.io import load, save
from neuroforge_jax.model.model import Model
from neuroforge_jax.system.files import check_output, read_json, write_json
from neuroforge_jax.system.memory import device_bytes, resident_bytes
from neuroforge_jax.system.signals import SignalWatch
from neuroforge_jax.system.spans import PerformanceMonitor
from neuroforge_jax.training.evaluate import prepare_evaluation
from neuroforge_jax.training.progress import EpochSums, Record, Standing, score_of
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Params


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a run.

    model, params: for `evaluate` and `predict`; the best weights where validation data were held out, else the last
    ones. history: one record for each epoch. figures: the content of result.json, with units in the names. folder:
    where the run was saved, if it was. trained: False where a resumed run had nothing left to train.
    """

    model: Model
    params: Params
    history: tuple[Record, ...]
    figures: dict[str, Any]
    folder: RunFolder | None = None
    trained: bool = True

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test samples that `params` classify correctly, from 0 to 1; None for a regression."""
        return self.figures["test_accuracy"]

    @property
    def test_loss(self) -> float:
        """Mean loss of `params` over the test samples."""
        return self.figures["test_loss"]


def fit(
    config: TrainConfig,
    dataset: Dataset | Callable[[], Dataset] | None = None,
    options: RunOptions | None = None,
    *,
    sinks: Sequence[Sink] = (),
    monitor: PerformanceMonitor | None = None,
    instrument: Callable[[Run], Run] | None = None,
) -> Result:
    """Train as the config says, and return the trained model with its figures.

    dataset: a Dataset, or a function that loads one; the dataset that the config names unless given. options: how
    the run is carried out; `run_dir` saves it to a folder, `resume` continues the run in a folder. sinks: are told
    of the run as it goes; `[Console()]` prints what the command prints. monitor: times the parts of the run.
    instrument: takes the prepared run and returns the one to train with, so that it can be observed.

    A run that is saved catches Ctrl-C and SIGTERM: it saves once more and raises Stopped, a KeyboardInterrupt.
    Raises ConfigError, DataError, CheckpointError, DeviceError or DivergedError, each with one sentence that says
    what is wrong, what is allowed and what to do.
    """
    options, choice, listening = options or RunOptions(), choose(config), list(sinks)
    watching = SignalWatch() if options.run_dir or options.resume else nullcontext()
    compiling = choice.backend.device, choice.backend.options(config.batch_size)
    monitor = monitor or PerformanceMonitor()
    kept = programs_kept(*compiling, partial(_tell, listening, "note"))
    with watching as signals, kept, monitor.listening():
        return _fit(
            config, choice, dataset, options, listening, signals, monitor, instrument or (lambda run: run)
        )


def _fit(
    config: TrainConfig,
    choice: Choice,
    dataset: Dataset | Callable[[], Dataset] | None,
    options: RunOptions,
    sinks: list[Sink],
    signals: SignalWatch | None,
    monitor: PerformanceMonitor,
    instrument: Callable[[Run], Run],
) -> Result:
    backend, device = choice.backend, choice.backend.device
    if options.benchmark_output:
        check_output(options.benchmark_output, "--benchmark-output")
    Schedule.parse(options.checkpoint_every)
    if not isinstance(dataset, Dataset):
        named = partial(load_dataset, config.dataset, data_dir=options.data_dir, target=config.target)
        with monitor.track("load"):
            dataset = (dataset or named)()
        if config.dataset == "auto":
            config = replace(config, dataset=dataset.name)  # what is continued must not choose again
    dataset, validation = dataset.first(config.train_samples).hold_out(config.held_out_fraction, config.seed)
    model = make_model(config, dataset)
    training = make_training(config, dataset, skips_non_finite=options.on_divergence == "skip")
    streaming = Streaming(options.chunk_steps, options.read_ahead)
    needed = estimate(config, backend, dataset, model, training, streaming)
    check_fits(needed, device)
    # All that can be wrong with a config is known by now: the folder of a run is one of a run that began.
    folder = open_folder(options)
    keeper, xla_options, begun = None, backend.options(config.batch_size), time.perf_counter()
    try:
        with told_in_bytes(needed, device), monitor.track("compile"):
            # Compiled in threads, beside the steps. Selection is on held-out data alone; test data are shown along
            # the way and decide nothing.
            first_state, state_like = state_maker(config, model, training)
            shown, split = ("test", dataset.test) if validation is None else ("validation", validation)
            evaluate_epoch = prepare_evaluation(model, split, device, xla_options, state_like.params)
            standing = Standing()
        compile_seconds = time.perf_counter() - begun
        if folder and signals:
            signals.hint = f"go on with --resume {folder.path}"
            keeper = Keeper(folder, config, options, dataset, signals, partial(_tell, sinks, "note"))
            first_state, standing = keeper.restored(first_state)
            saved = folder.epochs_finished() == len(standing.history)
            if options.resume and saved and is_over(standing, config):
                return _finished(folder, standing, sinks)
            sinks.append(keeper.open_metrics())
        environment, begun = backend.environment(config.batch_size), time.perf_counter()
        with told_in_bytes(needed, device):
            with monitor.track("compile"):
                _tell(
                    sinks, "header", header_rows(config, choice, dataset, validation, model, training, needed)
                )
                if folder:
                    if options.resume:
                        steps = steps_per_epoch(config, dataset)
                        _tell(sinks, "note", continued(folder, standing, config.epochs, steps))
                    folder.write_config(config)
                    folder.write_json("environment.json", environment)
                run = instrument(
                    backend.prepare(model, training, dataset, streaming=streaming, state_like=state_like)
                )
                state = first_state()
            compile_seconds += time.perf_counter() - begun

            with signals.deferred() if signals else nullcontext():
                while not is_over(standing, config):
                    with monitor.track("train"):
                        state, record = train_epoch(
                            run, state, standing, config, dataset, options.log_every, sinks, keeper, monitor
                        )
                    with monitor.track("evaluate"):
                        evaluation = evaluate_epoch(state.params)
                    record |= {f"{shown}_loss": evaluation.loss, f"{shown}_accuracy": evaluation.accuracy}
                    record["memory_bytes"] = device_bytes(device) or resident_bytes()
                    epoch = len(standing.history)
                    standing.history.append(record)
                    standing.sums = EpochSums()
                    _tell(sinks, "record", record)
                    kept = None if validation is None else state.params
                    standing.best = standing.best.updated(evaluation, epoch, kept)
                    if keeper:
                        score = None if validation is None else score_of(evaluation)
                        with monitor.track("save"):
                            keeper.look_up(state, standing, ends_epoch=True, score=score)
                if keeper:
                    with monitor.track("save"):
                        keeper.finish(state, standing)

            best = standing.best
            params = best.params if best.params is not None else state.params
            with monitor.track("evaluate"):
                evaluate_test = (
                    evaluate_epoch
                    if validation is None
                    else prepare_evaluation(model, dataset.test, device, xla_options)
                )
                test = evaluate_test(params)
            with monitor.track("measure the peak"):
                figures = final_figures(config, dataset, model, backend, standing, compile_seconds, test)
        if folder:
            with monitor.track("save"):
                save(folder.path, model, params)
                folder.write_arrays("predictions.npz", test_predictions(model, params, dataset))
                folder.write_json("result.json", figures)
        seconds = monitor.seconds
        if options.benchmark_output:
            timed = {
                "seconds": seconds,
                "spans": monitor.rows(),
                "result": figures,
                "environment": environment,
            }
            write_json(options.benchmark_output, timed)
        _tell(sinks, "result", [*result_rows(figures), *(seconds_rows(seconds) if options.benchmark else ())])
        return Result(model, params, tuple(standing.history), figures, folder)
    except NonFiniteLossError as error:
        restart = partial(restarted, keeper, partial(make_state, config, model, training))
        replay = Replay(run, restart, model, backend.parts(model, training), dataset.train, config.batch_size)
        raise explained(error, replay, standing.pace.train_seconds, options.debug_nans) from None
    finally:
        if keeper:
            keeper.close()
        for sink in sinks:
            sink.close()
        if folder:
            folder.release()


def train_epoch(
    run: Run,
    state: TrainState,
    standing: Standing,
    config: TrainConfig,
    dataset: Dataset,
    log_every: int,
    sinks: Sequence[Sink],
    keeper: Keeper | None,
    monitor: PerformanceMonitor,
) -> tuple[TrainState, dict[str, Any]]:
    """Train what is left of the epoch, stretch by stretch; the record holds its means over samples."""
    per_epoch, pace, sums = steps_per_epoch(config, dataset), standing.pace, standing.sums
    epoch = len(standing.history)
    end = (epoch + 1) * per_epoch
    while standing.step < end:
        begun = time.perf_counter()
        until_save = (keeper and keeper.steps_left(standing.step)) or end
        last = standing.step + min(pace.next_stretch(end - standing.step), until_save)
        with monitor.track("steps"):
            state, metrics = run(state, standing.step, last)
            stretch_samples = float(metrics.weights.sum())
            stretch_correct = float(metrics.correct.sum())  # waits for the device
        seconds = time.perf_counter() - begun
        pace.measured(metrics.last_step - metrics.first_step, stretch_samples, seconds)
        standing.step = metrics.last_step
        check_overflow(state, standing.step, per_epoch)
        check_finite(metrics, pace, per_epoch)
        sums.add(metrics.loss, metrics.correct, metrics.weights, int(metrics.skipped.sum()), seconds)
        _log_steps(metrics, log_every, per_epoch, sinks)
        progress = Progress(
            step=standing.step,
            steps=config.epochs * per_epoch,
            epoch=epoch + 1,
            epochs=config.epochs,
            loss=metrics.mean_loss,
            accuracy=stretch_correct / stretch_samples if dataset.classes else None,
            samples_per_second=pace.samples / pace.train_seconds,
        )
        _tell(sinks, "progress", progress)
        if keeper:
            with monitor.track("save"):
                keeper.look_up(state, standing)
    samples = len(dataset.train)
    record = {
        "event": "epoch",
        "epoch": epoch + 1,
        "step": standing.step,
        "train_loss": sums.mean_loss,
        "train_accuracy": sums.correct / samples if dataset.classes else None,
        "train_seconds": pace.train_seconds,
        "samples_per_second": samples / sums.seconds,
    }
    if state.loss_scale is not None:
        record |= {"skipped_steps": sums.skipped, "loss_scale": float(state.loss_scale.scale)}
    return state, record


def is_over(standing: Standing, config: TrainConfig) -> bool:
    """Whether the last epoch has been trained, or nothing better is to be expected."""
    epochs = len(standing.history)
    enough = epochs > 0 and standing.best.is_enough(epochs - 1, config.patience, config.target_accuracy)
    return epochs >= config.epochs or enough


def _finished(folder: RunFolder, standing: Standing, sinks: Sequence[Sink]) -> Result:
    """A run that has nothing left to train, as it lies there."""
    _tell(sinks, "note", f"{folder.path} is finished: there is nothing left to train")
    model, params = load(folder.path)
    figures = read_json(folder.path / "result.json")
    return Result(model, params, tuple(standing.history), figures, folder, trained=False)


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
