"""How right a trained network is: `python -m neuroforge_jax.evaluate MODEL FILE… [--output FILE]`."""

import sys
from collections.abc import Sequence

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.commands.short_flags import write_out

DESCRIPTION = "Evaluate a trained network on tables, arrays or pictures that say what is right."


def main(argv: Sequence[str] | None = None) -> int:
    """Print the metrics; returns the exit code."""
    args = write_out(sys.argv[1:] if argv is None else argv)

    def body() -> None:
        from neuroforge_jax.commands.prediction import parse_options, run_predictions

        options = parse_options(args, "python -m neuroforge_jax.evaluate", DESCRIPTION)
        run_predictions(options, metrics_first=True)

    return run_command(body, debug="--debug" in args)


if __name__ == "__main__":
    leave(main())
