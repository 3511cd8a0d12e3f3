"""Which epoch was the best, and whether that is enough."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.typing import Params


@dataclass(frozen=True, eq=False)
class BestEpoch:
    """The best epoch so far (from 0): by accuracy, or by loss in a regression.

    params: a copy of its weights, or None where the data it was measured on may select nothing.
    """

    score: float = -math.inf
    epoch: int = -1
    evaluation: Evaluation | None = None
    params: Params | None = None

    def better_of(self, evaluation: Evaluation, epoch: int, params: Params | None) -> "BestEpoch":
        """The new epoch where it is better, else this one."""
        score = score_of(evaluation)
        if not score > self.score:
            return self
        # The state is donated to the next step: what is to be kept must be copied.
        return BestEpoch(score, epoch, evaluation, None if params is None else _copy(params))

    def is_enough(self, epoch: int, patience: int | None, target: float | None) -> bool:
        """Whether to stop after this epoch: nothing better for `patience` epochs, or the target reached."""
        stale = patience is not None and epoch - self.epoch >= patience
        return stale or (target is not None and self.score >= target)


def score_of(evaluation: Evaluation) -> float:
    """What is to be as high as can be: the accuracy, or minus the loss of a regression."""
    return -evaluation.loss if evaluation.accuracy is None else evaluation.accuracy


_copy: Callable[[Params], Params] = jax.jit(lambda params: jax.tree.map(jnp.copy, params))
