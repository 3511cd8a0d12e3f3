"""The table of backends: each is four choices, execution, precision, kernels and platform."""

import math
from dataclasses import dataclass
from typing import Any

import jax

from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.backends.executors.base import Execution
from neuroforge_jax.backends.executors.eager import EAGER
from neuroforge_jax.backends.executors.pipelined import PIPELINED
from neuroforge_jax.backends.executors.scanned import SCANNED
from neuroforge_jax.backends.executors.stepped import STEPPED
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS, describe_device, kernels_for
from neuroforge_jax.model.model import Model
from neuroforge_jax.precision.policy import Policy, policy
from neuroforge_jax.system.provenance import environment
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.step import Parts, Training, make_parts
from neuroforge_jax.typing import CompileOptions

KERNELS = ("xla", "pallas", "interpret")
"""Who computes the layers: XLA, the hand-written kernels for the device, or the TPU's kernels as plain jax."""

KERNEL_DEVICES = tuple(kernel_set.device for kernel_set in KERNEL_SETS.values() if not kernel_set.interpret)

EXECUTIONS = {execution.name: execution for execution in (EAGER, STEPPED, SCANNED, PIPELINED)}


@dataclass(frozen=True)
class Backend:
    """A way to train.

    execution: a name of EXECUTIONS, or an execution of one's own. precision: a policy's name or spec. kernels: a
    name of KERNELS, or a dense layer of one's own. platform: a jax platform that must be there, or `any` for jax's
    default. origin: the package that brings it, where that is another one.
    """

    name: str
    execution: str | Execution
    precision: str
    kernels: str | DenseKernel = "xla"
    platform: str = "any"
    origin: str = ""

    @property
    def executor(self) -> Execution:
        """Its execution."""
        return EXECUTIONS[self.execution] if isinstance(self.execution, str) else self.execution

    @property
    def implementation(self) -> str | DenseKernel:
        """Of the layers, as `kernels.dense` takes it. Raises DeviceError where its device has no kernels."""
        if isinstance(self.kernels, DenseKernel):
            self.kernels.check_device(self.device)
            return self.kernels
        if self.kernels != "pallas":
            return self.kernels
        device = self.device
        kernel_set = kernels_for(device)
        if kernel_set is None:
            raise DeviceError(
                f"backend {self.name!r} needs kernels for its device, and there are none for "
                f"{describe_device(device)}: they are for {', '.join(KERNEL_DEVICES)}; use --backend "
                "mixed, which leaves the layers to XLA, "
                "or --kernels interpret, which runs the TPU's kernels as plain jax, slowly"
            )
        return kernel_set.name

    @property
    def policy(self) -> Policy:
        """The precision policy by its name."""
        return policy(self.precision)

    @property
    def device(self) -> jax.Device:
        """The device that it runs on. Raises DeviceError where the platform is absent."""
        here = local_devices()
        if self.platform == "any":
            return here[0]
        try:
            return jax.local_devices(backend=self.platform)[0]
        except RuntimeError:
            raise DeviceError(self._absence(here)) from None

    def options(self, batch_size: int, flops: float = math.inf) -> CompileOptions:
        """The XLA compile options for batches of this size in a training of so many operations."""
        return compile_options(self.device.platform, self.policy, batch_size, flops)

    def environment(self, batch_size: int) -> dict[str, Any]:
        """Machine, versions and the compile options for long trainings with batches of this size."""
        return {
            **environment(self.device),
            "plugin": self.origin or None,
            "kernels_plugin": self.kernels.origin or None if isinstance(self.kernels, DenseKernel) else None,
            "products": self.policy.path(self.device.platform),
            "compile_options": dict(self.options(batch_size)),
        }

    @property
    def devices(self) -> list[jax.Device]:
        """All devices of its kind, those of other processes too. Raises DeviceError where there are none."""
        return jax.devices() if self.platform == "any" else jax.devices(self.device.platform)

    def parts(self, model: Model, training: Training, placement: Placement | None = None) -> Parts:
        """The pure parts of this backend's step: forward, backward, optimize and metrics."""
        return make_parts(model, training, placement)

    def _absence(self, devices: list[jax.Device]) -> str:
        here = ", ".join(sorted({device.platform for device in devices}))
        extra = {"cuda": "cuda12", "tpu": "tpu"}.get(self.platform)
        install = f' on a machine that has it, after pip install -e ".[{extra}]"' if extra else ""
        return (
            f"backend {self.name!r} needs {self.platform}, and jax finds only {here} here; "
            f"use --backend optimized or mixed, or run it{install or ' where jax finds it'}"
        )


BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("cpu", "scanned", "f32", platform="cpu"),
        Backend("naive", "eager", "f32"),
        Backend("stepped", "stepped", "f32"),
        Backend("optimized", "scanned", "f32"),
        Backend("async", "pipelined", "f32"),
        Backend("mixed", "scanned", "bf16"),
        Backend("pallas", "scanned", "bf16", kernels="pallas"),
        Backend("cuda-naive", "eager", "f32", platform="cuda"),
        Backend("cuda-optimized", "scanned", "f32", platform="cuda"),
        Backend("cuda-async", "pipelined", "f32", platform="cuda"),
        Backend("cuda-mixed-precision", "scanned", "bf16", platform="cuda"),
    )
}


def local_devices() -> list[jax.Device]:
    """The devices of this host, the first of which is the default. Raises DeviceError where jax cannot start."""
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:  # an assertion without a word: cuda without its package
        reason = str(error).partition("\n")[0].partition(" (set JAX_")[0] or "no such platform is here"
        asked = f"JAX_PLATFORMS={jax.config.jax_platforms or ''}"
        raise DeviceError(f"jax cannot start with {asked} ({reason}); unset it, or set it to cpu") from error
