"""One dense layer in float64: what a kernel must give for drawn numbers, and what frequent mistakes would give.

    y = φ(z),   z = x̂·Ŵ + b,   dz = dy ⊙ φ′(z),   dx = dz·Ŵᵀ,   dkernel = x̂ᵀ·dz,   dbias = Σ_B dz

x̂ and Ŵ are rounded to the kernel's dtype, as its operands are, so that of a value nothing is left to differ in but
sums, bias and φ, which are float32 whatever the dtype is.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import jax.numpy as jnp
import numpy as np

from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.verification.bounds import TOLERANCE, UNIT, Bounds
from neuroforge_jax.verification.checks import unit_of_kernels
from neuroforge_jax.verification.oracle import ACTIVATIONS, KINKED, Array

OUTCOMES = ("y", "dx", "dkernel", "dbias")

SIZES = (
    (1, 7, 8),
    (7, 130, 1),
    (8, 8, 127),
    (127, 1, 130),
    (130, 127, 7),
    (128, 128, 128),
    (128, 784, 1024),
)
"""Rows, inputs and outputs: from 1 on, a little less and more than whole tiles, and a layer for MNIST."""

COMMON = (33, 50, 21)
"""The size at which every activation is tried."""

SQUARE = (128, 128, 128)
"""Where y is as large as x and the kernel, so that it could lie in their memory."""

TILES = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Layer:
    """A layer whose numbers follow from its fields. dtype: the name of its operands' dtype."""

    size: tuple[int, int, int]
    activation: str
    dtype: str

    def __str__(self) -> str:
        return f"{'×'.join(map(str, self.size))} {self.activation} {self.dtype}"

    @cached_property
    def operands(self) -> tuple[Array, Array, Array]:
        """Float32 x [B, I], kernel [I, O], bias [O]; x and kernel have the digits of the dtype."""
        rng = np.random.default_rng(zlib.crc32(str(self).encode()))
        rows, inputs, outputs = self.size
        x, kernel = (rng.normal(size=size).astype(np.float32) for size in ((rows, inputs), (inputs, outputs)))
        bias = rng.normal(scale=0.3, size=outputs).astype(np.float32)
        return self._round(x), self._round(kernel / np.float32(np.sqrt(inputs))), bias

    @cached_property
    def dy(self) -> Array:
        """The gradient of y, float32; 0 where z is so near to a kink that either slope is right."""
        drawn = np.random.default_rng(len(self.activation)).normal(size=self._z.shape).astype(np.float32)
        near = np.abs(self._z) < 1e-4
        return np.where(near, 0, drawn).astype(np.float32) if self.activation in KINKED else drawn

    @cached_property
    def wanted(self) -> Mapping[str, Array]:
        """What is right, by OUTCOMES."""
        return self._outcomes(self._phi(self._z), self._dz)

    def bound(self, outcome: str) -> float:
        """How far the outcome of a correct kernel may be off, in norm."""
        unit = UNIT["float32" if outcome == "y" else self.dtype]
        bounds = Bounds(unit_of_kernels(unit, FORMS[self.activation]), 1, max(self.size))
        return max(TOLERANCE, bounds.logits if outcome == "y" else bounds.gradient)

    def mistakes(self, outcome: str) -> Iterator[tuple[str, Array]]:
        """Frequent mistakes, in words, and what each would give."""
        x, kernel, bias = self._exact
        right, flat = self.wanted[outcome], self._outcomes(self._phi(self._z), self.dy.astype(np.float64))
        if outcome == "y":
            yield "the bias is added after the activation", self._phi(self._sum) + bias
            yield "the bias is left out", self._phi(self._sum)
            yield "the activation is left out", self._z
            for tile in reversed(TILES):  # the largest that it can be
                whole = x.shape[1] // tile * tile
                if 0 < whole < x.shape[1]:
                    cut = self._phi(x[:, :whole] @ kernel[:whole] + bias)
                    yield f"terms of the sum beyond whole tiles of {tile} are left out", cut
            return
        yield "the slope φ′ is left out", flat[outcome]
        yield "it has the wrong sign", -right
        yield "it is zero", 0 * right
        yield "it is the mean over the batch, and not the sum", right / self.size[0]
        yield "it lies transposed", right.T.reshape(right.shape)
        if outcome == "dx" and kernel.shape[0] == kernel.shape[1]:
            yield "the kernel is not transposed", self._dz @ kernel

    def _outcomes(self, y: Array, dz: Array) -> dict[str, Array]:
        x, kernel, _ = self._exact
        return dict(zip(OUTCOMES, (y, dz @ kernel.T, x.T @ dz, dz.sum(axis=0)), strict=True))

    def _round(self, array: Array) -> Array:
        return array.astype(jnp.dtype(self.dtype)).astype(np.float32)

    def _phi(self, z: Array) -> Array:
        return ACTIVATIONS[self.activation][0](z)

    @cached_property
    def _exact(self) -> tuple[Array, ...]:
        return tuple(operand.astype(np.float64) for operand in self.operands)

    @cached_property
    def _sum(self) -> Array:
        x, kernel, _ = self._exact
        return x @ kernel

    @cached_property
    def _z(self) -> Array:
        return self._sum + self._exact[2]

    @cached_property
    def _dz(self) -> Array:
        return self.dy * ACTIVATIONS[self.activation][1](self._z)


