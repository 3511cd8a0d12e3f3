"""From the names of a config to a backend, a plugin's too, with the reason why it is this one."""

import platform as host
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from neuroforge_jax.backends.compiler import bf16_is_fast, why_bf16_is_slow
from neuroforge_jax.backends.executors.base import Execution
from neuroforge_jax.backends.table import BACKENDS, EXECUTIONS, KERNELS, Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import ConfigError, UserError, unknown
from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS
from neuroforge_jax.kernels.plugins import find_kernel
from neuroforge_jax.precision.policy import policy, short_name
from neuroforge_jax.system.plugins import Plugin, discover
from neuroforge_jax.training.mesh import make_mesh

LADDER_MEASURED = {"cpu": ("x86_64", "amd64"), "gpu": ("NVIDIA H200",)}
"""Platforms on which the ladder of backends was measured, with a record in benchmarks/: architectures of CPUs, and
kinds of other devices."""

BF16_MEASURED = ("NVIDIA H200",)
"""Kinds of accelerator on which bf16 was measured to be faster, with a record in benchmarks/."""

BUILT_IN = ("auto", *BACKENDS)
"""Names that no package can take."""


def discover_backends() -> list[Plugin]:
    """The backends that installed packages declare; none is imported."""
    return discover("backend", BUILT_IN)


def find(name: str) -> Backend:
    """The backend of this name: a built-in one, else a plugin, which is imported only if it is the one.

    Raises ConfigError for an unknown name, DeviceError for a plugin that cannot be used.
    """
    if name in BACKENDS:
        return BACKENDS[name]
    plugins = {plugin.name: plugin for plugin in discover_backends()}
    if name not in plugins:
        raise ConfigError(unknown("backend", name, (*BUILT_IN, *plugins)))
    return load_backend(plugins[name])


def load_backend(plugin: Plugin) -> Backend:
    """The backend that a plugin makes. Raises DeviceError for one that cannot be used."""
    made = plugin.load()
    if not isinstance(made, Backend):
        raise plugin.error(f"{plugin.entry.value} makes a {type(made).__name__}; it must make a Backend")
    if made.name != plugin.name:
        raise plugin.error(f"its Backend has the name {made.name!r}; give it that of the entry point")
    if not isinstance(made.execution, Execution) and made.execution not in EXECUTIONS:
        raise plugin.error(unknown("execution", str(made.execution), EXECUTIONS))
    try:
        policy(made.precision)
        return replace(made, kernels=find_kernels(made.kernels), origin=plugin.origin)
    except UserError as error:
        raise plugin.error(str(error)) from None


def find_kernels(named: str | DenseKernel) -> str | DenseKernel:
    """The kernels of a backend: a name of KERNELS as it is, else the kernel of that name of an installed package.

    Raises ConfigError for an unknown name, DeviceError for a plugin that cannot be used.
    """
    return named if isinstance(named, DenseKernel) or named in KERNELS else find_kernel(named, KERNELS)


@dataclass(frozen=True)
class Choice:
    """The backend of a run and, for the header, why it is this one. mesh: of its devices; None for one device."""

    backend: Backend
    reason: str
    mesh: Mesh | None = None


def choose(config: TrainConfig, *, streams: bool = False) -> Choice:
    """The backend that a config names, with the axes that its flags replace. streams: whether the samples are read
    from a source, which the chosen one then takes.

    Raises ConfigError for an unknown name, DeviceError where the platform is absent, a plugin cannot be used or the
    mesh is larger than what is there.
    """
    automatic = config.backend == "auto"
    backend = find(("async" if streams else "optimized") if automatic else config.backend)
    precision = config.precision or ("bf16" if config.mixed_precision else None)
    if precision:
        backend = replace(backend, precision=policy(precision).name)
    if config.async_ops:
        backend = replace(backend, execution="pipelined")
    if config.kernels:
        backend = replace(backend, kernels=find_kernels(config.kernels))
    mesh = None if config.mesh is None else _mesh_of(config.mesh, backend)
    reason = _reason(automatic, backend.device, backend.precision)
    if automatic and streams:
        reason = "auto: it reads samples while it trains, which are not all in memory"
    activations = _activations_of_layers(config)
    reason += _describe_fallback(backend, activations) + _origins(backend, activations)
    return Choice(backend, reason, mesh)


def _mesh_of(text: str, backend: Backend) -> Mesh:
    """Raises ConfigError for a mesh that the backend cannot use, with what can."""
    mesh = make_mesh(text, backend.devices)
    if not backend.executor.takes_mesh:
        raise ConfigError(
            f"--mesh {text}: backend {backend.name!r} ({backend.executor.name} execution) trains on one device; "
            "use --backend optimized or mixed, or leave --mesh out"
        )
    check_kernels_divide(text, mesh, backend.kernels)
    return mesh


