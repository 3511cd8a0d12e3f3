"""How much memory arrays take on a device, and sizes told to people."""

import jax


def device_bytes(device: jax.Device) -> int | None:
    """What arrays take on the device now; None where it does not say, as on CPUs."""
    stats = device.memory_stats()
    return None if stats is None else stats.get("bytes_in_use")


def peak_device_bytes(device: jax.Device) -> int | None:
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
