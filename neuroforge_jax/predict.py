"""Ask a trained network: `python -m neuroforge_jax.predict MODEL INPUT… [--output FILE]`."""

import sys
from collections.abc import Sequence

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.commands.short_flags import write_out

DESCRIPTION = "Predict the rows of tables, arrays or pictures with a trained network."


def main(argv: Sequence[str] | None = None) -> int:
    """Read the inputs, write the answers; returns the exit code."""
    args = write_out(sys.argv[1:] if argv is None else argv)

    def body() -> None:
        from neuroforge_jax.commands.prediction import parse_options, run_predictions

        options = parse_options(args, "python -m neuroforge_jax.predict", DESCRIPTION)
        run_predictions(options, metrics_first=False)

    return run_command(body, debug="--debug" in args)


if __name__ == "__main__":
    leave(main())
