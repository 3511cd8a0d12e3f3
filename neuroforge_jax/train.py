"""Train a multilayer perceptron: `python -m neuroforge_jax.train --config configs/mixed.py`."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.config import RunOptions, TrainConfig


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the flags, train, save the run and its pictures; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _train(args), debug="--debug" in args)


def _train(args: Sequence[str]) -> None:
    # The flags are read before jax is imported: a typo should not take a second to be told.
    from neuroforge_jax.commands.flags import parse_flags
    from neuroforge_jax.system.memory_pool import set_pool

    config, options = parse_flags(args)
    set_pool(options)

    # The data are read while jax is imported.
    from neuroforge_jax.data.datasets import begin_loading

    load = begin_loading(config, data_dir=options.data_dir)

    from neuroforge_jax.callbacks.console import Console
    from neuroforge_jax.commands.together import joined
    from neuroforge_jax.report.callback import Report
    from neuroforge_jax.run import carry_out

    with joined(options) as watch, _folder(config, options) as folder:
        if watch is not None:
            anywhere = "" if config.mesh in (None, "auto") else " --mesh auto"
            watch.hint = f"go on with --resume {folder}{anywhere}"
        carry_out(config, load, replace(options, run_dir=folder), [Console(), Report()])


@contextmanager
def _folder(config: TrainConfig, options: RunOptions) -> Iterator[Path]:
    """A command always saves its run, in the folder that is named, else in a new one below runs/: of several
    processes in that of the first.
    """
    from neuroforge_jax.system.peers import find_peers

    peers = find_peers()
    with _own_folder(config, options) if peers.process == 0 else nullcontext(Path()) as own:
        told = Path(peers.decide(lambda: str(own.absolute())))
        yield own if peers.process == 0 else told


def _own_folder(config: TrainConfig, options: RunOptions) -> AbstractContextManager[Path]:
    from neuroforge_jax.checkpoint.run_folder import new_folder

    if options.resume not in (None, "auto"):
        return nullcontext(Path(options.resume))
    if options.run_dir is not None:
        return nullcontext(options.run_dir)
    return new_folder(Path("runs"), Path(options.config or config.dataset).stem)


if __name__ == "__main__":
    leave(main())
