"""How much memory a run has taken: of the process on the host, and on its device."""

import resource
import sys

import jax


def peak_resident_bytes() -> int:
    """The most memory that this process has had resident so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes(device: jax.Device) -> int | None:
    """The most memory that arrays have taken on the device; None where it does not say, as on CPUs."""
    stats = device.memory_stats()
    return None if stats is None else stats.get("peak_bytes_in_use")


def text(size: int) -> str:
    """`1.5 MB`: bytes in the unit that a person would choose, in powers of 1000."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
