"""The XLA compile options that make a program fast here, chosen by what the CPU reports.

On x86 CPUs the matrix products of XLA go through oneDNN, with vectors as wide as the CPU has them: float32
training gains up to a third, bf16 training on CPUs that multiply it faster doubles (jax ≥ 0.11). A known option is
not a working one, though: on a CPU without those units bf16 through oneDNN is a crash or a crawl. What a CPU says
of itself decides, never a try; where it has no such units, bf16 operands are multiplied in float32.
"""

import math
import platform as host
from functools import cache

import jax
import jax.numpy as jnp

from neuroforge_jax.precision.policy import POLICIES, Policy
from neuroforge_jax.system import cpu
from neuroforge_jax.typing import CompileOptions

ONEDNN = "xla_cpu_experimental_onednn_custom_call"
VECTOR_WIDTH = "xla_cpu_prefer_vector_width"

YNN_FUSIONS = "xla_cpu_experimental_ynn_fusion_type"
"""Empty: XLA leaves no product to YNNPACK, its other library, and oneDNN gets them all."""

EXCESS_PRECISION = "xla_allow_excess_precision"
"""Left on, XLA drops a rounding whose result is widened at once: with oneDNN on jax 0.12, operands rounded to be
multiplied in float32 would not be rounded at all."""

XLA_ALONE = {
    # by Intel, bf16: at these batches
    (False, True): range(0),
    (False, False): range(17, 48),
    (True, True): range(17, 96),
    (True, False): range(17, 512),
}
"""Where XLA is faster without oneDNN. On a Zen 4 float32 gains 12 % at batch 24, 8 % at 32, 2 % at 48. On Xeons
with AMX bf16 gains 5 to 15 %, float32 1 to 12 %, and without AMX up to 15 % (784-1024-512-10, jax 0.12)."""

ONEDNN_ALONE = {
    # by Intel, bf16: from this batch on
    (False, True): 64,
    (False, False): 2**31,
    (True, True): 96,
    (True, False): 512,
}
"""From here on oneDNN alone is faster. On a Zen 4 bf16 gains 0 to 11 % (between 4 % less and 6 % more with Adam up
to batch 128); at batch 32 it depends on the widths, and at batch 8 it is 2.5 times slower. On Xeons with AMX bf16
gains 7 % at batch 96, 28 % at 128 and 100 % at 512 over XLA alone, float32 3 to 4 %, as it does without AMX."""


REPAYS_FROM_FLOPS = {
    # by bf16
    False: 2.5e12,
    True: 0.7e12,
}
"""Operations of all products of a training from which on oneDNN is used: a program through it cannot be kept, and
what it saves must repay compiling it anew each time (`benchmarks/onednn.json`)."""


def compile_options(
    platform: str, policy: Policy, batch_size: int, flops: float = math.inf
) -> CompileOptions:
    """The options for `jax.jit(compiler_options=dict(…))` on this platform, for batches of this size.

    flops: of all products of the training, or of what is compiled. Empty where nothing is known to help; options
    that this jax does not know are left out.
    """
    if platform != "cpu" or host.machine().lower() not in ("x86_64", "amd64"):
        return ()
    wanted: dict[str, bool | int | str] = {}
    if "avx512f" in cpu.cpu_flags():
        wanted[VECTOR_WIDTH] = 512
    multiplied_in = policy.multiplied_in(platform)
    if multiplied_in in (jnp.float32, jnp.bfloat16):
        in_bf16 = multiplied_in == jnp.bfloat16
        case = cpu.cpu_maker() == "GenuineIntel", in_bf16
        repays = flops >= REPAYS_FROM_FLOPS[in_bf16]
        if repays and batch_size not in XLA_ALONE[case]:
            wanted[ONEDNN] = True
        if repays and batch_size >= ONEDNN_ALONE[case]:
            wanted[YNN_FUSIONS] = ""
    if multiplied_in != policy.compute:
        wanted[EXCESS_PRECISION] = False
    return tuple(sorted((name, value) for name, value in wanted.items() if _is_known(name, value)))


def options_of_what_runs_once(platform: str) -> CompileOptions:
    """For a program that takes longer to compile than to run, such as the one that draws the first weights.

    LLVM's last level of effort takes twice as long for it on a CPU (1.1 s instead of 0.6 on two busy cores), and
    gives the same bits; the lowest does not.
    """
    return (("xla_backend_optimization_level", 2),) if platform == "cpu" else ()


def bf16_is_fast(platform: str) -> bool:
    """Whether bf16 training was measured faster than float32 on devices like this one."""
    if platform != "cpu":
        return True
    return POLICIES["bf16"].multiplied_in("cpu") == jnp.bfloat16


def why_bf16_is_slow() -> str:
    """For a CPU on which it is: the reason, and what would help."""
    if not cpu.bf16_units():
        return (
            "this CPU has no bf16 units (avx512_bf16 or amx_bf16): operands are rounded to bf16 and multiplied in "
            "float32; --precision f32 is at least as fast"
        )
    if not cpu.bf16_pays():
        return (
            "this CPU multiplies bf16 no faster than float32 (avx512_bf16 by Intel, no AMX): operands are rounded "
            "to bf16 and multiplied in float32; --precision f32 is at least as fast"
        )
    return (
        f"jax {jax.__version__} multiplies bf16 slowly on CPUs, so that bf16 gains nothing over --precision f32 "
        "here; Python 3.12 or later with jax 0.11 or later makes it the faster one"
    )


@cache
def _is_known(name: str, value: bool | int | str) -> bool:
    """Probe: jax refuses an option that its XLA does not know while it compiles the smallest program."""
    try:
        jax.jit(lambda: jnp.zeros(()), compiler_options={name: value}).lower().compile()
    except Exception as error:
        if "No such compile option" not in str(error):
            raise
        return False
    return True
