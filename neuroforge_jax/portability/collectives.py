"""What devices send to each other in a step, read from a compiled program.

Each of D devices sends, for a result of n bytes and by the algorithms that need the fewest bytes (Patarasuk and
Yuan, 2009, doi:10.1016/j.jpdc.2008.09.002):

    all-reduce           2 (D − 1)/D · n      each part goes around a ring of them twice
    all-gather             (D − 1)/D · n      once
    reduce-scatter         (D − 1) · n        once: the result is a D-th of what is summed
    all-to-all             (D − 1)/D · n
    collective-permute                 n
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

SENT: Mapping[str, Callable[[int, int], float]] = {
    "all-reduce": lambda size, devices: 2 * size * (devices - 1) / devices,
    "all-gather": lambda size, devices: size * (devices - 1) / devices,
    "reduce-scatter": lambda size, devices: size * (devices - 1),
    "all-to-all": lambda size, devices: size * (devices - 1) / devices,
    "collective-permute": lambda size, devices: size,
    "collective-broadcast": lambda size, devices: size,
}
"""Operation → the bytes that a device sends, of those of its result and the devices of its group."""

LOOPS_TO_A_STEP = 1
"""Around a step: that of the steps. A loop within it is that of the batch's parts."""


Arrays = tuple[tuple[str, tuple[int, ...]], ...]
"""The dtype and shape of each."""


@dataclass(frozen=True)
class Collective:
    """An operation of several devices.

    arrays: dtype and shape of each array of its result on a device. group: how many devices take part together.
    times: how often a step has it.
    """

    operation: str
    arrays: Arrays
    group: int
    times: int = 1

    @property
    def numbers(self) -> int:
        """In its result."""
        return sum(math.prod(shape) for _, shape in self.arrays)

    @property
    def result_bytes(self) -> int:
        """Of its result on a device."""
        return sum(-(-_bits(dtype) * math.prod(shape) // 8) for dtype, shape in self.arrays)

    @property
    def sent_bytes(self) -> float:
        """By each device, a step."""
        return self.times * SENT[self.operation](self.result_bytes, self.group)


def find_collectives(hlo: str, devices: int, parts: int = 1) -> tuple[Collective, ...]:
    """Of the text of a compiled program of so many devices, in its order. parts: in which a batch is computed."""
    computations = dict(_computations(hlo))
    depths = _loops_around(computations)
    return tuple(
        Collective(operation, arrays, group, parts if depths.get(name, 0) > LOOPS_TO_A_STEP else 1)
        for name, lines in computations.items()
        for operation, arrays, group in _operations(lines, devices)
    )


def _computations(hlo: str) -> Iterator[tuple[str, list[str]]]:
    """The functions of a program: name → its lines. That of the first one, the entry, is the empty text."""
    name, lines = None, list[str]()
    for line in hlo.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{$", line):
            name, lines = "" if head[1] else head[2], []
        elif line == "}" and name is not None:
            yield name, lines
            name = None
        else:
            lines.append(line)


def _loops_around(computations: Mapping[str, list[str]]) -> dict[str, int]:
    """Name of a function → the loops in whose bodies it is called."""
    depths: dict[str, int] = {}
    waiting = [("", 0)]
    while waiting:
        name, depth = waiting.pop()
        if depths.get(name, -1) >= depth:
            continue
        depths[name] = depth
        for role, called in _calls(computations.get(name, ())):
            waiting.append((called, depth + (role == "body")))
    return depths


def _calls(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        for role, named in re.findall(r"(\w+)=(%[\w.-]+|\{%[^}]*\})", line):
            for called in re.findall(r"%([\w.-]+)", named):
                yield role, called


INSTRUCTION = re.compile(rf"\s*(?:ROOT )?%?([\w.-]+) = (.*?) ({'|'.join(SENT)})(-start|-done)?\(%?([\w.-]*)")


def _operations(lines: list[str], devices: int) -> Iterator[tuple[str, Arrays, int]]:
    """Operation, arrays, group. Of one that starts and ends apart, the end has the result, the start the group."""
    started: dict[str, int] = {}
    for line in lines:
        found = INSTRUCTION.match(line)
        if found is None:
            continue
        name, result, operation, half, operand = found.groups()
        if half == "-start":
            started[name] = _group(operation, line, devices)
            continue
        group = started[operand] if half == "-done" else _group(operation, line, devices)
        arrays = tuple(
            (dtype, tuple(int(size) for size in sizes.split(",") if size))
            for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", result)
        )
        yield operation, arrays, group


def _group(operation: str, line: str, devices: int) -> int:
    """How many devices a group has, in any of the three forms in which XLA writes groups; all where it has none."""
    if operation == "collective-permute":
        return 2
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return listed[1].count(",") + 1
    if tiled := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(tiled[1])
    if named := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", named[1]))
        axes = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", named[2])
        return math.prod(int(part or sizes[axis]) for axis, part in axes)
    return devices


def _bits(dtype: str) -> int:
    width = re.search(r"\d+", dtype)
    return int(width[0]) if width else 8
