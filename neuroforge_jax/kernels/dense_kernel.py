"""A dense layer that another package brings: its function, and the dtypes and devices that it takes.

    kernel = DenseKernel("tiles", dense, dtypes=("float32", "bfloat16"), devices=("cpu", "tpu"))

XLA computes the dtypes and activations that it does not take; a device that it does not take is refused. Where the
package brings no gradient, XLA computes it from what the kernel gave:

    dz = dy ⊙ φ′,   dx = dz·Wᵀ,   dW = xᵀ·dz,   db = Σ_B dz
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from neuroforge_jax.errors import ConfigError, DeviceError, UserError, first_line, join_words, unknown
from neuroforge_jax.kernels import xla
from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.kernels.kernel_sets import describe_device
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import DTYPES, Policy, short_name
from neuroforge_jax.typing import Array, Float

PLATFORMS = {"cpu": ("cpu",), "gpu": ("gpu", "cuda", "rocm"), "cuda": ("gpu", "cuda"), "tpu": ("tpu",)}
"""What a kernel may say that it takes → the platforms of jax's devices that are it."""

GRADIENTS = ("xla", "jax")

DenseFunction = Callable[[Array, Array, Array, str], Array]
Gradient = Callable[[Array, Array, Array, str, Array, Array], tuple[Array, Array, Array]]


@dataclass(frozen=True)
class DenseKernel:
    """An implementation of the dense layer, φ(x·kernel + bias), of another package.

    dense: (x [B, I], kernel [I, O], bias [O], name of φ) → y f32 [B, O]; x and kernel are of one of `dtypes`, bias
    is float32, sums are float32, and sizes are arbitrary. dtypes: of x and kernel: float32, bfloat16, float16.
    devices: cpu, gpu, cuda and tpu, or a function of a `jax.Device` that says whether it is taken.
    gradient: `xla` leaves it to XLA; `jax` is for a dense that jax can differentiate, by its `jax.custom_vjp`
    perhaps; else a function (x, kernel, bias, name of φ, y, dy f32 [B, O]) → (dx, dkernel, dbias).
    activations: names of those that it has. vmap: whether it works under `jax.vmap`, as a population asks for.
    origin: the package that brings it. Raises ConfigError for a field that cannot be used.
    """

    name: str
    dense: DenseFunction
    dtypes: tuple[DTypeLike, ...]
    devices: tuple[str, ...] | Callable[[jax.Device], bool]
    gradient: Gradient | str = "xla"
    activations: tuple[str, ...] = tuple(ACTIVATIONS)
    vmap: bool = True
    origin: str = ""

    def __post_init__(self) -> None:
        for field in ("dtypes", "activations", *(() if callable(self.devices) else ("devices",))):
            object.__setattr__(self, field, self._names(field))
        if not callable(self.dense):
            raise ConfigError(
                f"dense is a {type(self.dense).__name__}: it is a function of x, kernel, bias, φ"
            )
        for name in self.activations:
            if not isinstance(name, str) or name not in ACTIVATIONS:
                raise ConfigError(unknown("activation", str(name), ACTIVATIONS))
        for name in () if callable(self.devices) else self.devices:
            if not isinstance(name, str) or name not in PLATFORMS:
                raise ConfigError(unknown("device", str(name), PLATFORMS))
        object.__setattr__(self, "dtypes", tuple(map(_dtype, self.dtypes)))
        if not callable(self.gradient) and self.gradient not in GRADIENTS:
            raise ConfigError(f"{unknown('gradient', str(self.gradient), GRADIENTS)}; or a function")

    def __str__(self) -> str:
        return self.name

    def _names(self, field: str) -> tuple[Any, ...]:
        """A field of several values as a tuple; one alone may stand for itself, none may not."""
        value = getattr(self, field)
        several = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
        if not several:
            raise ConfigError(f"{field} is empty: a kernel takes one at least")
        return several

    def multiplies(self, dtype: DTypeLike) -> bool:
        """Whether it takes operands of this dtype."""
        return jnp.dtype(dtype) in self.dtypes

    def does(self, part: str, dtype: DTypeLike) -> bool:
        """Whether it computes `dense`, or an `mlp` layer by layer, of operands of this dtype."""
        return part != "bias_activation" and self.multiplies(dtype)

    def takes(self, device: jax.Device) -> bool:
        """Whether it runs on this device. Raises DeviceError where its own function of it fails."""
        if not callable(self.devices):
            return any(device.platform in PLATFORMS[name] for name in self.devices)
        try:
            return bool(self.devices(device))
        except Exception as error:
            raise self.error(f"its function of a device fails ({first_line(error)})") from error

    @property
    def needs(self) -> str:
        """The devices that it takes, in words."""
        return "a device of its own choice" if callable(self.devices) else join_words(self.devices, "or")

    def check_device(self, device: jax.Device) -> None:
        """Raises DeviceError where it does not take this device."""
        if not self.takes(device):
            raise self.error(
                f"it needs {self.needs}, and this device is {describe_device(device)}; --kernels xla "
                "computes the layers anywhere"
            )

    def error(self, reason: str) -> DeviceError:
        """The sentence that it cannot be used."""
        package = f" of {self.origin}" if self.origin else ""
        return DeviceError(f"kernel {self.name!r}{package} cannot be used: {reason}")

    def describe_fallback(self, dtype: DTypeLike, activations: Iterable[str]) -> str:
        """For a header: what of a training it leaves to XLA; "" for nothing. activations: of its layers."""
        missing = [name for name in activations if name not in self.activations]
        if not self.multiplies(dtype):
            return f"{self.name} multiplies no {short_name(dtype)}, and xla runs"
        return f"{self.name} has no {join_words(missing, 'and no')}, and xla runs there" if missing else ""

    def computes_any(self, dtype: DTypeLike, activations: Iterable[str]) -> bool:
        """Whether there is a layer of a training that it computes."""
        return self.multiplies(dtype) and any(name in self.activations for name in activations)


