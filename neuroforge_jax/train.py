"""Train a multilayer perceptron: `python -m neuroforge_jax.train --config configs/mixed.py`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from neuroforge_jax.command import run_command
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import VerificationError

if TYPE_CHECKING:
    from neuroforge_jax.observe.console import Console


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags, train, save the run and its pictures; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _train(args), debug="--debug" in args)


def _train(args: Sequence[str]) -> None:
    # The flags are read before jax is imported: a typo should not take a second to be told.
    from neuroforge_jax.loading import parse_flags
    from neuroforge_jax.profiling.pool import set_pool

    config, options = parse_flags(args)
    pool = set_pool(options)

    from neuroforge_jax.backends import choose
    from neuroforge_jax.observe.console import Console
    from neuroforge_jax.observe.monitor import PerformanceMonitor
    from neuroforge_jax.run import fit
    from neuroforge_jax.run_folder import RunFolder

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
    result = fit(config, options=options, sinks=[console], monitor=monitor)
    if not result.trained:
        return

    # Drawing is imported when there is something to draw.
    from neuroforge_jax.report.pictures import draw_pictures
    from neuroforge_jax.report.run_page import read_run, run_page

    assert result.folder is not None
    folder = result.folder.path
    with monitor.track("draw"):
        pictures = draw_pictures(folder)
        (folder / "report.html").write_text(run_page([read_run(folder)]), encoding="utf-8")
    names = ["report.html", *(path.name for path in pictures)]
    console.note(f"saved in {folder}: {', '.join(names)}, result.json and more")
    if options.benchmark:
        console.note(f"\n{monitor.report()}")
    if options.benchmark or options.benchmark_output:
        _take_apart(config, options, console)


def _take_apart(config: TrainConfig, options: RunOptions, console: "Console") -> None:
    """Time the parts of a step on the idle machine, print them, and add them to --benchmark-output."""
    from neuroforge_jax.data.datasets import load_dataset
    from neuroforge_jax.profiling.step_parts import step_seconds
    from neuroforge_jax.run_folder import read_json, write_json

    dataset = load_dataset(config.dataset, data_dir=options.data_dir, target=config.target)
    dataset = dataset.first(config.train_samples)
    parts = step_seconds(config, dataset)
    if options.benchmark:
        total = sum(parts.values())
        shares = ", ".join(
            f"{name} {1e6 * spent:,.0f} µs ({spent / total:.0%})" for name, spent in parts.items()
        )
        console.note(f"\na step in parts, each on its own: {shares}")
    if options.benchmark_output:
        write_json(options.benchmark_output, {**read_json(options.benchmark_output), "step_parts": parts})


def _verified(config: TrainConfig, tolerance: float | None) -> str:
    """A line for the header. Raises VerificationError where the backend of this config is wrong."""
    from neuroforge_jax.backends import choose
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
    sys.exit(main())
