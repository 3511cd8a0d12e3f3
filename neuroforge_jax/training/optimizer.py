"""Optimizers, all optax's, put together in one order:

    clip the global norm → [L2 decay into the gradient] → the optimizer [with decoupled decay] → −learning rate
    [times the factor of the parameter's group]

The chain is built inside the step from the values of `Hyper`, which are arrays, so that another learning rate is
the same program. What decays is said by the description of the parameters (`AbstractParam.decays`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from neuroforge_jax.errors import lookup
from neuroforge_jax.nn.mlp import MLP, abstract_params
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.schedules import SCHEDULES, learning_rate_at
from neuroforge_jax.typing import Array, Float, Params

Rate = Array | Callable[[Array], Array]
"""A learning rate f32 [], or one by the optimizer's own count of steps."""

Decay = Array | float


@dataclass(frozen=True)
class OptimizerSpec:
    """The structure of an optimizer; its values come as `Hyper`.

    mlp: whose parameters are updated. decays, clips, by_group: whether there is weight decay, a limit of the norm,
    and a learning rate of its own for each group of parameters. adds_epsilon_first: whether Adam adds its epsilon
    before it corrects its moments. Raises ConfigError for a name that no table knows.
    """

    mlp: MLP
    name: str = "sgd"
    schedule: str = "constant"
    decays: bool = False
    clips: bool = False
    by_group: bool = False
    adds_epsilon_first: bool = False

    def __post_init__(self) -> None:
        lookup(OPTIMIZERS, self.name, "optimizer")
        lookup(SCHEDULES, self.schedule, "schedule")

    def build(self, hyper: Hyper) -> optax.GradientTransformation:
        """The chain of gradient transformations with these values; parts that do nothing are left out."""
        rate: Rate = hyper.learning_rate
        if self.schedule != "constant":  # a constant one needs no count of the steps
            rate = lambda step: learning_rate_at(self.schedule, hyper, step)  # noqa: E731
        decay: Decay = hyper.weight_decay if self.decays else 0.0
        chain = [optax.clip_by_global_norm(hyper.clip_norm)] if self.clips else []
        if self.decays and self.name not in DECOUPLED:
            chain.append(optax.add_decayed_weights(decay, self.decay_mask()))
        optimizer = OPTIMIZERS[self.name](self, hyper, rate, decay)
        chain.append(self._scale_groups(optimizer, hyper) if self.by_group else optimizer)
        return chain[0] if len(chain) == 1 else optax.chain(*chain)

    def _scale_groups(
        self, optimizer: optax.GradientTransformation, hyper: Hyper
    ) -> optax.GradientTransformation:
        """The optimizer with its updates, decoupled decay too, times the factor of each parameter's group."""
        factors = _by_leaf(self.mlp, lambda param: hyper.rate_factors[param.group])

        # Around the optimizer, and no link of the chain: its state is the same with factors and without.
        def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradients, state, params)
            return jax.tree.map(jnp.multiply, updates, factors), state

        return optax.GradientTransformation(optimizer.init, update)

    def decay_mask(self) -> optax.Params:
        """A tree of truth values: which parameters decay."""
        return _by_leaf(self.mlp, lambda param: param.decays)

    def penalty(self, hyper: Hyper, params: Params) -> Float[Array, ""]:
        """½·λ·Σ w² over the parameters that decay, whose gradient is the L2 decay; 0 where there is none in the
        gradient.
        """
        if not self.decays or self.name in DECOUPLED:
            return jnp.zeros(())
        pairs = zip(jax.tree.leaves(params), jax.tree.leaves(self.decay_mask()), strict=True)
        squares = [(leaf.astype(jnp.float32) ** 2).sum() for leaf, decays in pairs if decays]
        return 0.5 * hyper.weight_decay * jnp.asarray(squares).sum()

    def muon_dimensions(self) -> optax.Params:
        """Muon's word for the matrices that it takes; the others go to Adam."""
        kernel = contrib.MuonDimensionNumbers()
        return _by_leaf(self.mlp, lambda param: kernel if param.group == "kernels" else None)


def _by_leaf(mlp: MLP, value: Callable[..., object]) -> dict[str, dict[str, object]]:
    return {
        layer: {leaf: value(param) for leaf, param in leaves.items()}
        for layer, leaves in abstract_params(mlp).items()
    }


def adam_of_raw_moments(
    rate: Rate, beta1: Array, beta2: Array, epsilon: Array
) -> optax.GradientTransformation:
    """Adam in the form with which section 2 of its paper ends, where epsilon is added to √v before v is corrected:
    for the first steps it is larger, as if divided by √(1 − β₂ᵗ). Its state is that of Adam.
    """

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        larger = epsilon / jnp.sqrt(1 - beta2 ** (state.count + 1))
        return optax.scale_by_adam(beta1, beta2, larger).update(gradients, state, params)

    scale = optax.GradientTransformation(optax.scale_by_adam(beta1, beta2).init, update)
    return optax.chain(scale, optax.scale_by_learning_rate(rate))


OPTIMIZERS: dict[str, Callable[[OptimizerSpec, Hyper, Rate, Decay], optax.GradientTransformation]] = {
    "sgd": lambda spec, hyper, rate, decay: optax.sgd(rate),
    "momentum": lambda spec, hyper, rate, decay: optax.sgd(rate, hyper.momentum),
    "nesterov": lambda spec, hyper, rate, decay: optax.sgd(rate, hyper.momentum, nesterov=True),
    "adam": lambda spec, hyper, rate, decay: (
        adam_of_raw_moments(rate, hyper.beta1, hyper.beta2, hyper.epsilon)
        if spec.adds_epsilon_first
        else optax.adam(rate, hyper.beta1, hyper.beta2, hyper.epsilon)
    ),
    "adamw": lambda spec, hyper, rate, decay: optax.adamw(
        rate, hyper.beta1, hyper.beta2, hyper.epsilon, weight_decay=decay, mask=spec.decay_mask()
    ),
    "lion": lambda spec, hyper, rate, decay: optax.lion(
        rate, hyper.beta1, hyper.beta2, weight_decay=decay, mask=spec.decay_mask()
    ),
    "muon": lambda spec, hyper, rate, decay: contrib.muon(
        rate,
        beta=hyper.momentum,
        adam_b1=hyper.beta1,
        adam_b2=hyper.beta2,
        weight_decay=decay,
        weight_decay_mask=spec.decay_mask(),
        muon_weight_dimension_numbers=spec.muon_dimensions(),
    ),
}
"""Name → optax's optimizer by structure, values, learning rate and decoupled weight decay. Momentum: Polyak, 1964;
nesterov: 1983; adam: Kingma and Ba, 2015, arXiv:1412.6980; adamw: Loshchilov and Hutter, 2019,
arXiv:1711.05101; lion: Chen et al., 2023, arXiv:2302.06675; muon (matrices; adam with Nesterov's momentum for
the rest, as optax has it): Jordan, 2024."""

DECOUPLED = frozenset({"adamw", "lion", "muon"})
"""These apply the decay themselves, apart from the gradient."""
