"""A page about runs: `python -m neuroforge_jax.report RUN_DIR… [--output report.html]`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from neuroforge_jax.commands.outcome import leave, run_command

PROG = "python -m neuroforge_jax.report"


@dataclass(frozen=True)
class Flags:
    """Write one HTML page about a run, or about several over each other; it needs no network and no server."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """The folders of the runs; several are drawn over each other, seeds of one config as a band."""
    output: Path | None = None
    """The page (else report.html: of one run in its folder, of several here)."""
    debug: bool = False
    """Show tracebacks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the folders, write the page; returns the exit code."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _write_page(args), debug="--debug" in args)


def _write_page(args: Sequence[str]) -> None:
    flags = tyro.cli(Flags, args=args, prog=PROG)
    from neuroforge_jax.errors import ConfigError
    from neuroforge_jax.report.run_files import read_run
    from neuroforge_jax.report.run_page import render_run_page
    from neuroforge_jax.system.files import check_output

    if not flags.runs:
        raise ConfigError("name the folder of a run, such as runs/mixed")
    runs = [read_run(folder) for folder in flags.runs]
    alone = flags.runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    output = flags.output or alone
    check_output(output, "--output")
    output.write_text(render_run_page(runs), encoding="utf-8")
    print(f"written to {output}")


if __name__ == "__main__":
    leave(main())
