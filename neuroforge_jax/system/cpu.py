"""The CPU: its cores and who uses them, its maker and instruction sets, and whether bf16 products pay on it.

All is read from files below `root`, as Linux keeps them, without asking jax; what a system does not tell is None.
"""

import os
import platform
import re
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from neuroforge_jax.system.linux import ROOT, group_files, read_text

WATCH_SECONDS = 0.3
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True)
class Cores:
    """machine: all of them. allowed: those that this process may run on. quota: of how many its control group
    grants the time. busy_with_others: how many other processes keep busy now.
    """

    machine: int
    allowed: int
    quota: float | None
    busy_with_others: float | None


def cores(root: Path = ROOT) -> Cores:
    """Counts them, and watches for a moment what others do with them."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cores(machine, allowed, cpu_quota(root), busy_cores(root))


def usable_cores(root: Path = ROOT) -> float:
    """Of how many cores this process may use the time: those it may run on, or its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, cpu_quota(root) or allowed)


@cache
def cpu_quota(root: Path = ROOT) -> float | None:
    """The strictest quota of the process's control group and those around it, in cores, when it was first asked."""
    pairs = [text.split() for text in group_files(root, "cpu", "cpu.max")]
    quotas = group_files(root, "cpu", "cpu.cfs_quota_us")
    periods = group_files(root, "cpu", "cpu.cfs_period_us")
    pairs += [[quota, period] for quota, period in zip(quotas, periods, strict=False)]
    # Without a quota the newer groups tell `max`, the older ones -1.
    numbers = [list(map(int, pair)) for pair in pairs if len(pair) == 2 and all(map(str.isdecimal, pair))]
    return min((quota / period for quota, period in numbers if period), default=None)


def busy_cores(root: Path = ROOT, seconds: float = WATCH_SECONDS) -> float | None:
    """How many cores the work of others took, on average, over this stretch of time."""
    before, own_before, begun = _busy_ticks(root), time.process_time(), time.perf_counter()
    if before is None:
        return None
    time.sleep(seconds)
    after, own = _busy_ticks(root), time.process_time() - own_before
    watched = time.perf_counter() - begun
    ticks = (after or before) - before
    return max(0.0, ticks / os.sysconf("SC_CLK_TCK") - own) / watched


def processor_name() -> str:
    """The CPU's own name, where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def processor_model() -> str:
    """`family 26, model 2`: what tells two CPUs of one name apart; empty where the system does not say."""
    family, model = _read_cpuinfo("cpu family").strip(), _read_cpuinfo("model").strip()
    return f"family {family}, model {model}" if family and model else ""


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
    return frozenset(_read_cpuinfo("flags").split())


def cpu_maker() -> str:
    """GenuineIntel, AuthenticAMD, …; empty where the system does not say."""
    return _read_cpuinfo("vendor_id").strip()


_AMX = ("AVX512_CORE_AMX", "AVX10", "DEFAULT", "ALL")


def _onednn_may_use(*ceilings: str) -> bool:
    """OneDNN's own ceiling, ONEDNN_MAX_CPU_ISA, can forbid units that the CPU has."""
    ceiling = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).upper()
    return not ceiling or ceiling.startswith(ceilings)


def _busy_ticks(root: Path) -> int | None:
    """All but idle and waiting for disks: user, nice, system, interrupts, and what other guests stole."""
    told = re.match(r"cpu((?: +\d+){8})", read_text(root / "proc/stat"))
    if told is None:
        return None
    ticks = [int(number) for number in told[1].split()]
    return sum(ticks) - ticks[3] - ticks[4]


@cache
def _read_cpuinfo(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*:(.*)$", text, re.MULTILINE)
    return found.group(1) if found else ""
