"""A trace of what host and device do, to be opened in Perfetto or XProf, and its operations summed up.

jax writes plugins/profile/<time>/ with an .xplane.pb, which XProf reads, and perfetto_trace.json.gz, which
https://ui.perfetto.dev opens.

On a CPU an operation is an event of the thread that starts it, and lasts until the event that says it is done: a
product may go on in other threads. On a GPU it is an event of the stream that it runs on. The time of an operation
is that of its events less what is nested in them, and of its work in other threads where nothing else runs. A
moment in which several operations run is divided among them, so that the times of all add up to the time in which
any ran.
"""

import gzip
import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax

from neuroforge_jax.profiling.hlo import CONTAINERS, Attribution, attribute, module_name

MOST_OPERATIONS = 15

DONE = "end: "
"""Before the name of an operation: the event of the host that says it is done."""

COPIES = ("Memcpy", "Memset")
"""Events of a GPU that name no operation because they are none of a program's."""


@dataclass(frozen=True)
class Operation:
    """Of all times that an operation of a program ran. seconds: their sum, a moment shared with others divided.

    source: the operation of ours that it comes from. part: of a step (`hlo.PARTS`), "" where it cannot be told.
    mixed: whether it holds much of both the forward and the backward pass.
    """

    name: str
    seconds: float
    count: int
    source: str
    part: str
    mixed: bool


class Key(NamedTuple):
    """A program's module, and the name of one of its instructions; "" for work of a GPU that names none."""

    module: str
    name: str


class Event(NamedTuple):
    """An operation on its line, a thread or a stream, from `begin` to `end`; done: when other threads have done it
    too. Microseconds.
    """

    begin: float
    end: float
    done: float
    line: tuple[int, int]
    key: Key


def start(folder: Path) -> None:
    """Begin to trace, without every call of Python, which would be most of it."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)


def stop() -> None:
    """End the trace and write it."""
    jax.profiler.stop_trace()


@contextmanager
def record(folder: Path) -> Iterator[None]:
    """Trace what happens within the block; the trace is written whatever happens there."""
    start(folder)
    try:
        yield
    finally:
        stop()


def perfetto_file(folder: Path) -> Path | None:
    """The latest trace below the folder."""
    return max(folder.glob("plugins/profile/*/perfetto_trace.json.gz"), default=None)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Those of the latest trace below the folder, as Perfetto has them; none where there is no trace."""
    file = perfetto_file(folder)
    if file is None:
        return []
    with gzip.open(file, "rt") as content:
        told = json.load(content)
    return list(told["traceEvents"] if isinstance(told, dict) else told)


def operations(
    folder: Path, programs: Mapping[str, jax.stages.Compiled] | None = None, within: str | None = None
) -> list[Operation]:
    """The operations of the latest trace, the longest first.

    programs: what tells the part and source of each. within: the name of the annotation of the host that holds the
    operations that count; unless given, all do.
    """
    texts = [program.as_text() or "" for program in (programs or {}).values()]
    events = operation_events(read_events(folder), within)
    return sum_up(list(events), {module_name(text): attribute(text) for text in texts})


def operation_events(events: list[dict[str, Any]], within: str | None = None) -> Iterator[Event]:
    """Those of operations among the events of a Perfetto trace.

    Of the device where it has lines of its own, for then the host's say only when it began them; else of the host.
    """
    names = {
        (event["name"], event.get("pid"), event.get("tid")): event.get("args", {}).get("name", "")
        for event in events
        if event.get("ph") == "M"
    }
    devices = {pid for (kind, pid, _), name in names.items() if kind == "process_name" and "/device:" in name}
    spans = [event for event in events if event.get("ph") == "X"]
    windows = [_times(event) for event in spans if event["name"] == within]
    if within is None:
        windows = [(-math.inf, math.inf)]
    begins = _begins_by_name(spans)
    for event in spans:
        line, args, (begin, end) = (event["pid"], event["tid"]), event.get("args") or {}, _times(event)
        if devices and line[0] not in devices:
            continue
        last = next((last for first, last in windows if first <= begin and end <= last), None)
        if last is None:
            continue
        on_stream = names.get(("thread_name", *line), "").startswith("Stream")
        if "hlo_op" in args or (on_stream and not event["name"].startswith(COPIES)):
            done, again = (_next(begins, f"{before}{event['name']}", begin) for before in (DONE, ""))
            done = max(end, min(done, last)) if done < again else end  # else it is of another time
            yield Event(begin, end, done, line, Key(args.get("hlo_module", ""), args.get("hlo_op", "")))


