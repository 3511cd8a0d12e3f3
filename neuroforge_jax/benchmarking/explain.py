"""Why the fast backend is fast: each rung of the ladder with its code, its program and its cost, side by side."""

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import neuroforge_jax
from neuroforge_jax.backends.executors import eager, pipelined, scanned, stepped
from neuroforge_jax.backends.executors.base import programs_of
from neuroforge_jax.benchmarking.cases import Case
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.job.job import Job
from neuroforge_jax.kernels import fused
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.profiling.hlo import Instruction, attribute, parse
from neuroforge_jax.training.step import make_step

QUIET = frozenset(
    {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "opt-barrier", "reshape"}
)
"""Instructions that nothing is launched for."""

LAYOUT_OR_COMMENT = r"\{[^}]*\}|/\*.*?\*/"
"""Of a shape: what says nothing of its size."""

PACKAGE = Path(neuroforge_jax.__file__).parent


@dataclass(frozen=True)
class Lesson:
    """code: what makes the rung what it is. does, next: what it does, and what the rung above it changes."""

    code: tuple[Callable[..., Any], ...]
    does: str
    next: str = ""


LESSONS = {
    "eager": Lesson(
        (eager.prepare, eager.batch_of_step),
        "Python dispatches every operation of the step on its own: each reads its operands from memory and "
        "writes its result back, the host copies a batch to the device before each step, and nothing is "
        "known of what comes next.",
        "The whole step becomes one program. XLA sees all of it: elementwise operations are fused with their "
        "neighbours, temporaries are planned ahead, and the old weights' memory becomes that of the new ones. "
        "The samples move to the device once.",
    ),
    "stepped": Lesson(
        (stepped.prepare,),
        "One compiled program a step, dispatched from Python. The state is donated, so that nothing is allocated.",
        "Many steps become one dispatch: a loop on the device over a chunk of samples, which a thread reads "
        "and moves while the chunk before it is computed.",
    ),
    "pipelined": Lesson(
        (pipelined.chunk_program,),
        "Samples are streamed from the host in chunks of many steps; reading, moving and computing overlap.",
        "All samples lie on the device as bytes, and a dispatch runs any number of steps: no chunk is waited "
        "for, and no thread takes a core from the products.",
    ),
    "scanned": Lesson(
        (scanned.segment_program,),
        "One program for any segment of steps, over samples that lie on the device; the host only looks at "
        "the clock.",
        "The operands of the products are rounded to bf16: half the bytes, and units that multiply twice as "
        "many of them at a time. Weights, sums, loss and update stay in float32.",
    ),
    "rounded": Lesson(
        (Policy.to_compute, Policy.to_output),
        "The same program, whose products have operands of 16 bits and sums of 32.",
        "The dense layer is written by hand: product, bias and activation in one kernel, tiled for this device.",
    ),
    "pallas": Lesson(
        (fused.dense,), "Product, bias and activation in one hand-written kernel, forward and backward."
    ),
}


def explain_case(case: Case) -> dict[str, Any]:
    """What there is to say of the backend of this case, for a page.

    operations: equations of the step's jaxpr. unfused_bytes: what they would move, were each on its own.
    flops, bytes: of a compiled step, as XLA counts them before it chooses libraries, and after. program: the
    instructions of a step that something is launched for. kinds: how many of each.
    """
    job = Job.build(case.config, case.dataset)
    backend, state, fitted = job.backend, job.start(), job.model.fitted
    step, batch = make_step(job.parts), _batch_like(case)
    operations, unfused = _jaxpr_cost(step, state, fitted, batch)
    lowered = jax.jit(step, compiler_options=dict(job.compile_options) or None).lower(state, fitted, batch)
    before, after = lowered.cost_analysis() or {}, lowered.compile().cost_analysis() or {}
    run = job.compile()
    programs = programs_of(run)
    program = program_of_step(next(iter(programs.values())).as_text() or "") if programs else []
    lesson = LESSONS[lesson_of(backend.executor.name, case.candidate, backend.policy)]
    return {
        "name": case.candidate,
        "execution": backend.executor.name,
        "precision": str(backend.policy),
        "kernels": str(backend.kernels),
        "does": lesson.does,
        "next": lesson.next,
        "code": [{"where": where_of(function), "lines": source_of(function)} for function in lesson.code],
        "operations": operations,
        "unfused_bytes": unfused,
        "flops": before.get("flops"),
        "bytes": after.get("bytes accessed") if programs else unfused,
        "launches": len(program) if programs else operations,
        "kinds": dict(Counter(launch.kind for launch in program).most_common()),
        "program": [asdict(launch) for launch in program],
    }


