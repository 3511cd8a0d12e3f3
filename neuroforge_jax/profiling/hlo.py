"""Of a compiled program's text: which part of a training step each instruction belongs to, and which line of ours.

jax writes into the metadata of an instruction where it comes from: `jvp(…)` is the forward pass,
`transpose(jvp(…))` the backward pass, and the step names its other parts by `jax.named_scope`. A fusion holds
instructions of several parts. It belongs to that of its products, or else to the part of most of its arithmetic.
Where neither pass is less than a fifth of it, it mixes them; it is backward then, for it runs when the gradients
are there, and does its forward arithmetic again. An instruction of XLA's own, which has no name, belongs where its
operand comes from.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PARTS = ("data", "forward", "backward", "optimizer", "other")
"""Of a step. `other`: the counters of loops, writing the metrics, copies between steps."""

PASSES = ("forward", "backward")

MIXED_SHARE = 0.2
"""Of the arithmetic of a fusion: a pass that has less of it is no mixture worth a word."""

PRODUCTS = frozenset({"dot", "convolution"})

CONTAINERS = frozenset({"while", "conditional"})
"""Instructions that are nothing but those within them."""

NO_ARITHMETIC = frozenset(
    {"parameter", "constant", "broadcast", "iota", "bitcast", "reshape", "tuple", "get-tuple-element"}
)


@dataclass(frozen=True)
class Instruction:
    """shape: with its layout, as XLA writes it. elements: that it computes; of a reduction, those that it reads.
    calls: the computation of a fusion or call, else "". operand: the first of them. op_name: of jax's metadata,
    else "".
    """

    opcode: str
    shape: str
    elements: int
    calls: str
    operand: str
    op_name: str


class Attribution(NamedTuple):
    """part: one of PARTS, or "" where it cannot be told. mixed: whether it has much of both passes. source: the
    operation of ours that it comes from.
    """

    part: str
    mixed: bool
    source: str


Computations = Mapping[str, Mapping[str, Instruction]]


def attribute(hlo: str) -> dict[str, Attribution]:
    """By the name of an instruction that may be seen to run; those within fusions are not."""
    computations = parse(hlo)
    every = [one for instructions in computations.values() for one in instructions.values()]
    fused = {one.calls for one in every if one.opcode == "fusion"}
    found: dict[str, Attribution] = {}
    for computation, instructions in computations.items():
        for name, instruction in instructions.items() if computation not in fused else ():
            found[name] = _attribution(computations, instruction, found.get(instruction.operand))
    return found


def module_name(hlo: str) -> str:
    """`HloModule jit_program, …` → `jit_program`."""
    found = re.match(r"HloModule ([\w.$-]+)", hlo)
    return found[1] if found else ""


def part_of(op_name: str) -> str:
    """The part that jax's name of an operation tells; "" where it tells none."""
    if re.search(r"transpose\([^/]*jvp\(", op_name):
        return "backward"
    if "jvp(" in op_name:
        return "forward"
    # `vmap(data)` is the scope `data` of a population.
    scopes = [re.sub(r"^(?:vmap\()*|\)*$", "", component) for component in op_name.split("/")]
    return next((scope for scope in reversed(scopes) if scope in PARTS), "")


def parse(hlo: str) -> Computations:
    """The instructions of each computation, by name."""
    computations: dict[str, dict[str, Instruction]] = {}
    elements: dict[str, int] = {}
    instructions: dict[str, Instruction] = {}
    for line in hlo.splitlines():
        if header := re.match(r"(?:ENTRY )?%?([\w.$-]+) \(.*\{$", line):
            instructions = computations.setdefault(header[1], {})
        elif found := re.match(r"\s+(?:ROOT )?%?([\w.$-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)$", line):
            name, shape, opcode, rest = found.groups()
            instructions[name] = _instruction(opcode, shape, rest, elements)
            elements[name] = _elements(shape)
    return computations


def _instruction(opcode: str, shape: str, rest: str, elements_of: Mapping[str, int]) -> Instruction:
    """elements_of: of the instructions before it, by name."""

    def first(pattern: str) -> str:
        found = re.search(pattern, rest)
        return found[1] if found else ""

    operand, elements = first(r"^[^%)]*%([\w.$-]+)"), _elements(shape)
    if opcode == "reduce":
        elements = elements_of.get(operand, elements)
    calls = first(r"(?:calls|to_apply)=%?([\w.$-]+)") if opcode in ("fusion", "call") else ""
    return Instruction(opcode, shape, elements, calls, operand, first(r"op_name=\"([^\"]*)\""))


def _elements(shape: str) -> int:
    """`f32[8,10]{1,0}` → 80; of a tuple the sum."""
    sizes = re.findall(r"\w\[([\d,]*)\]", shape)
    return sum(math.prod(int(size) for size in dimensions.split(",") if size) for dimensions in sizes)


def _is_hidden(computation: str) -> bool:
    """Whether a GPU replays it as one graph, whose operations no trace shows."""
    return computation.startswith("command_buffer")


def _attribution(
    computations: Computations, instruction: Instruction, of_operand: Attribution | None
) -> Attribution:
    if _is_hidden(instruction.calls):
        return Attribution("", False, "")
    within = list(_instructions_within(computations, instruction))
    products = [one for one in within if one.opcode in PRODUCTS]
    work: Counter[str] = Counter()
    for one in products or within:
        work[part_of(one.op_name)] += one.elements
    told = Counter({part: amount for part, amount in work.items() if part and amount})
    if not told:
        inherited = of_operand.part if of_operand and not instruction.op_name else ""
        part = part_of(instruction.op_name) or inherited or "other"
        return Attribution(part, False, _source(instruction.op_name))
    part = told.most_common(1)[0][0]
    mixed = part in PASSES and min(told[name] for name in PASSES) >= MIXED_SHARE * told.total()
    if mixed:
        part = "backward"
    largest = max((one for one in within if part_of(one.op_name) == part), key=lambda one: one.elements)
    return Attribution(part, mixed, _source(largest.op_name))


def _instructions_within(computations: Computations, instruction: Instruction) -> Iterator[Instruction]:
    """Those that do arithmetic: of a fusion or a call all within it, of any other itself."""
    if instruction.calls:
        for one in computations.get(instruction.calls, {}).values():
            yield from _instructions_within(computations, one)
    elif instruction.opcode not in NO_ARITHMETIC:
        yield instruction


def _source(op_name: str) -> str:
    """`jit(program)/while/body/transpose(jvp(layer))/dot_general` without the loops around it."""
    loops = ("while", "body", "closed_call", "cond", "eval_jaxpr", "jit(main)")
    parts = [part for part in op_name.split("/") if part not in loops]
    return "/".join(parts[1:] if parts and parts[0].startswith("jit(") else parts)
