"""Which epoch was the best, by what, and whether that is enough: early stopping (Prechelt, 1998).

best = selection.better_of(best, evaluation, epoch, params)
over = selection.is_enough(best, epoch)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.monitor import LOSS, Monitor
from neuroforge_jax.typing import Params


@dataclass(frozen=True, eq=False)
class BestEpoch:
    """The best epoch so far, from 0, the last of equals; −1 before the first.

    since: the first of those equals: no epoch after it was better. params: a copy of its weights.
    """

    epoch: int = -1
    since: int = -1
    evaluation: Evaluation | None = None
    params: Params | None = None


@dataclass(frozen=True)
class Selection:
    """How the best epoch is found on validation data, and when to stop.

    monitor: the number that decides. patience: epochs without a better one after which it is enough.
    target_accuracy: a share; the epoch that reaches it is the best whatever the monitor says, and the last.
    """

    monitor: Monitor = LOSS
    patience: int | None = None
    target_accuracy: float | None = None

    def better_of(
        self, best: BestEpoch, evaluation: Evaluation, epoch: int, params: Params | None
    ) -> BestEpoch:
        """The new epoch where it is at least as good as the best so far, else that; NaN is never good."""
        new, old = self.score(evaluation), self.score(best.evaluation)
        reached = self._reaches(evaluation)
        if not reached and not (new >= old and new > -math.inf):
            return best
        since = epoch if reached or new > old else best.since
        # The state is donated to the next step: what is to be kept must be copied.
        return BestEpoch(epoch, since, evaluation, None if params is None else _copy(params))

    def score(self, evaluation: Evaluation | None) -> float:
        """What is to be as high as can be: minus infinity where nothing was monitored yet."""
        return self.monitor.score({} if evaluation is None else evaluation.numbers)

    def is_enough(self, best: BestEpoch, epoch: int) -> bool:
        """Whether to stop after this epoch: nothing better for `patience` epochs, or the target reached."""
        stale = self.patience is not None and epoch - best.since >= self.patience
        return stale or self._reaches(best.evaluation)

    def reason(self, best: BestEpoch) -> str:
        """What the best epoch was selected by: the name of the monitor, or `target-accuracy`."""
        return "target-accuracy" if self._reaches(best.evaluation) else self.monitor.name

    def _reaches(self, evaluation: Evaluation | None) -> bool:
        if self.target_accuracy is None or evaluation is None or evaluation.accuracy is None:
            return False
        return evaluation.accuracy >= self.target_accuracy


_copy: Callable[[Params], Params] = jax.jit(lambda params: jax.tree.map(jnp.copy, params))