def lesson_of(execution: str, candidate: str, policy: Policy) -> str:
    """Which lesson a backend teaches: its kernels, its precision or its execution, the last of them it adds."""
    if candidate == "pallas":
        return "pallas"
    return "rounded" if policy.compute != jnp.float32 and execution == "scanned" else execution


def source_of(function: Callable[..., Any]) -> str:
    """Its code without its docstring."""
    lines = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    return re.sub(r'\n *""".*?"""', "", lines, count=1, flags=re.DOTALL)


def where_of(function: Callable[..., Any]) -> str:
    """`execution/scanned.py, line 30`."""
    function = inspect.unwrap(function)
    file = Path(inspect.getsourcefile(function) or "").relative_to(PACKAGE)
    return f"neuroforge_jax/{file.as_posix()}, line {inspect.getsourcelines(function)[1]}"


def _batch_like(case: Case) -> Batch:
    train, size = case.dataset.train, case.config.batch_size
    return Batch(jnp.asarray(train.inputs[:size]), jnp.asarray(train.targets[:size]), jnp.ones(size))


def _jaxpr_cost(step: Callable[..., Any], *args: Any) -> tuple[int, int]:
    """Operations that Python would dispatch, and the bytes of their operands and results."""
    equations = jax.make_jaxpr(step)(*args).jaxpr.eqns
    values = [variable.aval for equation in equations for variable in (*equation.invars, *equation.outvars)]
    arrays = [value for value in values if isinstance(value, jax.core.ShapedArray)]
    plain = [array for array in arrays if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)]
    return len(equations), sum(array.size * array.dtype.itemsize for array in plain)


@dataclass(frozen=True)
class Launch:
    """An instruction that something is launched for. name, kind (fusion, dot, custom-call, …), shape: as XLA has
    them; source: of which operation of ours.
    """

    name: str
    kind: str
    shape: str
    source: str


def program_of_step(hlo: str) -> list[Launch]:
    """Of an optimised program, the instructions of the computation with the matrix products, but the quiet ones.

    That is the body of the innermost loop over steps, or all of it where there is no loop.
    """
    computations, attributions = parse(hlo), attribute(hlo)
    step = max(computations, key=lambda name: (_products(name, computations[name]), len(computations[name])))
    return [
        Launch(name, one.opcode, re.sub(LAYOUT_OR_COMMENT, "", one.shape), attributions[name].source)
        for name, one in computations[step].items()
        if one.opcode not in QUIET
    ]


def _products(name: str, instructions: Mapping[str, Instruction]) -> int:
    """Of a computation that is run as such; what lies within a fusion is counted where the fusion is."""
    if "fused" in name or "wrapped" in name:
        return 0
    return sum("dot_general" in one.op_name for one in instructions.values())


def rungs(cases: Sequence[Case], records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each case explained, with what was measured of it."""
    measured = {record["name"]: record for record in records}
    found = []
    for case in cases:
        record = measured[case.name]
        told = {
            key: record[key] for key in ("seconds_per_step", "samples_per_second", "share_of_peak", "ratio")
        }
        found.append({**explain_case(case), **told})
    return found
