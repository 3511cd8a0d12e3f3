"""What hand-written kernels there are, what each set of them needs, and which of them a device can run.

A set is a module with the functions of `Kernels`. It is imported where it is first used: Pallas takes a while.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from neuroforge_jax.errors import DeviceError
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.typing import Array, Float


@runtime_checkable
class Kernels(Protocol):
    """The kernels of a kernel_set, for arrays of any size. x, kernel: of the compute dtype; biases: float32.

    kept: what the slope is computed from, y or the sum z (`forms.py`). interpret: as Pallas takes it.
    """

    def forward(
        self,
        x: Float[Array, "B I"],
        kernel: Float[Array, "I O"],
        bias: Float[Array, " O"],
        activation: str,
        output: DTypeLike,
        *,
        tiles: Tiles | None = None,
        interpret: Any = False,
    ) -> tuple[Float[Array, "B O"], Float[Array, "B O"] | None]:
        """φ(x·W + b) in the output dtype and, where the form keeps the sum, z in the compute dtype."""
        ...

    def gradients(
        self,
        x: Float[Array, "B I"],
        kernel: Float[Array, "I O"],
        dy: Float[Array, "B O"],
        kept: Float[Array, "B O"],
        activation: str,
        *,
        tiles: tuple[Tiles | None, Tiles | None] = (None, None),
        interpret: Any = False,
    ) -> tuple[Float[Array, "B I"], Float[Array, "I O"], Float[Array, " O"]]:
        """The two below; tiles: of each."""
        ...

    def input_gradient(
        self,
        dy: Float[Array, "B O"],
        kept: Float[Array, "B O"],
        kernel: Float[Array, "I O"],
        activation: str,
        *,
        tiles: Tiles | None = None,
        interpret: Any = False,
    ) -> Float[Array, "B I"]:
        """(dy ⊙ φ′)·Wᵀ, in the compute dtype."""
        ...

    def weight_gradient(
        self,
        x: Float[Array, "B I"],
        dy: Float[Array, "B O"],
        kept: Float[Array, "B O"],
        activation: str,
        *,
        tiles: Tiles | None = None,
        interpret: Any = False,
    ) -> tuple[Float[Array, "I O"], Float[Array, " O"]]:
        """xᵀ·(dy ⊙ φ′) and Σ_B dy ⊙ φ′, in float32."""
        ...

    def bias_activation(
        self, z: Float[Array, "B O"], bias: Float[Array, " O"], activation: str, *, interpret: Any = False
    ) -> Float[Array, "B O"]:
        """φ(z + b), in the dtype of z."""
        ...

    def bias_activation_gradient(
        self,
        z: Float[Array, "B O"],
        bias: Float[Array, " O"],
        dy: Float[Array, "B O"],
        activation: str,
        *,
        interpret: Any = False,
    ) -> tuple[Float[Array, "B O"], Float[Array, " O"]]:
        """Gradients of z, in its dtype, and of the bias, in float32, in one pass."""
        ...

    def mlp(
        self,
        x: Float[Array, "B I"],
        kernels: Sequence[Float[Array, "_ _"]],
        biases: Sequence[Float[Array, " _"]],
        activation: str,
        output: DTypeLike,
        *,
        interpret: Any = False,
    ) -> Float[Array, "B C"]:
        """The logits of an MLP of widths up to NARROW_MLP, in the output dtype."""
        ...

    def mlp_gradient(
        self,
        x: Float[Array, "B I"],
        kernels: Sequence[Float[Array, "_ _"]],
        biases: Sequence[Float[Array, " _"]],
        dlogits: Float[Array, "B C"],
        activation: str,
        output: DTypeLike,
        *,
        interpret: Any = False,
    ) -> tuple[Float[Array, "B I"], Sequence[Float[Array, "_ _"]], Sequence[Float[Array, " _"]]]:
        """Gradients of x, in the compute dtype, of every kernel and of every bias, in float32."""
        ...


NARROW_MLP = 128
"""Widths, from the inputs to the logits, up to which a whole MLP is one kernel."""


@dataclass(frozen=True)
class KernelSet:
    """A set of kernels.

    device: what it needs, in words. dtypes: of operands that it multiplies; others are left to XLA. parts: what it
    has kernels for, of `dense`, `bias_activation` and `mlp`; the rest is left to XLA.
    """

    name: str
    device: str
    dtypes: tuple[DTypeLike, ...]
    parts: tuple[str, ...] = ("dense", "bias_activation", "mlp")
    interpret: bool = False

    @property
    def kernels(self) -> Kernels:
        """The module that holds them."""
        name = "tpu" if self.name == "interpret" else self.name
        return cast(Kernels, import_module(f"neuroforge_jax.kernels.{name}"))

    def multiplies(self, dtype: DTypeLike) -> bool:
        """Whether there are kernels for operands of this dtype."""
        return any(jnp.dtype(dtype) == jnp.dtype(known) for known in self.dtypes)

    def does(self, part: str, dtype: DTypeLike) -> bool:
        """Whether there are kernels for `dense`, `bias_activation` or `mlp` and operands of this dtype."""
        # Wherever there are vectors they are float32.
        able = self.multiplies(dtype) or (part == "bias_activation" and dtype == jnp.float32)
        return able and part in self.parts

    def check_device(self, device: jax.Device) -> None:
        """Raises DeviceError where this device cannot run these kernels."""
        if self.interpret:
            return
        able = kernels_for(device)
        runs = able is self or (self.name == "triton" and able is not None and able.name == "hopper")
        if not runs:
            instead = f"the {able.name} kernels" if able else "xla"
            raise DeviceError(
                f"the {self.name} kernels need {self.device}, and this device is {describe_device(device)}; "
                f"here {instead} would run, and --kernels interpret runs kernels as plain jax"
            )


F32, BF16, FP16 = jnp.float32, jnp.bfloat16, jnp.float16

KERNEL_SETS = {
    kernel_set.name: kernel_set
    for kernel_set in (
        KernelSet("tpu", "a TPU", (F32, BF16)),
        KernelSet("hopper", "an NVIDIA GPU of compute capability 9.0", (BF16, FP16)),
        KernelSet(
            "triton",
            "an NVIDIA GPU of compute capability 8.0 or more",
            (F32, BF16, FP16),
            ("dense", "bias_activation"),
        ),
        KernelSet("interpret", "any device", (F32, BF16, FP16), interpret=True),
    )
}
"""By the names of implementations. fp16 on a TPU and float32 on Hopper (wgmma knows only TF32) run XLA."""


def kernels_for(device: jax.Device) -> KernelSet | None:
    """The kernels written for this device, if any are."""
    if device.platform == "tpu":
        return KERNEL_SETS["tpu"]
    if device.platform in ("gpu", "cuda"):
        major, minor = _capability(device)
        if (major, minor) == (9, 0):
            return KERNEL_SETS["hopper"]
        if major >= 8:
            return KERNEL_SETS["triton"]
    return None


def describe_device(device: jax.Device) -> str:
    """Its platform, kind and, for an NVIDIA GPU, its compute capability."""
    if device.platform in ("gpu", "cuda"):
        return f"{device.device_kind} (capability {'.'.join(map(str, _capability(device)))})"
    return f"{device.platform} ({device.device_kind})"


def _capability(device: jax.Device) -> tuple[int, int]:
    told = str(getattr(device, "compute_capability", "0.0"))
    major, _, minor = told.partition(".")
    return (int(major), int(minor or 0)) if major.isdecimal() and (minor or "0").isdecimal() else (0, 0)
