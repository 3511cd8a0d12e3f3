"""The values of a training that are arguments of its program: another rate or another length compiles nothing.

Whether there is dropout, smoothing, decay or clipping is structure, and part of the program; how much is a value.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import struct

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.nn.mlp import GROUPS
from neuroforge_jax.typing import Array, Float

LARGEST = float(np.finfo(np.float32).max)
"""A limit that limits nothing; a state that is saved holds finite numbers alone."""

LARGEST_FACTOR = 1e6


@struct.dataclass
class Hyper:
    """Every leaf is f32 []; in a population f32 [P], so that each member can have values of its own.

    learning_rate: of the peak. beta1, beta2: decays of the moments of adam and its kin. epsilon: what these divide
    by at least. clip_norm: LARGEST where nothing is clipped. warmup: share of the steps before the peak.
    total_steps: over which the schedule runs. rate_factors: of the learning rate, by the group of a parameter.
    """

    learning_rate: Float[Array, ""]
    momentum: Float[Array, ""]
    beta1: Float[Array, ""]
    beta2: Float[Array, ""]
    epsilon: Float[Array, ""]
    weight_decay: Float[Array, ""]
    clip_norm: Float[Array, ""]
    label_smoothing: Float[Array, ""]
    dropout: Float[Array, ""]
    warmup: Float[Array, ""]
    total_steps: Float[Array, ""]
    rate_factors: Mapping[str, Float[Array, ""]]


BETAS = {"adam": (0.9, 0.999), "adamw": (0.9, 0.999), "lion": (0.9, 0.99), "muon": (0.9, 0.999)}
"""Optimizer → its betas unless others are given; those that are not here have none."""

EPSILONS = {"adam": 1e-8, "adamw": 1e-8}
"""Optimizer → its epsilon unless another is given; those that are not here take none."""


def make_hyper(config: TrainConfig, total_steps: int) -> Hyper:
    """The values that a config has for them; NumPy's, so that nothing is compiled.

    Raises ConfigError for factors of groups that do not exist, and for betas or an epsilon of an optimizer without.
    """
    fields = vars(config)
    clip_norm = LARGEST if fields["clip_norm"] is None else fields["clip_norm"]
    named = ("learning_rate", "momentum", "weight_decay", "label_smoothing", "dropout", "warmup")
    values = {name: fields[name] for name in named} | _betas(config) | _epsilon(config)
    values |= {"clip_norm": clip_norm, "total_steps": max(total_steps, 1)}
    factors = dict.fromkeys(GROUPS, 1.0) | parse_rate_factors(config.rate_factors)
    return Hyper(**_float32(values), rate_factors=_float32(factors))


def parse_rate_factors(spec: str | None) -> dict[str, float]:
    """The factors that a spec such as `biases=0.1,norms=6` gives, by group. Raises ConfigError."""
    factors: dict[str, float] = {}
    for item in filter(None, (spec or "").split(",")):
        group, _, number = (word.strip() for word in item.partition("="))
        try:
            factor = float(number)
        except ValueError:
            factor = -1.0
        if group not in GROUPS or group in factors or not 0 <= factor <= LARGEST_FACTOR:
            raise ConfigError(
                f"--rate-factors {spec}: {item.strip()!r} is not one of {', '.join(GROUPS)}, each at most once, "
                f"with = and a factor from 0 to {LARGEST_FACTOR:g}, as in biases=0.1,norms=6"
            )
        factors[group] = factor
    return factors


def _betas(config: TrainConfig) -> dict[str, float]:
    given = {"beta1": config.beta1, "beta2": config.beta2}
    for name, value in given.items():
        if value is not None and config.optimizer not in BETAS:
            raise ConfigError(
                f"--{name} {value:g} is for --optimizer {', '.join(BETAS)}; {config.optimizer} has none; "
                "leave it out"
            )
    usual = dict(zip(given, BETAS.get(config.optimizer, BETAS["adam"]), strict=True))
    return usual | {name: value for name, value in given.items() if value is not None}


def _epsilon(config: TrainConfig) -> dict[str, float]:
    if config.epsilon is None:
        return {"epsilon": EPSILONS.get(config.optimizer, EPSILONS["adam"])}
    if config.optimizer not in EPSILONS:
        raise ConfigError(
            f"--epsilon {config.epsilon:g} is for --optimizer {', '.join(EPSILONS)}; {config.optimizer} takes "
            "none; leave it out"
        )
    return {"epsilon": config.epsilon}


def _float32(values: Mapping[str, float]) -> dict[str, Any]:
    return {name: np.float32(value) for name, value in values.items()}
