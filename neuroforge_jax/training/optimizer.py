"""Optimizers and learning-rate schedules, all optax's, put together in one order:

    clip the global norm → [L2 decay into the gradient] → the optimizer [with decoupled decay] → −learning rate

Weight decay touches matrices only: neither biases nor the scales of a normalization.
"""

from collections.abc import Callable

import jax
import optax
from optax import contrib

from neuroforge_jax.errors import lookup
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.typing import Array

Rate = float | Callable[[Array], Array]
"""A constant learning rate, or a schedule: step i32 [] → f32 []."""

SCHEDULES: dict[str, Callable[[float, int, float], Rate]] = {
    "constant": lambda peak, steps, warmup: peak,
    "cosine": lambda peak, steps, warmup: optax.cosine_decay_schedule(peak, steps),
    "one-cycle": lambda peak, steps, warmup: _climb_and_fall(
        peak, steps, warmup, lambda climb: _cosine_rise(peak / 25, peak, climb), peak / 25e4
    ),
    "warmup-cosine": lambda peak, steps, warmup: _climb_and_fall(
        # From above 0: a first step of learning rate 0 would be wasted.
        peak,
        steps,
        warmup,
        lambda climb: optax.linear_schedule(peak / (climb + 1), peak, climb),
        0.0,
    ),
    "exponential": lambda peak, steps, warmup: optax.exponential_decay(peak, steps, 0.01),
}
"""Name → schedule over `steps` steps. cosine: to 0 (Loshchilov and Hutter, 2017, arXiv:1608.03983).
one-cycle: from 1/25 of the peak up, and down to 1/250,000 of it, both along cosines (Smith and Topin, 2018,
arXiv:1708.07120). warmup-cosine: from near 0 up along a line, and down to 0. exponential: to 1 % of the peak."""


@by_structure
def make_schedule(name: str, *, learning_rate: float, total_steps: int, warmup: float) -> Rate:
    """The schedule of this name; a constant one is a plain number, so that no state counts its steps.

    learning_rate: of the peak. warmup: share of the steps before the peak, in [0, 1).
    """
    return lookup(SCHEDULES, name, "schedule")(learning_rate, max(total_steps, 1), warmup)


def _climb_and_fall(peak: float, steps: int, warmup: float, rise: Callable[[int], Rate], end: float) -> Rate:
    """Up to the peak, and down along a half cosine. However short the run, each part has a step or is left out."""
    climb = min(round(warmup * steps), steps - 1)
    fall = optax.cosine_decay_schedule(peak, steps - climb, alpha=end / peak)
    if climb == 0:
        return fall
    return optax.join_schedules([rise(climb), fall], [climb])


def _cosine_rise(start: float, peak: float, steps: int) -> Rate:
    fall = optax.cosine_decay_schedule(1.0, steps)
    return lambda step: peak + (start - peak) * fall(step)


@by_structure
def make_optimizer(
    name: str,
    schedule: Rate,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
) -> optax.GradientTransformation:
    """The chain of gradient transformations that a config describes; parts that do nothing are left out."""
    optimizer = lookup(OPTIMIZERS, name, "optimizer")
    decay_first = [optax.add_decayed_weights(weight_decay, matrices)] if weight_decay else []
    chain = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    if name not in DECOUPLED:
        chain += decay_first
    chain.append(optimizer(schedule, momentum, weight_decay))
    return chain[0] if len(chain) == 1 else optax.chain(*chain)


def matrices(params: optax.Params) -> optax.Params:
    """A tree of truth values: which parameters are matrices, and so may decay."""
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


OPTIMIZERS: dict[str, Callable[[Rate, float, float], optax.GradientTransformation]] = {
    "sgd": lambda rate, momentum, decay: optax.sgd(rate),
    "momentum": lambda rate, momentum, decay: optax.sgd(rate, momentum),
    "nesterov": lambda rate, momentum, decay: optax.sgd(rate, momentum, nesterov=True),
    "adam": lambda rate, momentum, decay: optax.adam(rate),
    "adamw": lambda rate, momentum, decay: optax.adamw(rate, weight_decay=decay, mask=matrices),
    "lion": lambda rate, momentum, decay: optax.lion(rate, weight_decay=decay, mask=matrices),
    "muon": lambda rate, momentum, decay: contrib.muon(
        rate, beta=momentum, weight_decay=decay, weight_decay_mask=matrices
    ),
}
"""Name → optax's optimizer by learning rate, momentum and decoupled weight decay. Momentum: Polyak, 1964;
nesterov: 1983; adam: Kingma and Ba, 2015, arXiv:1412.6980; adamw: Loshchilov and Hutter, 2019,
arXiv:1711.05101; lion: Chen et al., 2023, arXiv:2302.06675; muon (matrices; adam with Nesterov's momentum for
the rest, as optax has it): Jordan, 2024."""

DECOUPLED = frozenset({"adamw", "lion", "muon"})
"""These apply the decay themselves, apart from the gradient."""
