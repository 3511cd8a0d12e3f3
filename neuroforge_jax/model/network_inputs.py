"""What the first layer gets of rows as they are stored, inside the compiled program (`data/preprocess.py`)."""

import jax
import jax.numpy as jnp
import numpy as np

from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.typing import Array, Float, Num

LOOKUP_FROM = 128
"""Inputs of categories from which the rows of the first layer's kernel are looked up: about where that takes no
longer than the product with ones and zeros (`benchmarks/lookup.json`)."""

FAR = 1e6
"""Deviations beyond which robust scaling is 3 in float32; the square of a fill value would overflow."""


def network_inputs(plan: Preprocessor, fitted: Fitted, rows: Num[Array, "B I"]) -> Float[Array, "B W"]:
    """F32 [B, W]: scaled numbers, what says that they are missing, ones and zeros of categories."""
    numbers = scale_numbers(plan, fitted, rows)
    return jnp.concatenate([numbers, _one_hots(plan, rows)], axis=1) if plan.codes else numbers


def scale_numbers(plan: Preprocessor, fitted: Fitted, rows: Num[Array, "B I"]) -> Float[Array, "B N"]:
    """The numbers of the rows, scaled, and behind them what says that they are missing."""
    numbers = rows[:, : plan.numbers] if plan.codes else rows
    if fitted.fill is None:
        return (numbers - fitted.shift) * fitted.scale
    missing = jnp.isnan(numbers)
    there = jnp.where(missing, fitted.fill, numbers)
    knots = fitted.knots
    if knots is None:
        scaled = (there - fitted.shift) * fitted.scale
        if plan.scaling == "robust":
            scaled = jnp.clip(scaled, -FAR, FAR)
            scaled = scaled * jax.lax.rsqrt(1 + (scaled / 3) ** 2)
    else:
        scaled = _map_quantiles(jnp.asarray(knots), there)
    if not plan.indicators:
        return scaled
    told = missing[:, np.asarray(plan.indicators)].astype(scaled.dtype)
    return jnp.concatenate([scaled, told], axis=1)


def _map_quantiles(knots: Float[Array, "2 Q N"], numbers: Float[Array, "B N"]) -> Float[Array, "B N"]:
    """Each column along straight lines between its knots, and level beyond them."""
    return jax.vmap(jnp.interp, in_axes=1, out_axes=1)(numbers, *knots)


def _one_hots(plan: Preprocessor, rows: Num[Array, "B I"]) -> Float[Array, "B H"]:
    """One input for each level; a category of two levels is −1 or 1, and 0 where it is missing."""
    codes = rows[:, plan.numbers :]
    owners, levels, signs = _layout(plan)
    own = codes[:, owners]
    hot = (own == levels).astype(codes.dtype)
    return jnp.where(signs, jnp.where(own == 0, 0, 2 * own - 3), hot)


def lookup_rows(plan: Preprocessor, rows: Num[Array, "B I"]) -> tuple[Array, Array]:
    """For a kernel whose rows are looked up: i32 [B, K] the row of each category among those of categories, and f32
    [B, K] what it counts, −1, 0 or 1.
    """
    codes = rows[:, plan.numbers :]
    widths = np.array([code.width for code in plan.codes])
    starts = np.cumsum(widths) - widths
    first = np.array([0 if code.missing or code.is_sign else 1 for code in plan.codes])
    signs = np.array([code.is_sign for code in plan.codes])
    at = jnp.where(signs, 0, codes.astype(jnp.int32) - first)
    counts = jnp.where(signs, jnp.where(codes == 0, 0, 2 * codes - 3), (at >= 0).astype(codes.dtype))
    return jnp.maximum(at, 0) + starts, counts


def looks_up(plan: Preprocessor) -> bool:
    """Whether categories are looked up instead of multiplied."""
    return sum(code.width for code in plan.codes) >= LOOKUP_FROM


def _layout(plan: Preprocessor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each input: the category that it belongs to, the code that it is 1 for, and whether it is a sign."""
    owners, levels, signs = [], [], []
    for at, code in enumerate(plan.codes):
        first = 0 if code.missing else 1
        owners += [at] * code.width
        levels += list(range(first, first + code.width))
        signs += [code.is_sign] * code.width
    return np.array(owners), np.array(levels, np.float32), np.array(signs)


def scale_targets(fitted: Fitted, targets: Num[Array, "B ..."]) -> Num[Array, "B ..."]:
    """Targets as the loss sees them: those of a regression with mean 0 and deviation 1, others as they are."""
    if fitted.target_shift is None or fitted.target_scale is None:
        return targets
    return (targets - fitted.target_shift) * fitted.target_scale
