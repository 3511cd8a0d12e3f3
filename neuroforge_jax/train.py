"""Train a multilayer perceptron: `python -m neuroforge_jax.train --config configs/mixed.py`."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neuroforge_jax.command import run_command
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import VerificationError


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags, train, save the run and its pictures; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _train(args), debug="--debug" in args)


def _train(args: Sequence[str]) -> None:
    # The flags are read before jax is imported: a typo should not take a second to be told.
    from neuroforge_jax.loading import parse_flags

    config, options = parse_flags(args)

    from neuroforge_jax.observe.console import Console
    from neuroforge_jax.run import fit
    from neuroforge_jax.run_folder import RunFolder

    if options.resume not in (None, "auto"):
        options = replace(options, run_dir=Path(options.resume))
    elif options.run_dir is None:
        name = Path(options.config or config.dataset).stem
        options = replace(options, run_dir=RunFolder.unused(Path("runs"), name))
    console = Console()
    if options.verify:
        console.note(_verified(config, options.tolerance))
    result = fit(config, options=options, sinks=[console])
    if not result.trained:
        return

    # Drawing is imported when there is something to draw.
    from neuroforge_jax.report.pictures import draw_pictures

    assert result.folder is not None
    pictures = draw_pictures(result.folder.path)
    console.note(
        f"saved in {result.folder.path}: {', '.join(path.name for path in pictures)}, result.json and more"
    )


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
