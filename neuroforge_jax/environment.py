"""What a run ran on: versions, device, options and commit; nothing that names a host, a user or a path."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from neuroforge_jax import __version__
from neuroforge_jax.backends import Backend

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax")


def describe(backend: Backend, batch_size: int) -> dict[str, Any]:
    """The contents of environment.json; the compile options are those for batches of this size."""
    device = backend.device
    return {
        "neuroforge_jax": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "processors": os.cpu_count(),
        "device": device_name(device),
        "devices": jax.local_device_count(backend=device.platform),
        "products": backend.policy.path(device.platform),
        "compile_options": dict(backend.options(batch_size)),
    }


def device_name(device: jax.Device) -> str:
    """`cpu (AMD EPYC, 2 cores)`, or what the driver calls an accelerator."""
    if device.platform != "cpu":
        return f"{device.platform} ({device.device_kind})"
    cores = os.cpu_count() or 1
    return f"cpu ({processor()}, {cores} core{'s' if cores > 1 else ''})"


def processor() -> str:
    """The CPU's own name, where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """The commit of the checkout that this package lies in, with a + where files were changed; None elsewhere."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
