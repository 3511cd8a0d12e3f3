"""What the doctor sees: the machine, jax, the backends and the data, gathered into plain values.

Looking changes nothing; what would help is a pure function of what was seen, in `advice`.
"""

import os
import platform as host
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from neuroforge_jax import __version__
from neuroforge_jax.backends.compilation_cache import Place, place
from neuroforge_jax.backends.compiler import bf16_is_fast, why_bf16_is_slow
from neuroforge_jax.backends.resolve import (
    BF16_MIN_STEP_FLOPS,
    bf16_is_measured,
    choose,
    discover_backends,
    load_backend,
)
from neuroforge_jax.backends.table import BACKENDS, Backend, local_devices
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import DATASETS, data_folder, find_files
from neuroforge_jax.data.download import ARCHIVES
from neuroforge_jax.errors import UserError
from neuroforge_jax.kernels.choice import entries_of
from neuroforge_jax.kernels.kernel_sets import kernels_for
from neuroforge_jax.kernels.plugins import discover_kernels, load_kernel
from neuroforge_jax.precision.policy import POLICIES, short_name
from neuroforge_jax.system.accelerators import Accelerator, accelerators
from neuroforge_jax.system.cpu import Cores, bf16_pays, bf16_units, cores, cpu_flags, processor_name
from neuroforge_jax.system.memory import Memory, memory
from neuroforge_jax.system.provenance import installed_version

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "flax", "orbax-checkpoint")
PLATFORM_PACKAGES = ("jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")
VARIABLES = (
    "JAX_PLATFORMS", "JAX_DISABLE_JIT", "JAX_ENABLE_X64", "JAX_DEBUG_NANS", "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "XLA_FLAGS", "XLA_PYTHON_CLIENT_MEM_FRACTION",
    "CUDA_VISIBLE_DEVICES", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "NPROC", "PJRT_NPROC",
)  # fmt: skip
"""Of the environment, those that change what jax does, or how fast."""

SMALL_BATCH, LARGE_BATCH = 8, 512


@dataclass(frozen=True)
class Device:
    """A device of jax. memory_bytes: that jax may take. trouble: why a small product failed on it, if it did."""

    platform: str
    kind: str
    memory_bytes: int | None
    memory_in_use_bytes: int | None
    trouble: str


@dataclass(frozen=True)
class BackendRow:
    """A backend and whether it can be used. status: ready, absent or unavailable; reason: why not."""

    name: str
    execution: str
    precision: str
    kernels: str
    platform: str
    origin: str
    status: str
    reason: str


@dataclass(frozen=True)
class CompileOptionsRow:
    """The XLA compile options in force for a precision and a batch size."""

    precision: str
    batch_size: int
    options: dict[str, bool | int | str]


@dataclass(frozen=True)
class Precision:
    """bf16_flags: what the CPU reports. bf16_units: whether they can be used. bf16_pays: whether they are faster
    than those of float32. bf16_from_step_flops: where bf16 is the faster precision, the work of a step from which
    it is; else None. reason: why it is not, or why that is not certain.
    """

    bf16_flags: tuple[str, ...]
    bf16_units: bool
    bf16_pays: bool
    bf16_from_step_flops: float | None
    reason: str


@dataclass(frozen=True)
class Kernels:
    """Hand-written kernels for the first device. name: of their set; None where there are none for this device.

    multiplied, left_to_xla: precisions. measured: sizes for which this device's table has an entry.
    """

    name: str | None
    multiplied: tuple[str, ...]
    left_to_xla: tuple[str, ...]
    measured: int


@dataclass(frozen=True)
class KernelRow:
    """A dense layer of another package and whether it can be used. status: ready, absent or unavailable."""

    name: str
    dtypes: tuple[str, ...]
    devices: str
    origin: str
    status: str
    reason: str


@dataclass(frozen=True)
class Files:
    """The files of a dataset. state: embedded, present, absent, or `3 of 4 files`."""

    name: str
    state: str
    size_bytes: int


@dataclass(frozen=True)
class Diagnosis:
    """All of it, as plain values."""

    neuroforge_jax: str
    python: str
    system: str
    processor: str
    versions: dict[str, str | None]
    variables: dict[str, str]
    cores: Cores
    memory: Memory
    accelerators: tuple[Accelerator, ...]
    devices: tuple[Device, ...]
    backends: tuple[BackendRow, ...]
    auto: str
    compile_options: tuple[CompileOptionsRow, ...]
    precision: Precision
    kernels: Kernels
    kernel_plugins: tuple[KernelRow, ...]
    data_folder: Path
    datasets: tuple[Files, ...]
    compilation_cache: Place


