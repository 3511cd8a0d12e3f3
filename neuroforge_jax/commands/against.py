"""What `bench --against` shows: the two versions, how far it is, a table of each measurement, and the verdict."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from neuroforge_jax.benchmarking.against.comparison import AgainstProgress
from neuroforge_jax.errors import VerificationError
from neuroforge_jax.report.formats import format_duration

HEADINGS = ("case", "before", "after", "ratio", "95 %", "verdict")


@contextmanager
def show_comparison(console: Console) -> Iterator[AgainstProgress]:
    """Tells a console; where that is a terminal, a line says what is going on, too seldom to disturb it."""
    with console.status("reading both versions", refresh_per_second=2) as status:
        yield AgainstProgress(
            versions=lambda before, after: console.print(
                f"before: {before}\nafter:  {after}", soft_wrap=True
            ),
            begins=lambda text: status.update(f"compiling {text}"),
            rounds=lambda over, rounds: status.update(f"{over} of {rounds} rounds"),
            table=lambda cases: console.print(tabulate(cases)),
            again=lambda names: console.print(
                f"measured again, longer, by new processes: {', '.join(names)}", soft_wrap=True
            ),
        )


def tabulate(cases: Sequence[Mapping[str, Any]]) -> Table:
    """The medians of both versions, and after ÷ before."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("case", "verdict") else "right", no_wrap=True)
    for case in cases:
        if "skipped" not in case:
            low, high = case["ratio"]["interval"]
            table.add_row(
                case["name"],
                *(format_duration(case[side]["median"]) for side in ("before", "after")),
                _format_ratio(case["ratio"]["median"]),
                f"{_format_ratio(low)}–{_format_ratio(high)}",
                case["verdict"],
            )
    return table


def _format_ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.1g}"


def check_confirmed(record: Mapping[str, Any]) -> None:
    """Raises VerificationError where a slow-down was confirmed."""
    ratios = {case["name"]: case["again"]["ratio"]["median"] for case in record["cases"] if "again" in case}
    if record["confirmed"]:
        slower = ", ".join(f"{name} ({ratios[name]:.2f} ×)" for name in record["confirmed"])
        raise VerificationError(
            f"slower than {record['before']['commit'][:8]} by more than {record['fail_margin']:.0%}, in a second "
            f"measurement too: {slower}"
        )