def apply_dense(
    x: Float[Array, "B I"],
    kernel: Float[Array, "I O"],
    bias: Float[Array, " O"],
    activation: str,
    policy: Policy,
    own: DenseKernel,
) -> Float[Array, "B O"]:
    """The layer by a kernel of another package, in the policy's output dtype.

    Raises DeviceError where its function fails or gives something else than it must.
    """
    layer = _compute if own.gradient == "jax" else _compute_with_rule
    return policy.to_output(layer(x, kernel, bias, activation, policy, own))


def _compute(
    x: Array, kernel: Array, bias: Array, activation: str, policy: Policy, own: DenseKernel
) -> Array:
    operands = policy.to_compute(x), policy.to_compute(kernel), bias.astype(jnp.float32)
    (y,) = _results(own, "dense", (own.dense, *operands, activation), ((len(x), len(bias)),))
    return y


_compute_with_rule = partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))(_compute)


def _forward(
    x: Array, kernel: Array, bias: Array, activation: str, policy: Policy, own: DenseKernel
) -> tuple[Array, tuple[Array, ...]]:
    y = _compute(x, kernel, bias, activation, policy, own)
    return y, (x, kernel, bias, y)


def _backward(
    activation: str, policy: Policy, own: DenseKernel, residuals: tuple[Array, ...], dy: Array
) -> tuple[Array, ...]:
    x, kernel, bias, y = residuals
    if not callable(own.gradient):
        return _gradient_by_xla(x, kernel, bias, activation, policy, y, dy)
    operands = policy.to_compute(x), policy.to_compute(kernel), bias.astype(jnp.float32)
    shapes = x.shape, kernel.shape, bias.shape
    found = _results(own, "gradient", (own.gradient, *operands, activation, y, dy), shapes)
    return tuple(each.astype(array.dtype) for each, array in zip(found, (x, kernel, bias), strict=True))


_compute_with_rule.defvjp(_forward, _backward)


def _gradient_by_xla(
    x: Array, kernel: Array, bias: Array, activation: str, policy: Policy, y: Array, dy: Array
) -> tuple[Array, ...]:
    form = FORMS[activation]
    dz = form.gradient(dy, xla.product(x, kernel, policy) + bias if form.keeps_sum else y)
    return *xla.product_gradient(x, kernel, dz, policy), dz.sum(axis=0).astype(bias.dtype)


def _results(
    own: DenseKernel, name: str, call: tuple[Any, ...], shapes: tuple[tuple[int, ...], ...]
) -> tuple[Array, ...]:
    """What a function of the package gives, which must be arrays of these shapes, and a dense's of float32.

    name: dense or gradient. call: the function and its arguments.
    """
    function, *operands = call
    sizes = "×".join(map(str, (len(operands[0]), *operands[1].shape)))
    where = f"{name} of {sizes} {short_name(operands[0].dtype)} {operands[3]}"
    try:
        found = function(*operands)
    except UserError:
        raise
    except Exception as error:
        raise own.error(f"{where} fails ({first_line(error)})") from error
    arrays = tuple(found) if isinstance(found, tuple | list) else (found,)
    told = [_describe(array, name) for array in arrays]
    kind = "float32" if name == "dense" else "numbers"
    must = [f"{kind} {list(shape)}" for shape in shapes]
    if told != must:
        raise own.error(f"{where} gives {', '.join(told) or 'nothing'}, and must give {', '.join(must)}")
    return arrays


def _describe(array: Any, name: str) -> str:
    """Dtype and shape; of a gradient any floating-point dtype is one of numbers."""
    if not isinstance(array, jax.Array):
        return f"a {type(array).__name__}"
    numbers = name == "gradient" and jnp.issubdtype(array.dtype, jnp.floating)
    return f"{'numbers' if numbers else array.dtype} {list(array.shape)}"


def _dtype(named: DTypeLike) -> jnp.dtype:
    known = {jnp.dtype(dtype).name: jnp.dtype(dtype) for dtype in DTYPES.values()}
    try:
        return known[jnp.dtype(named).name]
    except (KeyError, TypeError):
        raise ConfigError(unknown("dtype", str(named), known)) from None
