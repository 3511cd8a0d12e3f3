"""What the machine has for a training, without asking jax: cores, memory, accelerators.

All is read from files below `root`, as Linux keeps them; what a system does not tell is None.
"""

import os
import re
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
WATCH_SECONDS = 0.3


@dataclass(frozen=True)
class Cores:
    """machine: all of them. allowed: those that this process may run on. quota: of how many its control group
    grants the time. busy_with_others: how many other processes keep busy now.
    """

    machine: int
    allowed: int
    quota: float | None
    busy_with_others: float | None


@dataclass(frozen=True)
class Memory:
    """total: of the machine. available: for new work. limit: of the control group, where it is below the total."""

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None


@dataclass(frozen=True)
class Accelerator:
    """Hardware that the system shows, whether or not jax can use it. driver: its version, where it is told."""

    maker: str
    driver: str | None

    @property
    def extra(self) -> str | None:
        """The extra of this package that installs jax for it; None where there is none.

        An NVIDIA driver from 580 on runs CUDA 13.
        """
        if self.maker == "NVIDIA":
            return "cuda13" if int((self.driver or "0").partition(".")[0]) >= 580 else "cuda12"
        return {"TPU": "tpu"}.get(self.maker)

    @property
    def packages(self) -> tuple[str, ...]:
        """The packages of which one makes jax use it."""
        return {"NVIDIA": ("jax-cuda12-plugin", "jax-cuda13-plugin"), "TPU": ("libtpu",)}.get(self.maker, ())


def cores(root: Path = ROOT) -> Cores:
    """Counts them, and watches for a moment what others do with them."""
    machine = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Cores(machine, allowed, cpu_quota(root), busy_cores(root))


def cpu_quota(root: Path = ROOT) -> float | None:
    """The strictest quota of the process's control group and those around it, in cores."""
    pairs = [text.split() for text in _group_files(root, "cpu", "cpu.max")]
    quotas = _group_files(root, "cpu", "cpu.cfs_quota_us")
    periods = _group_files(root, "cpu", "cpu.cfs_period_us")
    pairs += [[quota, period] for quota, period in zip(quotas, periods, strict=False)]
    # Without a quota the newer groups tell `max`, the older ones -1.
    numbers = [list(map(int, pair)) for pair in pairs if len(pair) == 2 and all(map(str.isdecimal, pair))]
    return min((quota / period for quota, period in numbers if period), default=None)


def memory(root: Path = ROOT) -> Memory:
    """What there is, what is left, and what the control group allows."""
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE))
    total = int(told["MemTotal"]) * 1024 if "MemTotal" in told else None
    available = int(told["MemAvailable"]) * 1024 if "MemAvailable" in told else None
    files = [
        *_group_files(root, "memory", "memory.max"),
        *_group_files(root, "memory", "memory.limit_in_bytes"),
    ]
    # Without a limit the older groups tell the largest number that there is.
    limits = [int(text) for text in files if text.isdecimal() and int(text) < (total or 2**62)]
    return Memory(total, available, min(limits, default=None))


def accelerators(root: Path = ROOT) -> tuple[Accelerator, ...]:
    """By the devices that the drivers make."""
    found = []
    version = root / "proc/driver/nvidia/version"
    if version.exists() or (root / "dev/nvidia0").exists():
        number = re.search(r"\b\d{3,}(\.\d+)+", _text(version))
        found.append(Accelerator("NVIDIA", number[0] if number else None))
    if (root / "dev/kfd").exists():
        found.append(Accelerator("AMD", None))
    if (root / "dev/accel0").exists():
        found.append(Accelerator("TPU", None))
    return tuple(found)


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


def resident_bytes(root: Path = ROOT) -> int | None:
    """Memory that this process has resident now."""
    return _status(root, "VmRSS")


def peak_resident_bytes(root: Path = ROOT) -> int:
    """The most memory that this process has had resident so far."""
    # A child's figure in getrusage begins with what its parent had when it was forked.
    peak = _status(root, "VmHWM")
    if peak is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak


def _status(root: Path, name: str) -> int | None:
    told = re.search(rf"^{name}:\s+(\d+) kB$", _text(root / "proc/self/status"), re.MULTILINE)
    return int(told[1]) * 1024 if told else None


def _busy_ticks(root: Path) -> int | None:
    """All but idle and waiting for disks: user, nice, system, interrupts, and what other guests stole."""
    told = re.match(r"cpu((?: +\d+){8})", _text(root / "proc/stat"))
    if told is None:
        return None
    ticks = [int(number) for number in told[1].split()]
    return sum(ticks) - ticks[3] - ticks[4]


def _group_files(root: Path, controller: str, name: str) -> Iterator[str]:
    """The contents of this file in the process's control group and in all around it, version 1 or 2."""
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        folder = path.strip("/")
        for mount in (mounts / controllers, mounts / controller) if controllers else (mounts,):
            # In a container the path may be the host's, which is not there: its root is, and has the limits.
            inner = [mount / folder, *(mount / folder).parents]
            for place in inner[: len(Path(folder).parts) + 1]:
                if text := _text(place / name).strip():
                    yield text
            if mount.is_dir():
                break


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
