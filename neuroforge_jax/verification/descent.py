"""The optimizers in float64 NumPy, and the path of a training; no jax anywhere.

    clip the global norm → [L2 decay into the gradient] → optimizer [+ decoupled decay] → −rate

The betas are those of float32, because the programs under test hold them so, and what is subtracted from 1 is the
rounded one: 1 − float32(0.999) is 1.3e-5 of 0.001 off it. Decay touches matrices only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from neuroforge_jax.verification.oracle import Network, Samples, Tree, gradients


@dataclass(frozen=True)
class Descent:
    """An optimizer as plain values: sgd, momentum, nesterov, adam or adamw.

    epsilon: of adam and adamw, added to what they divide by.
    rate_factors: of the learning rate, by the group of a leaf; 1 for one that is not there.
    """

    name: str
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    epsilon: float = 1e-8

    @property
    def kept(self) -> tuple[float, float]:
        """β₁ and β₂: what the moments so far count for."""
        return float(np.float32(self.betas[0])), float(np.float32(self.betas[1]))

    @property
    def fresh(self) -> tuple[float, float]:
        """1 − β₁ and 1 − β₂: what a new gradient counts for."""
        first, second = (float(np.float32(1) - np.float32(beta)) for beta in self.betas)
        return first, second

    def factor(self, leaf: str) -> float:
        """Of the learning rate of a leaf of this name."""
        group = {"kernel": "kernels", "bias": "biases"}.get(leaf, "norms")
        return float(np.float32(self.rate_factors.get(group, 1.0)))


KNOWN = ("sgd", "momentum", "nesterov", "adam", "adamw")


@dataclass(frozen=True, eq=False)
class Memory:
    """What an optimizer remembers: gradients so far, their trace or first moment, their second moment."""

    count: int
    first: Tree
    second: Tree


@dataclass(frozen=True, eq=False)
class Footstep:
    """One step of a path.

    params: after it. loss: before it, the one that was minimised. memory: after it.
    gradients: of the loss. rate: the learning rate. skipped: whether its scaled gradients overflowed.
    """

    params: Tree
    memory: Memory
    loss: float
    gradients: Tree
    rate: float
    skipped: bool = False


def start(params: Tree) -> Memory:
    """Nothing seen yet."""
    zeros = tree_map(np.zeros_like, params)
    return Memory(0, zeros, zeros)


def update(descent: Descent, params: Tree, memory: Memory, grads: Tree, rate: float) -> tuple[Tree, Memory]:
    """The parameters after one step, and what is remembered."""
    if descent.clip_norm is not None:
        shrink = min(1.0, descent.clip_norm / tree_norm(grads))
        grads = tree_map(lambda g: g * shrink, grads)
    decayed = tree_map(lambda p: descent.weight_decay * p if p.ndim == 2 else 0 * p, params)
    if descent.name != "adamw":
        grads = tree_map(np.add, grads, decayed)
    memory = remember(descent, memory, grads)
    if descent.name == "sgd":
        step = grads
    elif descent.name == "momentum":
        step = memory.first
    elif descent.name == "nesterov":
        step = tree_map(lambda g, t: g + descent.momentum * t, grads, memory.first)
    else:
        step = tree_map(lambda m, v: m / (np.sqrt(v) + descent.epsilon), *unbiased(descent, memory))
    if descent.name == "adamw":
        step = tree_map(np.add, step, decayed)
    moved = {
        name: {leaf: p - rate * descent.factor(leaf) * step[name][leaf] for leaf, p in leaves.items()}
        for name, leaves in params.items()
    }
    return moved, memory


def remember(descent: Descent, memory: Memory, grads: Tree) -> Memory:
    """Momentum's trace t ← g + μ·t, or Adam's moments m ← (1 − β₁)g + β₁m and v ← (1 − β₂)g² + β₂v."""
    if descent.name in ("sgd", "momentum", "nesterov"):
        trace = tree_map(lambda g, t: g + descent.momentum * t, grads, memory.first)
        return Memory(memory.count + 1, trace, memory.second)
    (kept1, kept2), (fresh1, fresh2) = descent.kept, descent.fresh
    first = tree_map(lambda g, m: fresh1 * g + kept1 * m, grads, memory.first)
    second = tree_map(lambda g, v: fresh2 * g * g + kept2 * v, grads, memory.second)
    return Memory(memory.count + 1, first, second)


def unbiased(descent: Descent, memory: Memory) -> tuple[Tree, Tree]:
    """m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ)."""
    first, second = (1 - kept**memory.count for kept in descent.kept)
    return tree_map(lambda m: m / first, memory.first), tree_map(lambda v: v / second, memory.second)


def train(
    network: Network,
    descent: Descent,
    params: Tree,
    batches: Sequence[Samples],
    rates: Sequence[float],
    skipped: int = 0,
) -> list[Footstep]:
    """The path over these batches, from parameters that no optimizer has touched.

    The first `skipped` steps overflow: they leave parameters, memory and the place in `rates` as they were. A
    loss scale that does not overflow changes nothing, and is not known here.
    """
    memory, path = start(params), []
    for step, samples in enumerate(batches):
        _, value, grads = gradients(network, params, samples)
        rate = rates[memory.count]
        if step >= skipped:
            params, memory = update(descent, params, memory, grads, rate)
        path.append(Footstep(params, memory, value, grads, rate, step < skipped))
    return path


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> dict[str, dict[str, Any]]:
    """The function applied to the leaves that stand at the same place."""
    return {
        name: {
            leaf: function(value, *(other[name][leaf] for other in others)) for leaf, value in leaves.items()
        }
        for name, leaves in tree.items()
    }


def tree_norm(tree: Tree) -> float:
    """The Euclidean norm of all leaves together."""
    return float(np.sqrt(sum((leaf**2).sum() for leaves in tree.values() for leaf in leaves.values())))
