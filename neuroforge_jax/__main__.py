"""The console script `neuroforge`: every command of the package as a sub-command."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from neuroforge_jax.commands.outcome import leave

COMMANDS = {
    "train": ("neuroforge_jax.train", "train a multilayer perceptron"),
    "predict": ("neuroforge_jax.predict", "predict the rows of tables, arrays or pictures"),
    "evaluate": ("neuroforge_jax.evaluate", "say how right a network is on tables, arrays or pictures"),
    "verify": ("neuroforge_jax.verify", "compare backends with a float64 oracle"),
    "bench": ("neuroforge_jax.bench", "measure how fast, compared with what, how close to the limit"),
    "data": ("neuroforge_jax.data.__main__", "list, download and show datasets"),
    "report": ("neuroforge_jax.report.__main__", "write a page about one run or several"),
    "doctor": ("neuroforge_jax.doctor.__main__", "show what this machine has, and what would make it faster"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the rest of the command line to the command that its first word names."""
    args = sys.argv[1:] if argv is None else list(argv)
    if args and args[0] in COMMANDS:
        return int(import_module(COMMANDS[args[0]][0]).main(args[1:]))
    if args and args[0] == "--version":
        from neuroforge_jax import __version__

        print(f"neuroforge {__version__}")
        return 0
    wanted = sys.stdout if args and args[0] in ("-h", "--help") else sys.stderr
    print("usage: neuroforge COMMAND [flags]\n", file=wanted)
    for name, (_, purpose) in COMMANDS.items():
        print(f"  {name:<8} {purpose}", file=wanted)
    print("\nneuroforge COMMAND --help lists a command's flags", file=wanted)
    if wanted is sys.stdout:
        return 0
    if args:
        print(f"error: unknown command {args[0]!r}: known are {', '.join(COMMANDS)}", file=sys.stderr)
    return 2


def script() -> NoReturn:
    """What `neuroforge` runs."""
    leave(main())


if __name__ == "__main__":
    script()
