"""A trace of what host and device do, to be opened in Perfetto or XProf, and its operations summed up.

jax writes plugins/profile/<time>/ with an .xplane.pb, which XProf reads, and perfetto_trace.json.gz, which
https://ui.perfetto.dev opens.
"""

import gzip
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

CONTAINERS = ("while", "call", "conditional")
"""Operations that are nothing but those within them."""

MOST_OPERATIONS = 15


@dataclass(frozen=True)
class Operation:
    """Of all times that an operation of a program ran. seconds: their sum. source: of which part of ours it is."""

    name: str
    seconds: float
    count: int
    source: str


def start(folder: Path) -> None:
    """Begin to trace, without every call of Python, which would be most of it."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)


def stop() -> None:
    """End the trace and write it."""
    jax.profiler.stop_trace()


def perfetto_file(folder: Path) -> Path | None:
    """The latest trace below the folder."""
    return max(folder.glob("plugins/profile/*/perfetto_trace.json.gz"), default=None)


def operations(folder: Path, programs: Mapping[str, jax.stages.Compiled] | None = None) -> list[Operation]:
    """The operations of the latest trace, the longest first; programs: what tells the source of each."""
    file = perfetto_file(folder)
    if file is None:
        return []
    with gzip.open(file, "rt") as content:
        told = json.load(content)
    events = told["traceEvents"] if isinstance(told, dict) else told
    seconds: dict[str, float] = {}
    counts: dict[str, int] = {}
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and name and not name.startswith(CONTAINERS):
            seconds[name] = seconds.get(name, 0.0) + 1e-6 * event.get("dur", 0.0)
            counts[name] = counts.get(name, 0) + 1
    sources: dict[str, str] = {}
    for program in (programs or {}).values():
        sources |= sources_of(program.as_text() or "")
    found = [
        Operation(name, spent, counts[name], sources.get(name.partition("__")[0], ""))
        for name, spent in seconds.items()
    ]
    return sorted(found, key=lambda operation: -operation.seconds)


def sources_of(hlo: str) -> dict[str, str]:
    """By the name of an instruction, the operation of ours that it comes from, as jax's metadata tell it."""
    found = re.findall(r"^\s*(?:ROOT )?%?([\w.$-]+) = .*?op_name=\"([^\"]*)\"", hlo, re.MULTILINE)
    return {name: _short(source) for name, source in found}


def _short(source: str) -> str:
    """`jit(program)/while/body/transpose(jvp(layer))/dot_general` without the loops around it."""
    parts = [
        part
        for part in source.split("/")
        if part not in ("while", "body", "closed_call", "cond", "jit(main)")
    ]
    return "/".join(parts[1:] if parts and parts[0].startswith("jit(") else parts)


def format_operations(found: list[Operation], steps: int) -> str:
    """A table of at most 80 columns: time a step, share, runs, name, source."""
    total = sum(operation.seconds for operation in found)
    if not total:
        return "no operation of a program is in it"
    lines = [f"{'a step':>9}{'share':>7}{'runs':>8}  operation"]
    for operation in found[:MOST_OPERATIONS]:
        microseconds = 1e6 * operation.seconds / steps
        what = f"{operation.name}  {operation.source}".strip()
        lines.append(
            f"{microseconds:>6,.0f} µs{operation.seconds / total:>7.1%}{operation.count:>8,}  {what[:54]}"
        )
    rest = found[MOST_OPERATIONS:]
    if rest:
        spent = sum(operation.seconds for operation in rest)
        runs = sum(operation.count for operation in rest)
        lines.append(f"{1e6 * spent / steps:>6,.0f} µs{spent / total:>7.1%}{runs:>8,}  {len(rest)} others")
    return "\n".join(lines)