def layers_of(activations: tuple[str, ...], dtype: str) -> tuple[Layer, ...]:
    """Every activation at one size, and every size with one of them, the smoothest that there is."""
    smooth = next(
        (name for name in ("tanh", "sigmoid", "elu", "identity") if name in activations), activations[0]
    )
    return (
        *(Layer(COMMON, name, dtype) for name in activations),
        *(Layer(size, smooth, dtype) for size in SIZES),
    )


def explain(layer: Layer, outcome: str, found: Array) -> str:
    """What mistake an outcome that is wrong looks like, in words; "" where it looks like none that is known."""
    right, bound = layer.wanted[outcome], layer.bound(outcome)
    for words, mistaken in layer.mistakes(outcome):
        if _distance(found, mistaken) <= max(2 * bound, 1e-4) < _distance(mistaken, right):
            return words
    return _edge(found, right, bound) or _rounding(_distance(found, right), layer.dtype)


def worst_element(found: Array, right: Array, name: str) -> str:
    """The element that is furthest off: `y[3, 4] is 0.5 and should be 0.75`."""
    off = np.abs(found.astype(np.float64) - right)
    at = tuple(map(int, np.unravel_index(np.where(np.isnan(off), np.inf, off).argmax(), off.shape)))
    return f"{name}{list(at)} is {found[at]:.6g} and should be {right[at]:.6g}"


def _distance(found: Array, right: Array) -> float:
    norm = float(np.linalg.norm(right))
    off = float(np.linalg.norm(found.astype(np.float64) - right))
    return off / norm if norm else np.inf * off if off else 0.0


def _edge(found: Array, right: Array, bound: float) -> str:
    """Whether only the last rows or columns are wrong, from a multiple of a tile on."""
    scale = np.abs(right).max() * max(10 * bound, 1e-5)
    wrong = np.atleast_2d(~(np.abs(found.astype(np.float64) - right) <= scale))
    for axis, name in ((0, "rows"), (1, "columns" if right.ndim == 2 else "numbers")):
        length, places = wrong.shape[axis], np.nonzero(wrong.any(axis=1 - axis))[0]
        if len(places) and places[0] and any(places[0] % tile == 0 and length % tile for tile in TILES):
            return f"only the last {name} are wrong, those that do not fill a tile"
    return ""


def _rounding(error: float, dtype: str) -> str:
    if 2**-11 < error < 2**-4:
        if dtype == "float32":
            return "operands or partial sums are rounded to bfloat16 or TF32; multiply and add up in float32"
        return "partial sums are rounded to bfloat16 or float16; ask for preferred_element_type=jnp.float32"
    if 2**-14 < error <= 2**-11:
        return "operands or partial sums are rounded to float16 or TF32; add up in float32"
    return ""
