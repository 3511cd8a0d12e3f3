"""The optimizers in float64 NumPy, and the path of a training; no jax anywhere.

    clip the global norm → [L2 decay into the gradient] → optimizer [+ decoupled decay] → −rate

The constants are those of float32, because the programs under test hold them so: 1 − 0.999 is 1.0000e-3 in
float64, and 1 − float32(0.999)¹ is 1.3e-5 of that less. Decay touches matrices only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neuroforge_jax.verification.oracle import Network, Samples, Tree, gradients

B1, B2 = float(np.float32(0.9)), float(np.float32(0.999))
FRESH1, FRESH2 = float(np.float32(1 - 0.9)), float(np.float32(1 - 0.999))
"""What a new gradient counts for; rounded apart from the betas."""

ADAM_EPSILON = 1e-8


@dataclass(frozen=True)
class Descent:
    """An optimizer as plain values: sgd, momentum, nesterov, adam or adamw."""

    name: str
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float | None = None


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
        step = tree_map(lambda m, v: m / (np.sqrt(v) + ADAM_EPSILON), *unbiased(memory))
    if descent.name == "adamw":
        step = tree_map(np.add, step, decayed)
    return tree_map(lambda p, s: p - rate * s, params, step), memory


def remember(descent: Descent, memory: Memory, grads: Tree) -> Memory:
    """Momentum's trace t ← g + μ·t, or Adam's moments m ← (1 − β₁)g + β₁m and v ← (1 − β₂)g² + β₂v."""
    if descent.name in ("sgd", "momentum", "nesterov"):
        trace = tree_map(lambda g, t: g + descent.momentum * t, grads, memory.first)
        return Memory(memory.count + 1, trace, memory.second)
    first = tree_map(lambda g, m: FRESH1 * g + B1 * m, grads, memory.first)
    second = tree_map(lambda g, v: FRESH2 * g * g + B2 * v, grads, memory.second)
    return Memory(memory.count + 1, first, second)


def unbiased(memory: Memory) -> tuple[Tree, Tree]:
    """m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ)."""
    first, second = 1 - B1**memory.count, 1 - B2**memory.count
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
