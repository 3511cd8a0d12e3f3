"""Loss scaling: gradients too small for fp16 are computed larger, and divided again in float32.

    loss       s·ℓ in float32, so that the cotangents which are rounded to fp16 carry the scale s
    gradients  g = (s·g)/s in float32, before anything else, such as clipping, looks at them
    overflow   a g that is not finite: the step is skipped, and s ← max(s · backoff, floor)
    else       s ← min(s · growth, ceiling) after `interval` finite steps in a row

Micikevicius et al., 2018, arXiv:1710.03740, section 3.2. A static scale is its own floor and ceiling. A scale
of 2ᵏ costs no rounding. Everything here is pure and works under `vmap`, with a scale of each member's own.
"""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from neuroforge_jax.errors import ConfigError
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.typing import Array, Bool, Float, Integer, Params

FIRST_SCALE, LARGEST_SCALE = 2.0**15, 2.0**24
PERMANENT = 20
"""Steps skipped in a row, with the scale at its floor, after which nothing is expected to help any more."""


@struct.dataclass
class LossScale:
    """The scale and what it has met; the settings are static, and cost a program nothing.

    scale: f32 []; finite_steps: i32 [], in a row since the scale last changed; skipped: i32 [], steps in all;
    failed: i32 [], steps skipped in a row with the scale at its floor, which stays once it is PERMANENT.
    """

    scale: Float[Array, ""]
    finite_steps: Integer[Array, ""]
    skipped: Integer[Array, ""]
    failed: Integer[Array, ""]
    growth: float = struct.field(pytree_node=False, default=2.0)
    backoff: float = struct.field(pytree_node=False, default=0.5)
    interval: int = struct.field(pytree_node=False, default=2000)
    floor: float = struct.field(pytree_node=False, default=1.0)
    ceiling: float = struct.field(pytree_node=False, default=LARGEST_SCALE)

    @property
    def is_static(self) -> bool:
        """Whether the scale never changes."""
        return self.floor == self.ceiling


def dynamic_scale(first: float = FIRST_SCALE) -> LossScale:
    """A scale that finds its own size from `first` on; `dataclasses.replace` changes its settings."""
    # NumPy's numbers: nothing is compiled to make a value.
    return LossScale(np.float32(first), np.int32(0), np.int32(0), np.int32(0))  # type: ignore[arg-type]


def static_scale(scale: float) -> LossScale:
    """A scale that stays."""
    return replace(dynamic_scale(scale), floor=scale, ceiling=scale)


def make_loss_scale(spec: str, policy: Policy) -> LossScale | None:
    """The scale before the first step, as --loss-scale says it: auto, none, dynamic or a number.

    auto: dynamic for a policy with fp16, none for all others. None stands for no scaling at all.
    Raises ConfigError.
    """
    if spec == "none" or (spec == "auto" and not policy.has_fp16):
        return None
    if spec in ("auto", "dynamic"):
        return dynamic_scale()
    try:
        scale = float(spec)
    except ValueError:
        scale = math.nan
    if not 1 <= scale <= LARGEST_SCALE:
        raise ConfigError(
            f"--loss-scale {spec!r}: it takes auto, none, dynamic, or a number from 1 to {LARGEST_SCALE:.0f}"
        )
    return static_scale(scale)


def scale_loss(loss: Float[Array, ""], scale: LossScale | None) -> Float[Array, ""]:
    """s·ℓ, in float32; where ℓ is not finite, neither is any gradient of it."""
    # A sum that overflows may have finite derivatives. 0·ℓ is 0, or else NaN, and a factor of them all.
    return loss if scale is None else loss * (scale.scale + 0 * jax.lax.stop_gradient(loss))


def unscale_gradients(gradients: Params, scale: LossScale) -> Params:
    """The gradients of ℓ from those of s·ℓ, in float32."""
    inverse = 1 / scale.scale
    return jax.tree.map(lambda gradient: gradient * inverse, gradients)


def all_finite(tree: Any) -> Bool[Array, ""]:
    """Whether no number of gradients or parameters is infinite or NaN."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def update_loss_scale(scale: LossScale, finite: Bool[Array, ""]) -> LossScale:
    """The scale after a step whose gradients were finite, or were not and so skipped."""
    grows = finite & (scale.finite_steps + 1 >= scale.interval)
    larger = jnp.where(grows, jnp.minimum(scale.scale * scale.growth, scale.ceiling), scale.scale)
    smaller = jnp.maximum(scale.scale * scale.backoff, scale.floor)
    failed = jnp.where(~finite & (scale.scale <= scale.floor), scale.failed + 1, 0)
    return replace(
        scale,
        scale=jnp.where(finite, larger, smaller),
        finite_steps=jnp.where(finite & ~grows, scale.finite_steps + 1, 0),
        skipped=scale.skipped + ~finite,
        failed=jnp.where(scale.failed >= PERMANENT, scale.failed, failed),
    )
