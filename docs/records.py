"""The records in benchmarks/, and what tables and figures say of them: cases, numbers, intervals, sources."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neuroforge_jax.benchmarking.statistics import Ratio, paired_ratio

Record = Mapping[str, Any]
Case = Mapping[str, Any]


class Records:
    """The records of a folder by the names of their files; `used` collects those that were read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.used: list[str] = []

    def __call__(self, name: str) -> Record:
        """Raises FileNotFoundError where this record has not been made yet."""
        record = json.loads((self._folder / name).read_text(encoding="utf-8"))
        if name not in self.used:
            self.used.append(name)
        return record

    def optional(self, name: str) -> Record | None:
        """The record, or None where there is none."""
        return self(name) if (self._folder / name).exists() else None


def timed(cases: Iterable[Case]) -> list[Case]:
    """The cases that were measured, or published with a time."""
    return [
        case for case in cases if "skipped" not in case and ("seconds_per_step" in case or "seconds" in case)
    ]


def batches_of(cases: Iterable[Case]) -> list[int]:
    """The batch sizes of the trainings, ascending."""
    return sorted({case["batch_size"] for case in timed(cases) if "batch_size" in case})


def fastest(record: Record, batch: int, candidates: Sequence[str]) -> Case | None:
    """The fastest of these candidates at this batch size."""
    found = [
        case
        for case in timed(record["cases"])
        if case.get("batch_size") == batch and case["contender"] in candidates
    ]
    return min(found, key=lambda case: case["seconds_per_step"]["median"], default=None)


WIDE = 0.1
"""Half the width of a 95 % interval, as a share of the median, from which on it is shown beside the median."""


def samples_a_second(case: Case | None, *, spread: bool = True) -> str:
    """The median; with its interval where that is wide."""
    if case is None:
        return "–"
    step, rate = case["seconds_per_step"], case["samples_per_second"]
    if not spread or "interval" not in step:
        return rounded(rate)
    low, high = step["interval"]
    if (high - low) / 2 < WIDE * step["median"]:
        return rounded(rate)
    work = rate * step["median"]
    return f"{rounded(rate)} ({rounded(work / high)}–{rounded(work / low)})"


def between(low: float, high: float, digits: int = 2) -> str:
    """An interval in brackets, which no line break divides."""
    return f"({low:.{digits}f}–\u2060{high:.{digits}f})"


def paired(slower: Case, faster: Case) -> Ratio:
    """How many times as fast the second is as the first, turn by turn."""
    of, to = (
        case["seconds" if "seconds" in case else "seconds_per_step"]["values"] for case in (slower, faster)
    )
    return paired_ratio(of, to)


def with_interval(ratio: Ratio) -> str:
    """A ratio of two speeds, with its interval."""
    return f"{ratio.median:.2f} {between(*ratio.interval)}"


def ratio_of(case: Case) -> str:
    """The record's own ratio to its baseline, with the interval."""
    ratio = case.get("ratio")
    if not ratio:
        return "1"
    digits = 1 if ratio["median"] >= 10 else 2
    return f"{ratio['median']:.{digits}f} {between(*ratio['interval'], digits)}"


def times(case: Case) -> str:
    """The record's own ratio, without the interval."""
    ratio = case.get("ratio")
    return "1" if not ratio else rounded(ratio["median"])


def quartiles(spread: Mapping[str, Any]) -> str:
    """A median with its quartiles."""
    return f"{spread['median']:.2f} {between(*spread['quartiles'])}"


