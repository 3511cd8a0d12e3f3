"""The story of one run: resolve, load, compile, train, evaluate, save. Read this file first."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from neuroforge_jax.backends.compilation_cache import keep_programs
from neuroforge_jax.backends.executors.base import Streaming
from neuroforge_jax.backends.jax_settings import OwnSettings
from neuroforge_jax.backends.memory_estimate import check_fits, explain_out_of_memory
from neuroforge_jax.backends.resolve import Choice, choose
from neuroforge_jax.callbacks.base import Callback, Callbacks
from neuroforge_jax.callbacks.checkpoint import Checkpointer
from neuroforge_jax.callbacks.divergence import Divergence, RestartPoint, explain_divergence
from neuroforge_jax.callbacks.early_stopping import EarlyStopping
from neuroforge_jax.callbacks.metrics_log import MetricsLog
from neuroforge_jax.callbacks.run_files import RunFiles
from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.checkpoint.run_folder import RunFolder, open_run
from neuroforge_jax.checkpoint.saved_options import find_data, holds_out_by_class, restore_options
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.config.effects import Circumstances, describe_idle_fields
from neuroforge_jax.data.datasets import load_dataset, load_frame
from neuroforge_jax.data.shards.dataset import ShardedDataset
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import ConfigError, VerificationError
from neuroforge_jax.job.assessment import Assessment, assess
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.resolve import select_rows
from neuroforge_jax.job.summary import (
    describe_changes,
    final_figures,
    measure_peak,
    result_rows,
)
from neuroforge_jax.job.trainer import Trainer, is_over
from neuroforge_jax.model.io import load
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.system.agreement import Agreement
from neuroforge_jax.system.files import check_output, read_json
from neuroforge_jax.system.joining import join
from neuroforge_jax.system.matching import check_same_command, check_same_data, spread
from neuroforge_jax.system.memory_pool import describe_pool, set_pool
from neuroforge_jax.system.peers import Peers, explain_failed_collectives, find_peers
from neuroforge_jax.system.signals import SignalWatch
from neuroforge_jax.system.spans import PerformanceMonitor, span
from neuroforge_jax.training.evaluate import Evaluator
from neuroforge_jax.training.progress import Record, TrainProgress
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Params

LoadData = Callable[[], Dataset]


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of a run.

    model, params: for `evaluate` and `predict`; the best weights where validation data were held out, else the last
    ones. history: one record for each epoch. figures: the content of result.json, with units in the names. folder:
    where the run was saved, if it was. trained: False where a resumed run had nothing left to train. test: the test
    data, None where there are none. assessment: what the model says of them and how good it is, where that was
    shown or saved. In a notebook it shows its curves and mistakes, elsewhere a few lines.
    """

    model: FittedModel
    params: Params
    history: tuple[Record, ...]
    figures: dict[str, Any]
    folder: RunFolder | None = None
    trained: bool = True
    config: TrainConfig | None = None
    test: Split | None = None
    assessment: Assessment | None = None

    def __repr__(self) -> str:
        widths = (self.model.mlp.inputs, *self.model.mlp.hidden, self.model.mlp.outputs)
        figures = self.figures
        lines = [
            f"Result of {figures['dataset']}, backend {figures['backend']}, {'-'.join(map(str, widths))}",
            *(f"{label}: {' '.join(text.split())}" for label, text in result_rows(figures)[:4]),
        ]
        return "\n  ".join(lines)

    def _repr_html_(self) -> str:
        from neuroforge_jax.report.run_files import describe_result
        from neuroforge_jax.report.run_page import render_result

        assessment = self.assessment or _assess(self.model, self.params, self.test)
        figures = {**assessment.named("test"), **self.figures} if assessment else self.figures
        predictions = assessment.arrays if assessment else {}
        return render_result(describe_result(self.config, self.model, self.history, figures, predictions))

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test samples that `params` classify correctly, from 0 to 1; None for a regression, and where
        there are no test data.
        """
        return self.figures["test_accuracy"]

    @property
    def test_loss(self) -> float | None:
        """Mean loss of `params` over the test samples; None where there are none."""
        return self.figures["test_loss"]


def fit(
    config: TrainConfig,
    dataset: Dataset | LoadData | Any | None = None,
    options: RunOptions | None = None,
    *,
    callbacks: Iterable[Callback] = (),
) -> Result:
    """Train as the config says, and return the trained model with its figures.

    dataset: a Dataset, a data frame whose columns the config names, or a function that loads a dataset; the one
    that the config names unless given. options: how the run is carried out; `run_dir` saves it to a folder,
    `resume` continues the run in a folder, with what its first command said wherever an option is at its
    default. callbacks: are told of the run as it goes; `[Console()]` prints what the command prints.

    A run that is saved catches Ctrl-C, SIGTERM and SIGHUP in the main thread: it saves once more and raises
    Stopped, a KeyboardInterrupt. Raises ConfigError, DataError, CheckpointError, DeviceError or DivergedError, each
    with one sentence that says what is wrong, what is allowed and what to do.
    """
    options = restore_options(options or RunOptions())
    if options.config is not None:
        raise ConfigError(
            f"options.config {options.config}: a file is for the command line; give the config in it"
        )
    return carry_out(find_data(config, options), dataset, options, callbacks)


def carry_out(
    config: TrainConfig,
    dataset: Dataset | LoadData | None,
    options: RunOptions,
    callbacks: Iterable[Callback] = (),
) -> Result:
    """As `fit`, with the options as they are: nothing is restored from a saved run."""
    _check(options)
    with ExitStack() as stack:  # everything opened is closed, whatever happens
        signals = stack.enter_context(_watch_signals(options))
        settings = stack.enter_context(OwnSettings())
        starts_in_time = set_pool(options)
        join(options)
        peers = find_peers()
        stack.enter_context(explain_failed_collectives(peers, options))
        config = spread(peers, config, options)
        check_same_command(peers, config, options)
        choice = choose(config)
        team = stack.enter_context(Callbacks([Divergence(), *callbacks]))
        monitor = stack.enter_context(_watch_time(options))
        pool = describe_pool(options, choice.backend.device.platform, in_time=starts_in_time)
        for sentence in filter(None, (pool, settings.note, _describe_signals(options))):
            team.note(sentence)
        job = _build(config, dataset, options, choice)
        check_same_data(peers, job.dataset.identity)
        stopping = EarlyStopping(job.selection)
        team.add(stopping, first=True)
        stack.enter_context(keep_programs(job.device, job.compile_options, team.note))
        job.prepare_start()
        check_fits(job.memory, job.device)
        if idle := describe_idle_fields(job.config, options, _circumstances(job, options)):
            team.note(f"note      {idle}")
        if options.verify:
            team.note(_verify(job, options.tolerance))
        # All that can be wrong with a config is known by now: the folder of a run is one of a run that began.
        folder = stack.enter_context(open_run(options, peers))
        if folder is not None and folder.warning:
            team.note(folder.warning)
        stack.push(team)  # closed before the folder is free for another process: a save may be under way
        begun = time.perf_counter()
        with explain_out_of_memory(job.memory, job.device):
            for callback in _callbacks_of(options, folder, monitor):
                team.add(callback)
            start, progress, restart = _begin(job, folder, options, signals, team, peers)
            if peers.decide(lambda: _is_finished(folder, job, progress, team)):
                return _finished_before(folder, job, progress, team)
            team.start(job, progress)
            with span("compile"):
                agreement = Agreement(peers, signals)
                trainer = Trainer(job, job.compile(), start(), progress, _evaluators(job), agreement)
            compile_seconds = time.perf_counter() - begun
            with explain_divergence(trainer, restart, debug_nans=options.debug_nans), signals.deferred():
                trainer.train(team)
            result = _result(trainer, stopping, folder, compile_seconds, team)
        team.finish(trainer, result)
        return result


def _check(options: RunOptions) -> None:
    """What can be wrong with the options alone."""
    Interval.parse(options.checkpoint_every)
    if options.benchmark_output:
        check_output(options.benchmark_output, "--benchmark-output")
    for flag in ("tensorboard", "memory_profile", "trace"):
        if getattr(options, flag) and not (options.run_dir or options.resume):
            name = flag.replace("_", "-")
            raise ConfigError(
                f"--{name} writes into the run's folder; give one as --run-dir, or leave it out"
            )


def _watch_signals(options: RunOptions) -> AbstractContextManager[SignalWatch]:
    """A run that is saved answers to signals; any other leaves them to Python."""
    return SignalWatch() if options.run_dir or options.resume else nullcontext(SignalWatch())


def _describe_signals(options: RunOptions) -> str:
    """A note where a run that is saved cannot hear signals; empty otherwise."""
    if not (options.run_dir or options.resume) or threading.current_thread() is threading.main_thread():
        return ""
    return "note      Ctrl-C, SIGTERM and SIGHUP are heard in the main thread alone: this run is not saved by them"


def _build(
    config: TrainConfig, dataset: Dataset | LoadData | None, options: RunOptions, choice: Choice
) -> Job:
    """The job of a run: its data loaded, cut and held out as the config says."""
    if dataset is not None and not isinstance(dataset, Dataset) and not callable(dataset):
        dataset = load_frame(dataset, config)
    if not isinstance(dataset, Dataset):
        named = partial(load_dataset, config, data_dir=options.data_dir)
        with span("load"):
            dataset = (dataset or named)()
        if config.dataset == "auto":
            config = replace(config, dataset=dataset.name)  # what is continued must not choose again
    if not holds_out_by_class(options):
        dataset = replace(dataset, partition=replace(dataset.partition, by_class=False))
    if isinstance(dataset, ShardedDataset):
        choice = choose(config, streams=True)
    skips = options.on_divergence == "skip"
    job = Job.build(config, select_rows(config, dataset), choice, skips_non_finite=skips)
    return replace(job, streaming=Streaming(options.chunk_steps, options.read_ahead))


def _circumstances(job: Job, options: RunOptions) -> Circumstances:
    """What tells whether every field of config and options has an effect."""
    return Circumstances(
        inputs=job.dataset.inputs,
        classes=bool(job.dataset.classes),
        held_out=job.dataset.validation is not None,
        pipelined=job.backend.executor.takes_source,
        saved=bool(options.run_dir or options.resume),
        scaling=job.dataset.plan.scaling if job.dataset.plan.numbers else None,
        task=job.dataset.target.task,
        transform=job.dataset.target.transform,
        columns=job.dataset.schema is not None,
    )


def _verify(job: Job, tolerance: float | None) -> str:
    """A line for the header. Raises VerificationError where the backend computes something else than the oracle."""
    from neuroforge_jax.verification.checks import verify_backend, verify_training

    with span("verify"):
        mesh = job.placement.mesh
        standard = verify_backend(job.backend, tolerance, flops=job.flops, mesh=mesh)
        own = verify_training(job.backend, job.config, job.dataset, mesh=mesh)
    for verdict in (standard, own):
        if not verdict.passed:
            raise VerificationError(
                f"backend {job.backend.name!r} is wrong: {verdict.sentence()}; "
                "train with another --backend, and see python -m neuroforge_jax.verify"
            )
    return f"verified  {standard.sentence()}; its own network and data in {len(own.checks)} more"


def _begin(
    job: Job,
    folder: RunFolder | None,
    options: RunOptions,
    signals: SignalWatch,
    team: Callbacks,
    peers: Peers,
) -> tuple[Callable[[], TrainState], TrainProgress, RestartPoint | None]:
    """What makes the first state, the progress behind it, and where to train again from when a loss is no number.

    The callback that saves is put behind all others here.
    """
    if folder is None:
        return job.start, TrainProgress(), None if peers.are_several else lambda: (job.start(), 0)
    signals.hint = f"go on with --resume {folder.path}"
    team.add(RunFiles(folder, options), first=True)  # a report reads what it writes
    checkpointer = Checkpointer(folder, job, options, signals, team, peers)
    team.add(checkpointer)
    start, progress = checkpointer.restore(job.start)
    environment = folder.path / "environment.json"
    if environment.exists() and (changes := describe_changes(read_json(environment), job)):
        team.note(changes)
    return start, progress, None if peers.are_several else lambda: checkpointer.latest(job.start)


def _watch_time(options: RunOptions) -> AbstractContextManager[PerformanceMonitor]:
    """A monitor of the spans of this run, where they are to be shown."""
    monitor = PerformanceMonitor(enabled=options.benchmark or options.benchmark_output is not None)
    return monitor.listening() if monitor.enabled else nullcontext(monitor)


def _callbacks_of(
    options: RunOptions, folder: RunFolder | None, monitor: PerformanceMonitor
) -> Iterator[Callback]:
    """What the options ask for. Tools are imported where they are asked for."""
    if folder is not None:
        yield MetricsLog(folder, options.log_every)
    if folder is not None and options.tensorboard:
        from neuroforge_jax.callbacks.tensorboard import TensorBoard

        yield TensorBoard(folder.path / "tensorboard", options.log_every)
    if monitor.enabled or options.trace or options.memory_profile:
        from neuroforge_jax.profiling.callbacks import requested_profiles

        yield from requested_profiles(options, None if folder is None else folder.path, monitor)


def _evaluators(job: Job) -> dict[str, Evaluator]:
    """What is shown of each epoch: selection is on validation data alone; without them test data are shown along
    the way, and decide nothing.
    """
    parts = {"validation": job.dataset.validation, "test": job.dataset.test}
    shown = next(((part, split) for part, split in parts.items() if split is not None), None)
    return {} if shown is None else {shown[0]: job.evaluator(shown[1])}


def _result(
    trainer: Trainer,
    stopping: EarlyStopping,
    folder: RunFolder | None,
    compile_seconds: float,
    team: Callbacks,
) -> Result:
    """The weights that are kept, evaluated on the test data, and the figures of the run."""
    job, best = trainer.job, stopping.best
    params = trainer.state.params if best.params is None else best.params
    test = None
    if job.dataset.test is not None:
        with span("evaluate"):
            test = (trainer.evaluators.get("test") or job.evaluator(job.dataset.test))(params)
    params = job.placement.gather(params)
    peak = assessment = None
    if team.show_figures:
        with span("score"):
            assessment = _assess(job.model, params, job.dataset.test)
        with span("measure the peak"):
            peak = measure_peak(job)
    figures = final_figures(trainer, best, test, compile_seconds, peak)
    if assessment:  # the accuracy is the evaluation's, as that of every epoch
        figures = {**assessment.named("test"), **figures}
    return Result(
        job.model,
        params,
        tuple(trainer.progress.history),
        figures,
        folder,
        config=job.config,
        test=job.dataset.test,
        assessment=assessment,
    )


def _assess(model: FittedModel, params: Params, test: Split | None) -> Assessment | None:
    return None if test is None else assess(model, params, test)


def _is_finished(folder: RunFolder | None, job: Job, progress: TrainProgress, team: Callbacks) -> bool:
    """Whether there is nothing left to train, and the figures of the run lie in its folder."""
    if folder is None or not folder.began or not is_over(job, progress, team):
        return False
    return folder.epochs_finished() == progress.epoch


def _finished_before(folder: RunFolder | None, job: Job, progress: TrainProgress, team: Callbacks) -> Result:
    """A run that has nothing left to train, as it lies there."""
    assert folder is not None
    team.note(f"{folder.path} is finished: there is nothing left to train")
    model, params = load(folder.path)
    figures = read_json(folder.path / "result.json")
    history, test = tuple(progress.history), job.dataset.test
    return Result(model, params, history, figures, folder, trained=False, config=job.config, test=test)
