"""Learning-rate schedules: the share of the peak rate as a function of the progress of a run, from 0 to 1.

They are functions of arrays alone, so that a run's length and its warm-up are values of a compiled program. Step t
of T has the progress p = t / T. Where there is a warm-up of w·T whole steps, it ends at the progress w:

    constant       1
    cosine         ½(1 + cos πp)                                       Loshchilov and Hutter, 2017, arXiv:1608.03983
    one-cycle      from 1/25 up and down to 1/250,000, along cosines   Smith and Topin, 2018, arXiv:1708.07120
    warmup-cosine  from 1/(w·T + 1) up along a line, and down to 0 along a cosine
    exponential    0.01^p
"""

from collections.abc import Callable

import jax.numpy as jnp

from neuroforge_jax.errors import lookup
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.typing import Array, Float, Integer

Share = Float[Array, ""]

FIRST_OF_CYCLE, LAST_OF_CYCLE = 1 / 25, 1 / 25e4
LAST_OF_EXPONENTIAL = 0.01


def _half_cosine(progress: Share) -> Share:
    """From 1 at 0 down to 0 at 1 and beyond."""
    return 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(progress, 1)))


def _one_cycle(progress: Share, warmup: Share, step: Share) -> Share:
    rise = 1 + (FIRST_OF_CYCLE - 1) * _half_cosine(progress / jnp.maximum(warmup, step))
    fall = (1 - LAST_OF_CYCLE) * _half_cosine((progress - warmup) / (1 - warmup)) + LAST_OF_CYCLE
    return jnp.where(progress < warmup, rise, fall)


def _warmup_cosine(progress: Share, warmup: Share, step: Share) -> Share:
    # From above 0: a first step of learning rate 0 would be wasted.
    rise = (progress + step) / (warmup + step)
    return jnp.where(progress < warmup, rise, _half_cosine((progress - warmup) / (1 - warmup)))


SCHEDULES: dict[str, Callable[[Share, Share, Share], Share]] = {
    "constant": lambda progress, warmup, step: jnp.ones_like(progress),
    "cosine": lambda progress, warmup, step: _half_cosine(progress),
    "one-cycle": _one_cycle,
    "warmup-cosine": _warmup_cosine,
    "exponential": lambda progress, warmup, step: LAST_OF_EXPONENTIAL**progress,
}
"""Name → share of the peak by progress, warm-up and what one step is of the run, all f32 [] in [0, 1]."""


def learning_rate_at(schedule: str, hyper: Hyper, step: Integer[Array, ""]) -> Share:
    """The learning rate of a step, counted from 0 by the optimizer, which does not count skipped ones."""
    share = lookup(SCHEDULES, schedule, "schedule")
    total = hyper.total_steps
    # Whole steps: however short the run, the last one is left to the peak.
    warmup = jnp.minimum(jnp.round(hyper.warmup * total), total - 1) / total
    return hyper.learning_rate * share(step.astype(jnp.float32) / total, warmup, 1 / total)
