"""The record of a benchmark as a file, read back with suspicion, and two of them compared.

Two records are of two moments, and a machine has moods that last for minutes. So each turn is divided by that of
the reference beside it, and the ratio of two cases is one of medians in that unit. A case is slower, or faster,
when the whole 95 % interval of its ratio lies beyond a margin; everything else is the same.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroforge_jax.benchmarking.options import MARGIN
from neuroforge_jax.benchmarking.statistics import Ratio, unpaired_ratio
from neuroforge_jax.errors import ConfigError

FORMAT = 1
KIND = "neuroforge-jax bench"
MACHINE = ("system", "processor", "processors", "device", "devices")
"""Of the environment, what two records must have in common to be compared."""

SINCE_FORMAT_1 = ("processor_model",)
"""The same, of records that have it: CPUs of two generations can be of one name."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Of one case: ratio of new to old seconds, in units of the reference. kind: slower, same, faster."""

    name: str
    kind: str
    ratio: Ratio


@dataclass(frozen=True)
class Comparison:
    """verdicts: of the cases that both have. missing, added: names of those that one has. notes: what differs
    beside the code.
    """

    verdicts: tuple[Verdict, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def slower(self) -> tuple[Verdict, ...]:
        """The cases that lost speed."""
        return tuple(verdict for verdict in self.verdicts if verdict.kind == "slower")


def read_record(path: Path) -> Record:
    """Raises ConfigError for a file that is no whole record of this format."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: this record cannot be read ({error.strerror or error})") from None
    except ValueError:
        raise ConfigError(f"{path}: no JSON, or cut off; measure it again with --output {path}") from None
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise ConfigError(
            f"{path}: not a record of a suite; give one that python -m neuroforge_jax.bench --output wrote, "
            "without --against"
        )
    if record.get("format") != FORMAT:
        raise ConfigError(
            f"{path}: a record of format {record.get('format')!r}, and this version reads {FORMAT}; measure again"
        )
    try:
        environment, cases = record["environment"], record["cases"]
        whole = isinstance(environment, dict) and all(_is_case(case) for case in cases)
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ConfigError(f"{path}: parts of this record are missing; measure it again with --output {path}")
    return record


def _is_case(case: Any) -> bool:
    if not isinstance(case["name"], str):
        return False
    if "skipped" in case or case.get("published"):
        return True
    values, reference = _seconds(case), case.get("reference_seconds")
    if reference is None and "seconds" in case:
        return _are_times(values)
    return _are_times(values) and _are_times(reference) and len(values) == len(reference)


def _seconds(case: Any) -> Any:
    """Of the case's turns: a process, a whole training, or a step."""
    return case["seconds" if "seconds" in case else "seconds_per_step"]["values"]


def _are_times(values: Any) -> bool:
    good = all(isinstance(value, int | float) and 0 < value < float("inf") for value in values)
    return good and len(values) > 0


def compare(old: Record, new: Record, *, margin: float = MARGIN) -> Comparison:
    """Raises ConfigError for records of two machines, or without a case in common."""
    if difference := difference_of_machines(old["environment"], new["environment"]):
        raise ConfigError(
            f"the records are of two machines ({difference}), and say nothing of each other; measure both on one"
        )
    olds, news = _measured(old), _measured(new)
    both = [name for name in olds if name in news]
    if not both:
        raise ConfigError("the records have no case in common; measure the same --suite twice")
    verdicts = tuple(_verdict(name, olds[name], news[name], margin) for name in both)
    missing = tuple(name for name in olds if name not in news)
    added = tuple(name for name in news if name not in olds)
    return Comparison(verdicts, missing, added, tuple(_differences(old, new)))


def difference_of_machines(before: Record, after: Record) -> str:
    """`processor A and B`, of two environments; empty where they are of one machine."""
    shared = (name for name in SINCE_FORMAT_1 if before.get(name) and after.get(name))
    for name in (*MACHINE, *shared):
        if before.get(name) != after.get(name):
            return f"{name} {before.get(name)} and {after.get(name)}"
    return ""


def name_machine(environment: Record) -> str:
    """`cpu-amd-epyc-2-cores-family-26-model-2`: a folder's name, of an environment."""
    words = f"{environment['device']} {environment.get('processor_model') or ''}"
    return "-".join(re.findall(r"[a-z0-9]+", words.lower()))


def place_record(output: Path, stem: str, environment: Record) -> Path:
    """The file that a record is written to: as it is given, or in a folder FOLDER/machine/stem.json.

    Raises ConfigError where the file holds a record of another machine, which would be lost.
    """
    if output.is_dir():
        return output / name_machine(environment) / f"{stem}.json"
    try:
        there = json.loads(output.read_text(encoding="utf-8"))["environment"]
        difference = difference_of_machines(there, environment)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return output  # not there, or no record
    if difference:
        raise ConfigError(
            f"--output {output} holds a record of another machine ({difference}); give another file, or a folder, "
            "in which each machine has its own"
        )
    return output


def _measured(record: Record) -> dict[str, Record]:
    """What can be compared: what was timed here beside the reference."""
    return {
        case["name"]: case
        for case in record["cases"]
        if case.get("reference_seconds") and "skipped" not in case and not case.get("published")
    }


def _verdict(name: str, old: Record, new: Record, margin: float) -> Verdict:
    ratio = unpaired_ratio(_in_units(new), _in_units(old))
    low, high = ratio.interval
    kind = "slower" if low > 1 + margin else "faster" if high < 1 - margin else "same"
    return Verdict(name, kind, ratio)


def _in_units(case: Record) -> list[float]:
    return [value / beside for value, beside in zip(_seconds(case), case["reference_seconds"], strict=True)]


def _differences(old: Record, new: Record) -> list[str]:
    """What may have changed the speed beside the code: versions, threads; and what was not compared."""
    notes = []
    cases = [case for record in (old, new) for case in record["cases"]]
    unmeasured = (case["name"] for case in cases if "seconds" in case and not case.get("reference_seconds"))
    if times := list(dict.fromkeys(unmeasured)):
        notes.append(f"not compared, for no reference was measured beside them: {', '.join(times)}")
    before, after = old["environment"], new["environment"]
    for package in sorted({*before.get("versions", {}), *after.get("versions", {})}):
        first, second = before.get("versions", {}).get(package), after.get("versions", {}).get(package)
        if first != second:
            notes.append(f"{package} {first} → {second}")
    notes += [
        f"{name} {before.get(name)} → {after.get(name)}"
        for name in ("python", "threads")
        if before.get(name) != after.get(name)
    ]
    return notes
