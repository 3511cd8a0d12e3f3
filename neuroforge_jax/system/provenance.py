"""What a run ran on: versions, device, options and commit; nothing that names a host, a user or a path."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from neuroforge_jax import __version__
from neuroforge_jax.system.cpu import processor_model, processor_name, usable_cores
from neuroforge_jax.system.git import ask_git

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax")


def environment(device: jax.Device) -> dict[str, Any]:
    """Versions, machine and commit."""
    return {
        "neuroforge_jax": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: installed_version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "processor_model": processor_model(),
        "processors": os.cpu_count(),
        "device": device_name(device),
        "devices": jax.local_device_count(backend=device.platform),
    }


def device_name(device: jax.Device) -> str:
    """`cpu (AMD EPYC, 2 cores)`, of a container `cpu (AMD EPYC, 1.5 of 64 cores)`, or what the driver calls an
    accelerator.
    """
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    machine, usable = os.cpu_count() or 1, usable_cores()
    cores = f"{machine}" if usable >= machine else f"{usable:g} of {machine}"
    return f"cpu ({processor_name()}, {cores} core{'s' if machine > 1 else ''})"


def commit() -> str | None:
    """The commit of the checkout that this package lies in, with a + where files were changed; None elsewhere."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = ask_git(root, "rev-parse", "HEAD")
        return head + ("+" if ask_git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def installed_version(package: str) -> str | None:
    """Of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
