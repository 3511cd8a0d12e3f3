"""Train a multilayer perceptron: `python -m neuroforge_jax.train --config configs/mixed.py`."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import VerificationError

if TYPE_CHECKING:
    from neuroforge_jax.callbacks.console import Console
    from neuroforge_jax.profiling.instruments import InstrumentedRun


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags, train, save the run and its pictures; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _train(args), debug="--debug" in args)


def _train(args: Sequence[str]) -> None:
    # The flags are read before jax is imported: a typo should not take a second to be told.
    from neuroforge_jax.commands.flags import parse_flags
    from neuroforge_jax.profiling.pool import set_pool

    config, options = parse_flags(args)
    pool = set_pool(options)

    # The data are read while jax is imported.
    from neuroforge_jax.data.datasets import begin_loading

    load = begin_loading(config.dataset, data_dir=options.data_dir, target=config.target)

    from neuroforge_jax.backends.resolve import choose
    from neuroforge_jax.callbacks.base import Sink
    from neuroforge_jax.callbacks.console import Console
    from neuroforge_jax.checkpoint.run_folder import RunFolder
    from neuroforge_jax.profiling.instruments import InstrumentedRun
    from neuroforge_jax.run import Run, fit
    from neuroforge_jax.system.spans import PerformanceMonitor

    if options.resume not in (None, "auto"):
        options = replace(options, run_dir=Path(options.resume))
    elif options.run_dir is None:
        name = Path(options.config or config.dataset).stem
        options = replace(options, run_dir=RunFolder.unused(Path("runs"), name))
    console, monitor = Console(), PerformanceMonitor()
    if pool and choose(config).backend.device.platform == "cpu":
        console.note("note      --memory-fraction and --preallocate change nothing on a CPU")
    if options.verify:
        with monitor.track("verify"):
            console.note(_verified(config, options.tolerance))
    assert options.run_dir is not None
    folder, instrumented = options.run_dir, list[InstrumentedRun]()

    def instrument(run: Run) -> Run:
        instrumented.append(InstrumentedRun(run, folder / "trace", options.trace or 0))
        return instrumented[0]

    sinks: list[Sink] = [console]
    if options.tensorboard:
        from neuroforge_jax.callbacks.tensorboard import TensorBoard

        sinks.append(TensorBoard(folder / "tensorboard"))
    looked_at = options.memory_profile or options.trace is not None
    try:
        result = fit(
            config,
            load,
            options,
            sinks=sinks,
            monitor=monitor,
            instrument=instrument if looked_at else None,
        )
    finally:
        for run in instrumented:
            run.close()
    if not result.trained:
        return

    # Drawing is imported when there is something to draw.
    from neuroforge_jax.report.pictures import draw_pictures
    from neuroforge_jax.report.run_files import read_run
    from neuroforge_jax.report.run_page import render_run_page

    with monitor.track("draw"):
        pictures = draw_pictures(folder)
        (folder / "report.html").write_text(render_run_page([read_run(folder)]), encoding="utf-8")
    names = ["report.html", *(path.name for path in pictures)]
    console.note(f"saved in {folder}: {', '.join(names)}, result.json and more")
    measured: dict[str, Any] = {}
    if options.benchmark:
        console.note(f"\n{monitor.report()}")
    if options.benchmark or options.benchmark_output:
        measured["step_parts"] = _step_parts(config, options)
    if options.benchmark:
        console.note(f"\na step in parts, each on its own: {_shares(measured['step_parts'])}")
    for run in instrumented:
        if options.memory_profile:
            measured["memory"] = _memory(run, folder, console)
        if options.trace is not None:
            measured["operations"] = _operations(run, folder / "trace", console)
    if options.benchmark_output:
        from neuroforge_jax.system.files import read_json, write_json

        write_json(options.benchmark_output, {**read_json(options.benchmark_output), **measured})


def _step_parts(config: TrainConfig, options: RunOptions) -> dict[str, float]:
    """Seconds of the parts of a step, on the idle machine."""
    from neuroforge_jax.data.datasets import load_dataset
    from neuroforge_jax.profiling.step_parts import step_seconds

    dataset = load_dataset(config.dataset, data_dir=options.data_dir, target=config.target)
    return dict(step_seconds(config, dataset.first(config.train_samples)))


def _shares(seconds: dict[str, float]) -> str:
    total = sum(seconds.values())
    return ", ".join(f"{name} {1e6 * spent:,.0f} µs ({spent / total:.0%})" for name, spent in seconds.items())


def _memory(run: "InstrumentedRun", folder: Path, console: "Console") -> dict[str, Any]:
    """Show where the memory is, and write it to the run's folder."""
    from neuroforge_jax.profiling.memory import memory_profile, told, write_pprof
    from neuroforge_jax.system.files import write_json

    assert run.state is not None
    profile = memory_profile(run.run, run.state.step.device)
    write_json(folder / "memory.json", profile)
    write_pprof(folder / "memory.pprof")
    console.note(f"\nmemory in {folder / 'memory.json'}, by line of code in memory.pprof\n\n{told(profile)}")
    return profile


def _operations(run: "InstrumentedRun", folder: Path, console: "Console") -> list[dict[str, Any]]:
    """Show the longest operations of the traced steps."""
    from neuroforge_jax.backends.executors.base import CompiledRun
    from neuroforge_jax.profiling import trace

    programs = run.run.programs if isinstance(run.run, CompiledRun) else {}
    found = trace.operations(folder, programs)
    console.note(
        f"\n{run.traced} steps traced: open {trace.perfetto_file(folder)} at https://ui.perfetto.dev, "
        f"or {folder} with XProf\n\n{trace.told(found, run.traced)}"
    )
    return [asdict(operation) for operation in found]


def _verified(config: TrainConfig, tolerance: float | None) -> str:
    """A line for the header. Raises VerificationError where the backend of this config is wrong."""
    from neuroforge_jax.backends.resolve import choose
    from neuroforge_jax.verification.checks import verify_backend

    backend = choose(config).backend
    verdict = verify_backend(backend, tolerance)
    if not verdict.passed:
        raise VerificationError(
            f"backend {backend.name!r} is wrong: {verdict.sentence()}; "
            "train with another --backend, and see python -m neuroforge_jax.verify"
        )
    return f"verified  {verdict.sentence()}"


if __name__ == "__main__":
    leave(main())