def diagnose(data_dir: Path | None = None) -> Diagnosis:
    """Look at everything. Raises DeviceError where jax cannot start.

    data_dir: the folder of the datasets, as for a training. Plugins are imported, for they are listed.
    """
    devices = local_devices()
    folder = data_folder(data_dir)
    packages = [*PACKAGES, *(name for name in PLATFORM_PACKAGES if installed_version(name))]
    return Diagnosis(
        neuroforge_jax=__version__,
        python=host.python_version(),
        system=f"{host.system()} {host.machine()}",
        processor=processor_name(),
        versions={name: installed_version(name) for name in packages},
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        cores=cores(),
        memory=memory(),
        accelerators=accelerators(),
        devices=tuple(map(_device, devices)),
        backends=(*map(_row, BACKENDS.values()), *_backend_plugins()),
        auto=choose(TrainConfig(backend="auto")).backend.name,
        compile_options=tuple(
            CompileOptionsRow(backend.precision, batch_size, dict(backend.options(batch_size)))
            for backend in (BACKENDS["optimized"], BACKENDS["mixed"])
            for batch_size in (SMALL_BATCH, LARGE_BATCH)
        ),
        precision=_precision(devices[0]),
        kernels=_kernels(devices[0]),
        kernel_plugins=tuple(_kernel_plugins(devices[0])),
        data_folder=folder,
        datasets=tuple(_files(name, folder) for name in DATASETS if name != "auto"),
        compilation_cache=place(devices[0]),
    )


def _device(device: jax.Device) -> Device:
    stats = device.memory_stats() or {}
    try:
        ones = jax.device_put(jnp.ones((32, 32)), device)
        (ones @ ones).block_until_ready()
        trouble = ""
    except RuntimeError as error:
        trouble = str(error).partition("\n")[0]
    capability = getattr(device, "compute_capability", None)
    kind = f"{device.device_kind}, compute capability {capability}" if capability else device.device_kind
    return Device(device.platform, kind, stats.get("bytes_limit"), stats.get("bytes_in_use"), trouble)


def _kernels(device: jax.Device) -> Kernels:
    kernel_set, policies = kernels_for(device), {name: POLICIES[name] for name in ("f32", "bf16", "fp16")}
    multiplied = tuple(
        name for name, p in policies.items() if kernel_set and kernel_set.multiplies(p.compute)
    )
    rest = tuple(name for name in policies if name not in multiplied)
    return Kernels(
        kernel_set.name if kernel_set else None, multiplied, rest, len(entries_of(device.device_kind))
    )


def _row(backend: Backend) -> BackendRow:
    status, reason = "ready", ""
    try:
        choose(TrainConfig(backend=backend.name))
    except UserError as error:
        status, reason = "absent", str(error)
    return BackendRow(
        backend.name, backend.executor.name, backend.precision, str(backend.kernels), backend.platform,
        backend.origin, status, reason,
    )  # fmt: skip


def _backend_plugins() -> list[BackendRow]:
    rows = []
    for plugin in discover_backends():
        try:
            rows.append(_row(load_backend(plugin)))
        except UserError as error:
            rows.append(BackendRow(plugin.name, "", "", "", "", plugin.origin, "unavailable", str(error)))
    return rows


def _kernel_plugins(device: jax.Device) -> Iterator[KernelRow]:
    for plugin in discover_kernels():
        try:
            kernel = load_kernel(plugin)
        except UserError as error:
            yield KernelRow(plugin.name, (), "", plugin.origin, "unavailable", str(error))
            continue
        status, reason = "ready", ""
        try:
            kernel.check_device(device)
        except UserError as error:
            status, reason = "absent", str(error)
        dtypes = tuple(short_name(dtype) for dtype in kernel.dtypes)
        yield KernelRow(kernel.name, dtypes, kernel.needs, kernel.origin, status, reason)


def _precision(device: jax.Device) -> Precision:
    told = tuple(sorted(cpu_flags() & {"avx512_bf16", "amx_bf16"})), bf16_units(), bf16_pays()
    if not bf16_is_fast(device.platform):
        return Precision(*told, None, why_bf16_is_slow())
    if device.platform == "cpu":
        return Precision(*told, BF16_MIN_STEP_FLOPS, "")
    return Precision(*told, 0.0, "" if bf16_is_measured(device) else f"no {device.device_kind} was measured")


def _files(name: str, folder: Path) -> Files:
    if name not in ARCHIVES:
        return Files(name, "embedded", 0)
    paths = find_files(ARCHIVES[name], folder).values()
    here = [path for path in paths if path is not None and path.is_file()]
    partly = f"{len(here)} of {len(paths)} files" if here else "absent"
    return Files(name, "present" if len(here) == len(paths) else partly, sum(p.stat().st_size for p in here))


def to_json(seen: Diagnosis, advice: Sequence[str]) -> dict[str, Any]:
    """The diagnosis and the advice for programs: nothing in it names a host, a user or a path."""
    record = asdict(seen)
    del record["data_folder"]
    record["compilation_cache"] = {
        "on": seen.compilation_cache.folder is not None,
        "reason": seen.compilation_cache.reason,
    }
    return _without_paths({**record, "advice": advice})


_PATH = re.compile(r"""(?:(?<=[\s'"=(:,\[])|^)~?(?:[A-Za-z]:\\|/)[^\s'",;:)\]]+""")


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_paths(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(part) for part in value]
    return _PATH.sub("<path>", value) if isinstance(value, str) else value
