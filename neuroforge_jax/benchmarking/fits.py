"""How long a whole `fit` takes when its programs are there: job, data, epochs, evaluations, result."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset

REPETITIONS = 9
NAME = "fits/small/again"


def fit_case() -> tuple[TrainConfig, Dataset]:
    """So small that what surrounds the steps counts."""
    config = TrainConfig(hidden=(32,), batch_size=32, epochs=2, backend="optimized")
    return config, random_pixels(4096, 64)


def names() -> list[str]:
    """Of the rows."""
    return [NAME]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """One, after a fit that compiles. reference: of the harness."""
    fit, side = partial(nf.fit, *fit_case()), Side()
    fit()
    for _ in range(REPETITIONS):
        side.take_turn(lambda: Outcome(time_call(fit)), reference)
    yield side.describe(NAME)
