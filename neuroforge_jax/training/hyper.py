"""The values of a training that are arguments of its program: another rate or another length compiles nothing.

Whether there is dropout, smoothing, decay or clipping is structure, and part of the program; how much is a value.
"""

import numpy as np
from flax import struct

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.typing import Array, Float

LARGEST = float(np.finfo(np.float32).max)
"""A limit that limits nothing; a state that is saved holds finite numbers alone."""


@struct.dataclass
class Hyper:
    """Every leaf is f32 []; in a population f32 [P], so that each member can have values of its own.

    learning_rate: of the peak. clip_norm: LARGEST where nothing is clipped. warmup: share of the steps before the
    peak. total_steps: over which the schedule runs.
    """

    learning_rate: Float[Array, ""]
    momentum: Float[Array, ""]
    weight_decay: Float[Array, ""]
    clip_norm: Float[Array, ""]
    label_smoothing: Float[Array, ""]
    dropout: Float[Array, ""]
    warmup: Float[Array, ""]
    total_steps: Float[Array, ""]


def make_hyper(config: TrainConfig, total_steps: int) -> Hyper:
    """The values that a config has for them; NumPy's, so that nothing is compiled."""
    fields = vars(config)
    clip_norm = LARGEST if fields["clip_norm"] is None else fields["clip_norm"]
    named = ("learning_rate", "momentum", "weight_decay", "label_smoothing", "dropout", "warmup")
    values = {name: fields[name] for name in named} | {
        "clip_norm": clip_norm,
        "total_steps": max(total_steps, 1),
    }
    return Hyper(**{name: np.float32(value) for name, value in values.items()})  # type: ignore[arg-type]
