"""Memory: of the machine, of this process, of a device, and sizes told to people.

What the host has is read from files below `root`, as Linux keeps them; what a system does not tell is None.
"""

import ctypes
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from neuroforge_jax.system.linux import ROOT, group_files, read_text


@runtime_checkable
class CountsMemory(Protocol):
    """A device of jax, which is not imported here: a process that is compared with ours may not have it."""

    def memory_stats(self) -> Any:
        """Counts in bytes by name; None where the device keeps none."""
        ...


@dataclass(frozen=True)
class Memory:
    """total: of the machine. available: for new work. limit: of the control group, where it is below the total."""

    total_bytes: int | None
    available_bytes: int | None
    limit_bytes: int | None


def memory(root: Path = ROOT) -> Memory:
    """What there is, what is left, and what the control group allows."""
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB$", read_text(root / "proc/meminfo"), re.MULTILINE))
    total = int(told["MemTotal"]) * 1024 if "MemTotal" in told else None
    available = int(told["MemAvailable"]) * 1024 if "MemAvailable" in told else None
    files = [
        *group_files(root, "memory", "memory.max"),
        *group_files(root, "memory", "memory.limit_in_bytes"),
    ]
    # Without a limit the older groups tell the largest number that there is.
    limits = [int(text) for text in files if text.isdecimal() and int(text) < (total or 2**62)]
    return Memory(total, available, min(limits, default=None))


def free_bytes(root: Path = ROOT) -> int:
    """What new work may take: what is left, or what the control group allows; endless where nothing tells."""
    told = memory(root)
    sizes = (told.available_bytes, told.limit_bytes, told.total_bytes)
    return min((size for size in sizes if size is not None), default=2**62)


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


@dataclass(frozen=True)
class Heap:
    """What the C library's malloc holds for this process: in use, and free to be handed out again, in bytes."""

    in_use_bytes: int
    free_bytes: int


def heap() -> Heap | None:
    """None where the C library does not tell: it is glibc 2.33 and later that does."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
    if ask is None:
        return None
    ask.restype = _Mallinfo2
    told = ask()
    return Heap(told.uordblks + told.hblkhd, told.fordblks)


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def device_bytes(device: CountsMemory) -> int | None:
    """What arrays take on the device now; None where it does not say, as on CPUs."""
    stats = device.memory_stats()
    return None if stats is None else stats.get("bytes_in_use")


def peak_device_bytes(device: CountsMemory) -> int | None:
    """The most memory that arrays have taken on the device; None where it does not say, as on CPUs."""
    stats = device.memory_stats()
    return None if stats is None else stats.get("peak_bytes_in_use")


def text(size: float) -> str:
    """`1.5 MB`: bytes in the unit that a person would choose, in powers of 1000."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def _status(root: Path, name: str) -> int | None:
    told = re.search(rf"^{name}:\s+(\d+) kB$", read_text(root / "proc/self/status"), re.MULTILINE)
    return int(told[1]) * 1024 if told else None