def _begins_by_name(spans: list[dict[str, Any]]) -> dict[str, list[float]]:
    begins: dict[str, list[float]] = {}
    for event in spans:
        begins.setdefault(event["name"], []).append(float(event["ts"]))
    return {name: sorted(times) for name, times in begins.items()}


def _next(begins: Mapping[str, list[float]], name: str, after: float) -> float:
    """When an event of this name begins next; for ever where none does."""
    times = begins.get(name, [])
    at = bisect_right(times, after)
    return times[at] if at < len(times) else math.inf


def _times(event: Mapping[str, Any]) -> tuple[float, float]:
    begin = float(event["ts"])
    return begin, begin + float(event.get("dur", 0.0))


def sum_up(events: list[Event], attributions: Mapping[str, Mapping[str, Attribution]]) -> list[Operation]:
    """The operations of these events, the longest first. attributions: by module and instruction."""
    counts = Counter(event.key for event in events)
    untold = Attribution("", False, "")
    found = []
    for key, microseconds in self_time(events).items():
        of_module = attributions.get(key.module, {})
        # The CPU's library calls are named after what they call too: `custom-call.1__onednn$matmul`.
        told = of_module.get(key.name) or of_module.get(key.name.partition("__")[0], untold)
        found.append(
            Operation(key.name, 1e-6 * microseconds, counts[key], told.source, told.part, told.mixed)
        )
    return sorted(found, key=lambda operation: -operation.seconds)


def self_time(events: list[Event]) -> dict[Key, float]:
    """Microseconds of each operation; loops have none, for all that they are is within them."""
    # What goes on in other threads may wait there for those that run now: it counts where nothing else runs.
    elsewhere = ((event.end, event.done, event.key) for event in events)
    changes: list[tuple[float, int, int, Key]] = []
    for level, spans in enumerate((_innermost(events), elsewhere)):
        for begin, end, key in spans:
            if begin < end and not key.name.startswith(tuple(CONTAINERS)):
                changes += [(begin, 1, level, key), (end, -1, level, key)]
    spent = {key: 0.0 for *_, key in changes}
    running: tuple[Counter[Key], Counter[Key]] = Counter(), Counter()
    before = 0.0
    for moment, change, level, key in sorted(changes):
        now = running[0] or running[1]
        for one, lanes in now.items():
            spent[one] += (moment - before) * lanes / now.total()
        running[level][key] += change
        if not running[level][key]:
            del running[level][key]
        before = moment
    return spent


def _innermost(events: list[Event]) -> Iterator[tuple[float, float, Key]]:
    """Of each line, spans in which nothing nested runs."""
    lines: dict[tuple[int, int], list[Event]] = {}
    for event in events:
        lines.setdefault(event.line, []).append(event)
    for line in lines.values():
        stack: list[Event] = []
        at = 0.0
        for event in sorted(line, key=lambda one: (one.begin, -one.end)):
            while stack and stack[-1].end <= event.begin:
                done = stack.pop()
                yield at, done.end, done.key
                at = done.end
            if stack:
                yield at, event.begin, stack[-1].key
            stack.append(event)
            at = event.begin
        while stack:
            done = stack.pop()
            yield at, max(at, done.end), done.key
            at = max(at, done.end)


def format_operations(found: list[Operation], steps: int) -> str:
    """A table of at most 80 columns: time a step, share, runs, part of the step, name, which operation of ours."""
    total = sum(operation.seconds for operation in found)
    if not total:
        return "no operation of a program is in it"
    lines = [f"{'a step':>9}{'share':>7}{'runs':>8}  {'part':<10}operation"]
    for operation in found[:MOST_OPERATIONS]:
        microseconds = 1e6 * operation.seconds / steps
        what = f"{operation.name}  {operation.source.rpartition('/')[2]}".strip()
        part = "both" if operation.mixed else operation.part
        lines.append(
            f"{microseconds:>6,.0f} µs{operation.seconds / total:>7.1%}{operation.count:>8,}  {part:<10}{what[:44]}"
        )
    rest = found[MOST_OPERATIONS:]
    if rest:
        spent = sum(operation.seconds for operation in rest)
        runs = sum(operation.count for operation in rest)
        lines.append(
            f"{1e6 * spent / steps:>6,.0f} µs{spent / total:>7.1%}{runs:>8,}  {'':<10}{len(rest)} others"
        )
    return "\n".join(lines)