def check_kernels_divide(text: str, mesh: Mesh, kernels: str | DenseKernel) -> None:
    """Raises ConfigError for hand-written kernels where a mesh divides their layers, or makes them many."""
    apart = {name: size for name, size in mesh.shape.items() if name != "data" and size > 1}
    if kernels != "xla" and apart:
        raise ConfigError(
            f"--mesh {text}: the kernels {kernels} compute whole layers of one network, a part of the rows "
            "on each device; use --kernels xla, or --mesh data=N alone"
        )


def _activations_of_layers(config: TrainConfig) -> tuple[str, ...]:
    """What the layers of a network apply to their sums: where these are normalized first, nothing."""
    hidden = (config.activation,) if config.hidden and config.normalization == "none" else ()
    return tuple(dict.fromkeys((*hidden, "identity")))


def _origins(backend: Backend, activations: tuple[str, ...]) -> str:
    """For the header: the packages that bring the backend and its kernels, where they are others."""
    kernels, origins = backend.kernels, backend.origin and f", from {backend.origin}"
    if not isinstance(kernels, DenseKernel) or not kernels.origin:
        return origins
    if kernels.computes_any(backend.policy.compute, activations):
        return f"{origins}, layers by {kernels} of {kernels.origin}"
    return f"{origins}; {kernels} is of {kernels.origin}"


def _describe_fallback(backend: Backend, activations: tuple[str, ...]) -> str:
    """For the header: that there are kernels for the device, and none for this precision or activation.

    Raises DeviceError where kernels are asked for and there are none for the device.
    """
    implementation, dtype = backend.implementation, backend.policy.compute
    if isinstance(implementation, DenseKernel):
        fallback = implementation.describe_fallback(dtype, activations)
        return fallback and f"; {fallback}"
    kernel_set = KERNEL_SETS.get(implementation)
    if kernel_set is None or kernel_set.multiplies(dtype):
        return ""
    return f"; the {kernel_set.name} kernels multiply no {short_name(dtype)}, and xla runs"


def _reason(automatic: bool, device: jax.Device, precision: str) -> str:
    if not automatic:
        return "as named"
    kept = "keeps float32" if precision == "f32" else f"takes {precision}, as named"
    if ladder_is_measured(device):
        measured_on = "cpu" if device.platform == "cpu" else device.device_kind
        return f"auto: the fastest on {measured_on} that {kept}"
    kind = f"{host.machine()} CPUs" if device.platform == "cpu" else device.device_kind
    return f"auto, chosen by rule: {kept}; no backends were compared on {kind} yet"


def ladder_is_measured(device: jax.Device) -> bool:
    """Whether a record says which backend is the fastest on devices like this one."""
    return kind_of(device) in LADDER_MEASURED.get(device.platform, ())


def kind_of(device: jax.Device) -> str:
    """What devices like this one have in common: the architecture of a CPU, or what jax calls another device."""
    return host.machine().lower() if device.platform == "cpu" else str(device.device_kind)


BF16_MIN_STEP_FLOPS = 50e6
"""From about here on bf16 was measured faster than float32, by a tenth and more, on a CPU with bf16 units."""


def precision_advice(backend: Backend, step_flops: float) -> str:
    """Which precision is measured faster for steps of this work on this device, where it is another; else "".

    step_flops: floating-point operations of one training step.
    """
    platform = backend.device.platform
    if platform == "cpu" and backend.policy.compute == jnp.float16:
        faster = "bf16" if bf16_is_fast(platform) and step_flops >= BF16_MIN_STEP_FLOPS else "f32"
        return f"fp16 gains no speed on a CPU; --precision {faster} is the faster one here"
    if backend.precision == "bf16" and not bf16_is_fast(platform):
        return why_bf16_is_slow()
    if not bf16_is_fast(platform):
        return ""
    bf16_pays = platform != "cpu" or step_flops >= BF16_MIN_STEP_FLOPS
    if backend.precision == "f32" and bf16_pays:
        return f"--backend mixed (bf16 products, float32 weights) {_bf16_verdict(backend.device)}"
    if backend.precision == "bf16" and not bf16_pays:
        return (
            f"a step of {step_flops / 1e6:.2g} MFLOP gains nothing from bf16 on a CPU, where it pays from about "
            f"{BF16_MIN_STEP_FLOPS / 1e6:g} on; --precision f32 is as fast"
        )
    return ""


def bf16_is_measured(device: jax.Device) -> bool:
    """Whether a record says how fast bf16 is on devices of this kind."""
    return device.platform == "cpu" or device.device_kind in BF16_MEASURED


def _bf16_verdict(device: jax.Device) -> str:
    if bf16_is_measured(device):
        return "is the faster one here"
    return f"should be the faster one: its units are made for it, but no {device.device_kind} was measured"
