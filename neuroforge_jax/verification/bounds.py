"""How far a correct program may be from the oracle: bounds from dtype, depth, length of sums and steps.

u is the unit roundoff of the products' operands and results (2⁻²⁴, 2⁻¹¹, 2⁻⁸ for float32, float16, bfloat16),
s = 2⁻²⁴ that of everything else. All errors are relative, in the Euclidean norm of a whole array. Roundings of
many numbers are as good as independent, and add in quadrature (Higham and Mary, 2019, SIAM J. Sci. Comput.
41(5): √n·u where the worst case is n·u); SAFETY covers what the model leaves out.

product     Two operands and a result are rounded, each by at most u, u/√3 in the mean square: √3·u/√3 = u. The
            sum over K terms rounds K partial sums in float32, the k-th √(k/K) of the last if signs are mixed:
            √(K/6)·s. Together η = √(u² + K·s²/6), K the longest sum: fan-in or batch.
logits      Each of D dense layers adds η, and hands on what it received: √D·η. The loss, a mean over the batch
            of functions with slopes near 1, is no further off.
gradients   A kernel's derivative has passed D products forward, at most D backward, and the slopes φ′ and
            softmax at sums that were off by √D·η: √(3D)·η.
kinks       Where φ′ jumps at 0 (relu), a sum that is off by e = √D·η of its deviation falls on the other side
            with probability 0.4 · 0.8·e (density of a normal at 0, mean of |error|); half of the units are
            active, so each of H hidden layers changes 0.64·e of the gradient's squared norm: √(0.64·H·e).
            Where the slope of the loss jumps (mae, quantile), an output falls on the other side of its target as
            often, 0.32·e, for differences no less spread than the outputs are, and the squared jump is 4 times
            the squared slope (mae: from −1 to 1): 1.28·e more.
            Standard cases have no such sums: their samples are drawn until none lies within `margin` of a kink.
kernels     Hand-written ones compute gelu with tanh (`kernels/forms.py`), and are off by as much as that is.
steps       A step's update is off by what its gradient is off, in units of the distance travelled. Near a
            minimum descent shrinks what is between two paths, elsewhere it hardly grows in 20 steps: the
            distances add up. To them comes one rounding of the parameters a step: s·√n.
momentum    A velocity is off by the sum of what its gradients were off, each faded by μ a step.
adam        An update m̂/√v̂ is off by e·rms(g)/√v̂ where gradients are off by e·rms(g), and by 2 at most (its sign
            is lost where g is rounding); v̂ divides by 1 − β₂ᵗ, which float32 computes with an error of s, so
            its root is off by s/(1 − β₂ᵗ)/2: 3e-5 of the first step's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuroforge_jax.verification.descent import Descent, Footstep, tree_map, tree_norm, unbiased
from neuroforge_jax.verification.oracle import Tree

TOLERANCE = 1e-6
"""Standard cases in float32: of logits, loss, each gradient leaf, and all parameters after a step without Adam."""

SAFETY = 3.0

UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff by dtype: half the distance from 1 to the next number."""

S = UNIT["float32"]


@dataclass(frozen=True)
class Bounds:
    """The bounds of one case.

    unit: roundoff of products. depth: dense layers. longest: terms of the longest sum, fan-in or batch.
    kinked_layers: hidden layers whose sums may lie within rounding of a kink. kinked_loss: whether outputs may lie
    so near to their targets, where the slope of the loss jumps.
    """

    unit: float
    depth: int
    longest: int
    kinked_layers: int = 0
    kinked_loss: bool = False

    @property
    def product(self) -> float:
        """η, the mean error of one product."""
        return math.sqrt(self.unit**2 + self.longest * S**2 / 6)

    @property
    def logits(self) -> float:
        """Of the logits and of the loss."""
        return SAFETY * math.sqrt(self.depth) * self.product

    @property
    def margin(self) -> float:
        """How far from a kink a sum is safe, in units of its layer's rms."""
        return self.logits

    @property
    def gradient(self) -> float:
        """Of every leaf of the gradient."""
        jumps = (0.64 * self.kinked_layers + 1.28 * self.kinked_loss) * math.sqrt(self.depth) * self.product
        return SAFETY * math.sqrt(3 * self.depth * self.product**2 + jumps)

    def parameters(self, descent: Descent, path: Sequence[Footstep]) -> list[float]:
        """Of all parameters together, after each step of the path."""
        bounds, travelled, velocity = [], 0.0, 0.0
        for steps, footstep in enumerate(path, start=1):
            if footstep.skipped:
                off = 0.0
            elif descent.name in ("adam", "adamw"):
                off = self._adam(descent, footstep)
            else:
                fade = 0.0 if descent.name == "sgd" else descent.momentum
                velocity = fade * velocity + self.gradient * tree_norm(footstep.gradients)
                off = velocity
            travelled += footstep.rate * max([1.0, *descent.rate_factors.values()]) * off
            bounds.append(travelled / tree_norm(footstep.params) + SAFETY * S * math.sqrt(steps))
        return bounds

    def _adam(self, descent: Descent, footstep: Footstep) -> float:
        first, second = unbiased(descent, footstep.memory)

        def off(g: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
            root = np.sqrt(v) + descent.epsilon
            of_gradient = np.minimum(self.gradient * np.sqrt((g**2).mean()) / root, 2)
            of_correction = SAFETY * S / (1 - descent.kept[1] ** footstep.memory.count) / 2 * np.abs(m) / root
            return of_gradient + of_correction

        return tree_norm(tree_map(off, footstep.gradients, first, second))

    def losses(self, descent: Descent, before: Tree, path: Sequence[Footstep]) -> float:
        """Of the losses along the path: what the logits are off, and what the parameters have moved them."""
        off = [0.0, *self.parameters(descent, path)[:-1]]
        norms = [tree_norm(before), *(tree_norm(footstep.params) for footstep in path[:-1])]
        moved = [
            tree_norm(footstep.gradients) * bound * norm
            for footstep, bound, norm in zip(path, off, norms, strict=True)
        ]
        return self.logits + float(np.linalg.norm(moved) / np.linalg.norm([f.loss for f in path]))


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """‖found − wanted‖ / ‖wanted‖, in float64; NaN where anything is NaN; inf where it is off from zero."""
    found = np.asarray(found, np.float64)
    if found.shape != wanted.shape:
        raise ValueError(f"shapes {found.shape} and {wanted.shape} cannot be compared")
    difference, norm = float(np.linalg.norm(found - wanted)), float(np.linalg.norm(wanted))
    if norm == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / norm
