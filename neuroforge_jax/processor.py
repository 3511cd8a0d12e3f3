"""What the CPU says of itself: its maker, its instruction sets, and whether bf16 products pay on it."""

import os
import re
from functools import cache
from pathlib import Path

_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


def bf16_units() -> bool:
    """Whether this CPU multiplies bf16 in hardware, as far as oneDNN is allowed to use it."""
    return bool(_BF16_FLAGS & cpu_flags()) and _onednn_may_use("AVX512_CORE_BF16", "AVX512_CORE_FP16", *_AMX)


def bf16_pays() -> bool:
    """Whether that is faster than float32, as it is on AMD's CPUs and with AMX.

    With AVX-512 alone it is not on Intel's: two cores of an Emerald Rapids Xeon that hides its AMX from its guests
    do 166 GFLOP/s in bf16, and 197 to 287 in float32.
    """
    return bf16_units() and (has_amx() or cpu_maker() != "GenuineIntel")


def has_amx() -> bool:
    """Whether this CPU has matrix units, as far as oneDNN is allowed to use them."""
    return "amx_tile" in cpu_flags() and _onednn_may_use(*_AMX)


def cpu_flags() -> frozenset[str]:
    """The instruction sets that the CPU reports; empty where the system does not say."""
    return frozenset(_told("flags").split())


def cpu_maker() -> str:
    """GenuineIntel, AuthenticAMD, …; empty where the system does not say."""
    return _told("vendor_id").strip()


_AMX = ("AVX512_CORE_AMX", "AVX10", "DEFAULT", "ALL")


def _onednn_may_use(*ceilings: str) -> bool:
    """OneDNN's own ceiling, ONEDNN_MAX_CPU_ISA, can forbid units that the CPU has."""
    ceiling = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return not ceiling or ceiling.startswith(ceilings)


@cache
def _told(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""