def rounded(value: float) -> str:
    """To three digits, with commas."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):,.{max(digits, 0)}f}"


def duration(seconds: float) -> str:
    """To three digits, in the unit that fits."""
    unit, scale = unit_of(seconds)
    return f"{rounded(seconds / scale)} {unit}"


def unit_of(seconds: float) -> tuple[str, float]:
    """The unit that fits, and its length in seconds."""
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    return next(((unit, scale) for unit, scale in units if seconds >= scale), ("ns", 1e-9))


def share(value: float) -> str:
    """As a percentage."""
    return f"{100 * value:.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


def size(bytes_: float | None) -> str:
    """In kB, MB or GB."""
    if bytes_ is None:
        return "–"
    unit, scale = next(
        ((unit, scale) for unit, scale in (("GB", 1e9), ("MB", 1e6)) if bytes_ >= scale), ("kB", 1e3)
    )
    return f"{rounded(bytes_ / scale)} {unit}"


class Metric(NamedTuple):
    """How scores are written. scale: what they are multiplied by. before, after: their name and their unit."""

    scale: float
    digits: int
    before: str = ""
    after: str = ""


METRICS = {
    "accuracy": Metric(100, 2, after=" %"),
    "rmse": Metric(1, 3),
    "r2": Metric(1, 4, before="R² "),
}


def score(case: Case) -> str:
    """Mean and deviation of what the trainings of a case scored on test data."""
    metric, found = METRICS[case["metric"]], case[case["metric"]]
    mean, deviation = (f"{metric.scale * found[what]:.{metric.digits}f}" for what in ("mean", "deviation"))
    return f"{metric.before}{mean} ± {deviation}{metric.after}"


NAMES = {
    "numpy": "NumPy", "flax nnx": "Flax NNX", "keras": "Keras", "keras xla": "Keras, XLA",
    "optimized": "`optimized`", "mixed": "`mixed`",
}  # fmt: skip


def named(candidate: str) -> str:
    """A candidate as people write it."""
    if candidate in NAMES:
        return NAMES[candidate]
    return re.sub(r"^torch (\w+) (\w+)$", r"PyTorch, \1, \2", candidate)


def framework(name: str) -> str:
    """Of a candidate, the part before its mode."""
    return name.partition(",")[0]


def processor(record: Record) -> str:
    """The device as the record has it, without the platform's name before it.

    Records of 0.2 and later hold the model of the CPU too, which tells two generations of one name apart. Beside a
    GPU it is left out: see `host`.
    """
    environment = record["environment"]
    device = re.sub(r"^\w+ \((.*)\)$", r"\1", environment["device"]).replace("(R)", "")
    model = environment.get("processor_model")
    return f"{device} ({model})" if model and environment["device"].startswith("cpu") else device


def host(record: Record) -> str:
    """The CPU beside a GPU, where NumPy runs and from where the steps are dispatched."""
    environment = record["environment"]
    name = environment["processor"].replace("(R)", "")
    return f"{environment['processors']} cores of an {name} ({environment['processor_model']})"


def source(
    records: Records,
    suite: str = "",
    note: str = "",
    *,
    spread: bool = False,
    rounds: bool = True,
    sections: Sequence[str] = (),
) -> str:
    """The line below a table: notes, then machine, versions, commit and date of each record that was read.

    sections: of a record whose sections keep commits of their own, those that are shown; all of them unless given.
    """
    sentences = [note] if note else []
    if spread:
        sentences.append(
            f"Where the 95 % interval is wider than ± {100 * WIDE:.0f} % it is given in brackets."
        )
    for name in records.used:
        record = records(name)
        environment = record["environment"]
        python = environment.get("python") or environment["versions"]["python"]
        turns = rounds_of(record) if rounds else ""
        parts = [
            processor(record),
            f"Python {'.'.join(python.split('.')[:2])}",
            f"jax {environment['versions']['jax']}",
            commits_of(record, sections),
            *([record["date"]] if "date" in record else []),
            *([f"medians of {turns} rounds"] if turns else []),
        ]
        sentences.append(f"`benchmarks/{name}`: {', '.join(parts)}.")
    again = f" Again: `python -m neuroforge_jax.bench --suite {suite}`." if suite else ""
    return f"\n{' '.join(sentences)}{again}\n"


def commits_of(record: Record, sections: Sequence[str] = ()) -> str:
    """The commit that was measured; of sections that were measured at several, each with its sections, and a row
    that was measured again with its own.
    """
    commits = record.get("commits", {})
    by_commit: dict[str, list[str]] = {}
    again = []
    for section in sections or commits:
        if section in commits:
            by_commit.setdefault(commits[section], []).append(section)
            again += rows_measured_again(record[section])
    if len(by_commit) > 1:
        each = [f"{written(commit)} ({', '.join(names)})" for commit, names in by_commit.items()]
        return f"commits {'; '.join([*each, *again])}"
    (commit,) = by_commit or [record["environment"]["commit"]]
    return "; ".join([f"commit {written(commit)}", *again])


def rows_measured_again(section: Mapping[str, Any]) -> list[str]:
    """Each row that keeps a commit of its own, with that."""
    rows = {name: row for name, row in section.items() if isinstance(row, Mapping) and "commit" in row}
    return [f"{name} again at {written(row['commit'])}" for name, row in rows.items()]


def written(commit: str) -> str:
    """A commit, shortened; a plus sign at its end stands for changes that were not committed."""
    return commit.rstrip("+")[:8] + (" with local changes" if commit.endswith("+") else "")


def rounds_of(record: Record) -> str:
    """How often each candidate had its turn: a number, or a range where groups differ."""
    counts = {
        case["seconds_per_step"]["repetitions"]
        for case in record.get("cases", ())
        if "repetitions" in case.get("seconds_per_step", {})
    }
    return "" if not counts else f"{min(counts)}" if len(counts) == 1 else f"{min(counts)} to {max(counts)}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] | None = None) -> str:
    """A Markdown table. numbers: the columns that are set to the right; all but the first unless given."""
    right = range(1, len(head)) if numbers is None else numbers
    line = ["---:" if column in right else "---" for column in range(len(head))]
    text = "".join(f"| {' | '.join(row)} |\n" for row in (head, line, *rows))
    # A number and its unit stay on one line.
    return re.sub(r"(?<=\d) (?=(?:%|[kMGT]?B|[mµn]?s)(?!\w))", "\u00a0", text)
