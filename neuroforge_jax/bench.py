"""How fast, compared with what, how close to the limit: `python -m neuroforge_jax.bench --suite quick`."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from neuroforge_jax.benchmarking.options import FAIL_MARGIN, MARGIN, SEEDS, BenchOptions, Margins
from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.errors import ConfigError, VerificationError, lookup

if TYPE_CHECKING:
    from rich.console import Console

PROG = "python -m neuroforge_jax.bench"


@dataclass(frozen=True)
class BenchFlags:
    """Measure a suite of trainings side by side, or compare two records."""

    suite: str | None = None
    """What to measure (quick, and with --against regression); --list shows the suites."""
    list: bool = False
    """Show the suites, and measure nothing."""
    only: str = "*"
    """Measure the rows of these names alone, such as 'backends/b64/*', and the baselines that they need."""
    output: Path | None = None
    """Write the record to this file, as JSON; in a folder, to MACHINE/bench_SUITE.json."""
    report: Path | None = None
    """Write a page about the record to this file, as HTML that needs nothing else."""
    explain: Path | None = None
    """Measure the ladder of backends, and write a page that explains each rung: code, program, cost, time."""
    compare: tuple[Path, Path] | None = None
    """Compare two records, OLD and NEW, and measure nothing; exit code 7 where a case is slower."""
    against: str | None = None
    """Measure this commit and the working tree in turn; exit code 7 where a slow-down is confirmed."""
    fail_margin: float | None = None
    """Of --against: the slow-down that fails, once a second and longer measurement confirms it (else 0.25)."""
    margin: float | None = None
    """Of --against and --compare: the change that is still called the same (else 0.05)."""
    repetitions: int | None = None
    """Turns of each candidate (else the suite's own)."""
    turn_seconds: float | None = None
    """About how long a turn lasts (else the suite's own)."""
    peer_python: Path | None = None
    """The Python that has the peers: torch and tensorflow (else this one)."""
    seeds: int = SEEDS
    """Of the suite speedrun; of tables and sklearn at most so many, which have 5, or 30 of a small table."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""
    tables: Path | None = None
    """Folder of the tables (else NEUROFORGE_TABLES, else tables in the folder of the datasets)."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        for name, value in (("repetitions", self.repetitions), ("seeds", self.seeds)):
            if value is not None and not 1 <= value <= 1000:
                raise ConfigError(f"--{name} {value}: it takes a whole number from 1 to 1000")
        if self.turn_seconds is not None and not 0.001 <= self.turn_seconds <= 60:
            raise ConfigError(f"--turn-seconds {self.turn_seconds}: it takes a number from 0.001 to 60")
        self._check_margins()
        if self.against is not None:
            self._check_against()

    def _check_margins(self) -> None:
        if self.fail_margin is not None and self.against is None:
            raise ConfigError("--fail-margin has an effect with --against alone; leave it out")
        if self.margin is not None and self.against is None and self.compare is None:
            raise ConfigError("--margin has an effect with --against and --compare alone; leave it out")
        margins = self.margins
        if not 0 <= margins.same < 1:
            raise ConfigError(f"--margin {margins.same}: it takes a number from 0 to below 1")
        if self.against is not None and not margins.same <= margins.fail <= 100:
            raise ConfigError(
                f"--fail-margin {margins.fail}: it takes a number from --margin ({margins.same}) to 100"
            )

    def _check_against(self) -> None:
        for name in ("list", "report", "explain", "compare", "peer_python", "data_dir", "tables"):
            if getattr(self, name):
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} has no part in --against; leave one of them out")

    @property
    def margins(self) -> Margins:
        """As they are given, or the defaults."""
        return Margins(
            MARGIN if self.margin is None else self.margin,
            FAIL_MARGIN if self.fail_margin is None else self.fail_margin,
        )

    @property
    def options(self) -> BenchOptions:
        """How a suite is run."""
        return BenchOptions(
            self.only,
            self.repetitions,
            self.turn_seconds,
            self.peer_python,
            self.data_dir,
            self.seeds,
            self.tables,
        )

    @property
    def suite_name(self) -> str:
        """As it is given, or the default of what is asked for."""
        return self.suite or ("quick" if self.against is None else "regression")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, write; returns the exit code, 7 where --compare or --against finds a case slower."""
    args = sys.argv[1:] if argv is None else [*argv]
    return run_command(lambda: _bench(args), debug="--debug" in args)


def _bench(args: Sequence[str]) -> None:
    flags = tyro.cli(BenchFlags, args=args, prog=PROG)
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if flags.compare is not None:
        _compare(flags, console)
        return

    # What follows imports jax.
    from neuroforge_jax.benchmarking.suites import SUITES

    if flags.list:
        for name, suite in SUITES.items():
            console.print(f"{name:<10} {suite.purpose}")
        return
    suite = lookup(SUITES, flags.suite_name, "suite")
    if flags.against is not None:
        _measure_against(flags, console)
        return
    if flags.explain is not None:
        if flags.only != "*" or flags.suite_name not in ("quick", "gpu"):
            raise ConfigError(
                "--explain measures the ladder of this machine, or by --suite gpu that of a GPU; leave --only and "
                "other suites out"
            )
        flags = replace(flags, only="backends/b64/*")
    record = _measure(flags, console)
    if flags.explain is not None:
        from neuroforge_jax.benchmarking.explain import rungs
        from neuroforge_jax.report.explain_page import render_explain_page

        cases = suite.groups()[0].cases
        flags.explain.write_text(render_explain_page(rungs(cases, record["cases"]), record), encoding="utf-8")
        console.print(f"written to {flags.explain}", soft_wrap=True)


def _measure(flags: BenchFlags, console: "Console") -> dict[str, Any]:
    from neuroforge_jax.benchmarking.running import BenchProgress, run_suite
    from neuroforge_jax.commands.bench_lines import describe_case
    from neuroforge_jax.system.files import check_output

    for path, flag in ((flags.report, "--report"), (flags.explain, "--explain")):
        if path is not None:
            check_output(path, flag)
    output = _place_output(flags, f"bench_{flags.suite_name}")
    record = run_suite(
        flags.suite_name,
        flags.options,
        BenchProgress(
            console.print,
            lambda case: console.print(describe_case(case), soft_wrap=True),
            # A suite that is cut off leaves what it has measured.
            lambda record: _write(record, output),
        ),
    )
    _write_record(record, output, console)
    if flags.report is not None:
        from neuroforge_jax.report.bench_page import render_bench_page

        flags.report.write_text(render_bench_page(record), encoding="utf-8")
        console.print(f"written to {flags.report}", soft_wrap=True)
    return record


def _measure_against(flags: BenchFlags, console: "Console") -> None:
    from neuroforge_jax.benchmarking.against.comparison import compare_with
    from neuroforge_jax.commands.against import check_confirmed, show_comparison

    assert flags.against is not None
    output = _place_output(flags, f"bench_{flags.suite_name}_against")
    with show_comparison(console) as progress:
        record = compare_with(flags.against, flags.suite_name, flags.options, flags.margins, progress)
    for case in record["cases"]:
        if "skipped" in case:
            console.print(f"{case['name']}: {case['skipped']}", soft_wrap=True)
    _write_record(record, output, console)
    check_confirmed(record)


def _place_output(flags: BenchFlags, stem: str) -> Path | None:
    """The file of the record. Raises ConfigError where it cannot be written, or holds one of another machine."""
    from neuroforge_jax.backends.table import BACKENDS
    from neuroforge_jax.benchmarking.records import place_record
    from neuroforge_jax.system.files import check_output

    if flags.output is None:
        return None
    if flags.output.is_dir():
        check_output(flags.output / f"{stem}.json", "--output")
    else:
        check_output(flags.output, "--output")
    return place_record(flags.output, stem, BACKENDS["optimized"].environment(batch_size=512))


def _write_record(record: dict[str, Any], output: Path | None, console: "Console") -> None:
    for note in record["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    _write(record, output)
    if output is not None:
        console.print(f"written to {output}", soft_wrap=True)


def _write(record: dict[str, Any], output: Path | None) -> None:
    """Raises ConfigError where it cannot be written; the record of before is whole then."""
    from neuroforge_jax.system.files import write_json

    if output is not None:
        output.parent.mkdir(exist_ok=True)
        write_json(output, record, ConfigError)


def _compare(flags: BenchFlags, console: "Console") -> None:
    from rich.table import Table

    from neuroforge_jax.benchmarking.records import compare, read_record

    assert flags.compare is not None
    old, new = map(read_record, flags.compare)
    margin = flags.margins.same
    comparison = compare(old, new, margin=margin)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("case", "new / old", "95 % interval", "verdict"):
        table.add_column(heading, justify="left" if heading in ("case", "verdict") else "right")
    for verdict in comparison.verdicts:
        low, high = verdict.ratio.interval
        table.add_row(verdict.name, f"{verdict.ratio.median:.3f}", f"{low:.3f} to {high:.3f}", verdict.kind)
    console.print(table)
    for note in comparison.notes:
        console.print(f"note: {note}")
    for names, where in ((comparison.missing, "old"), (comparison.added, "new")):
        if names:
            console.print(f"only in the {where} record: {', '.join(names)}")
    if comparison.slower:
        cases = ", ".join(f"{verdict.name} ({verdict.ratio.median:.2f} ×)" for verdict in comparison.slower)
        raise VerificationError(f"slower by more than {margin:.0%}: {cases}")


if __name__ == "__main__":
    leave(main())
