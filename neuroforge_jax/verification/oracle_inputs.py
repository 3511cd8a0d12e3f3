"""What the first layer gets of rows as they are stored, in float64 NumPy, row by row and column by column.

    x = (n − shift)·scale, n the number or, where it is missing, `fill`        robust: x/√(1 + (x/3)²)
    quantile: x on the straight line between two knots                          behind them 1 for each that is
    missing a code c of L levels: ones and zeros for 1 … L, for 0 … L where missing has one of its own, or −1,
    0, 1 for two

It shares no code with `model/network_inputs.py`, which it judges.
"""

import numpy as np

from neuroforge_jax.data.preprocess import Fitted, Preprocessor

Array = np.ndarray


def prepare(plan: Preprocessor, fitted: Fitted, rows: Array) -> Array:
    """Float64 [B, W] of rows as stored [B, I]."""
    rows = np.asarray(rows, np.float64)
    parts = [np.isnan(rows[:, at]).astype(np.float64) for at in plan.indicators]
    for at, codes in enumerate(plan.codes, plan.numbers):
        code = rows[:, at]
        if codes.levels == 2 and not codes.missing:
            parts.append(np.choose(code.astype(int), [0.0, -1.0, 1.0]))
        else:
            levels = range(0 if codes.missing else 1, codes.levels + 1)
            parts += [np.where(code == level, 1.0, 0.0) for level in levels]
    return np.column_stack([_scale_numbers(plan, fitted, rows[:, : plan.numbers]), *parts])


def _scale_numbers(plan: Preprocessor, fitted: Fitted, numbers: Array) -> Array:
    """Float64 [B, N] of the columns [B, N] that are numbers."""
    if fitted.fill is not None:
        numbers = np.where(np.isnan(numbers), np.asarray(fitted.fill, np.float64), numbers)
    if fitted.knots is not None:
        knots = fitted.knots.astype(np.float64).transpose(2, 0, 1)
        columns = [np.interp(x, *quantiles) for x, quantiles in zip(numbers.T, knots, strict=True)]
        return np.reshape(columns, numbers.T.shape).T
    shift, scale = (np.asarray(x, np.float64) for x in fitted[:2])
    scaled = (numbers - shift) * scale
    return scaled / np.sqrt(1 + scaled**2 / 9) if plan.scaling == "robust" else scaled


def scale_targets(fitted: Fitted, targets: Array) -> Array:
    """Targets as the loss sees them."""
    if fitted.target_shift is None or fitted.target_scale is None:
        return targets
    return (targets - fitted.target_shift.astype(np.float64)) * fitted.target_scale.astype(np.float64)
