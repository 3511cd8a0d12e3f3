"""The accelerators that the system shows, whether or not jax can use them."""

import re
from dataclasses import dataclass
from pathlib import Path

from neuroforge_jax.system.linux import ROOT, read_text


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


def accelerators(root: Path = ROOT) -> tuple[Accelerator, ...]:
    """By the devices that the drivers make."""
    found = []
    version = root / "proc/driver/nvidia/version"
    if version.exists() or (root / "dev/nvidia0").exists():
        number = re.search(r"\b\d{3,}(\.\d+)+", read_text(version))
        found.append(Accelerator("NVIDIA", number[0] if number else None))
    if (root / "dev/kfd").exists():
        found.append(Accelerator("AMD", None))
    if (root / "dev/accel0").exists():
        found.append(Accelerator("TPU", None))
    return tuple(found)
