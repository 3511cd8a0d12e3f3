"""When an estimator's training is over, as scikit-learn decides it: no progress by `tol` for more epochs than
`n_iter_no_change`, of the training loss or of the score on rows held out.

With `learning_rate="adaptive"` the rate is divided by 5 instead, until it is below 10⁻⁶; with "invscaling" it is
learning_rate_init / (t + 1)^power_t, t the rows seen so far.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np
import optax
from jax.typing import ArrayLike

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.training.best import BestEpoch, Selection
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.monitor import LOSS
from neuroforge_jax.training.progress import Record, TrainProgress
from neuroforge_jax.training.state import TrainState

SMALLEST_RATE = 1e-6


@dataclass
class Curve:
    """What an estimator has seen of its training, over all calls that went on with it.

    losses, scores: of each epoch, means over the members of an ensemble. stale: epochs since the last progress.
    rows: seen, t. decay: the learning rate over the first one. members: of an ensemble, what each has seen.
    """

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    best_loss: float = math.inf
    best_score: float = -math.inf
    stale: int = 0
    rows: int = 0
    decay: float = 1.0
    members: list["Curve"] = field(default_factory=list)


class Rule(Callback):
    """What decides when a call of `fit` has trained enough.

    epochs: seen so far. over: whether there was no progress for too long. best: the epoch whose weights are kept;
    without weights where it is the last. selection: how it is found; None without rows held out.
    """

    epochs: int
    over: bool
    best: BestEpoch
    selection: Selection | None

    @property
    def looks_at_every_epoch(self) -> bool:
        """Whether something may have to happen between any two epochs."""
        raise NotImplementedError

    @property
    def epochs_until_it_can_stop(self) -> int | None:
        """How many epochs there are at least before one can be the last by this rule; None where none can."""
        raise NotImplementedError

    @property
    def engine_rate(self) -> ArrayLike:
        """The learning rate of the next epoch, as this engine has it; of an ensemble [P]."""
        raise NotImplementedError

    def is_over(self) -> bool:
        """By progress, by the time or by Ctrl-C."""
        raise NotImplementedError

    def should_stop(self, progress: TrainProgress) -> bool:
        """After the epochs so far."""
        return self.is_over()


class StoppingRule(Rule):
    """Follows the epochs of one call of `fit`.

    curve: goes on with that of the calls before. scale, offset: the loss that is shown is this engine's, times the
    one and plus the other. rate: the learning rate as the parameters say it; policy: constant, adaptive or
    invscaling; factor: of the engine's rate. selection: how the best epoch on rows held out is found; None without
    such. verbose: whether each epoch is printed.
    """

    def __init__(
        self,
        curve: Curve,
        *,
        tol: float,
        patience: float,
        rows: int,
        scale: float,
        offset: float = 0.0,
        rate: float,
        policy: str = "constant",
        power: float = 0.5,
        factor: float = 1.0,
        selection: Selection | None = None,
        verbose: bool = False,
        seconds: float | None = None,
        interrupted: Callable[[], bool] = lambda: False,
        continues: bool = False,
    ) -> None:
        self.curve, self.selection = curve, selection
        self.epochs = 0
        self.best = BestEpoch()
        self.rate = rate * curve.decay if continues else rate
        self.over = False
        self.interrupted = interrupted
        self._tol, self._patience, self._rows = tol, patience, rows
        self._scale, self._offset = scale, offset
        self._first_rate, self._policy, self._power, self._factor = rate, policy, power, factor
        self._verbose = verbose
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    @property
    def looks_at_every_epoch(self) -> bool:
        """Whether something may have to happen between any two epochs."""
        return self.selection is not None or self.changes_rate

    @property
    def epochs_until_it_can_stop(self) -> int | None:
        """How many epochs there are at least before one can be the last by this rule; None where none can."""
        left = self._patience - self.curve.stale + 1
        return None if math.isinf(left) else max(1, int(left))

    def see(self, loss: float, score: float | None = None) -> None:
        """Take note of an epoch. loss: this engine's mean of it."""
        curve = self.curve
        self.epochs += 1
        curve.rows += self._rows
        curve.losses.append(self.show_loss(loss))
        if self._verbose:
            print(f"Iteration {self.epochs}, loss = {curve.losses[-1]:.8f}")
        if self.selection is None:
            self._count(-curve.losses[-1], -curve.best_loss)
            curve.best_loss = min(curve.best_loss, curve.losses[-1])
        else:
            assert score is not None
            curve.scores.append(score)
            if self._verbose:
                print(f"Validation score: {score:f}")
            self._count(score, curve.best_score)
            curve.best_score = max(curve.best_score, score)
        if self._policy == "invscaling":
            self.rate = self._first_rate / (curve.rows + 1) ** self._power
        if curve.stale > self._patience:
            self._end()
        curve.decay = self.rate / self._first_rate

    def show_loss(self, loss: float) -> float:
        """As scikit-learn has it."""
        return loss * self._scale + self._offset

    @property
    def changes_rate(self) -> bool:
        """Whether an epoch may have another learning rate than the one before, beside the schedule."""
        return self._policy != "constant"

    def _count(self, now: float, best: float) -> None:
        """now, best: what is to be as high as can be; NaN is no progress."""
        stale = not now >= best + self._tol
        self.curve.stale = self.curve.stale + 1 if stale else 0

    def _end(self) -> None:
        what = "Training loss" if self.selection is None else "Validation score"
        since = f"{what} did not improve more than tol={self._tol:f} for {self._patience} consecutive epochs."
        if self._policy != "adaptive":
            self.over = True
            self._say(f"{since} Stopping.")
        elif self.rate <= SMALLEST_RATE:
            self.over = True
            self._say(f"{since} Learning rate too small. Stopping.")
        else:
            self.rate /= 5
            self.curve.stale = 0
            self._say(f"{since} Setting learning rate to {self.rate:f}")

    def _say(self, text: str) -> None:
        if self._verbose:
            print(text)

    def is_over(self) -> bool:
        """By progress, by the time or by Ctrl-C."""
        return self.over or self.is_cut_short()

    def is_cut_short(self) -> bool:
        """By the time or by Ctrl-C."""
        return self.interrupted() or time.monotonic() >= self._until

    @property
    def engine_rate(self) -> float:
        """The learning rate of the next epoch, as this engine has it."""
        return self.rate * self._factor

    def read_score(self, evaluation: Evaluation) -> float:
        """What is to be as high as can be. The loss of rows held out is shown as that of the training is."""
        assert self.selection is not None
        monitor = self.selection.monitor
        number = float(evaluation.numbers[monitor.name])
        if monitor is LOSS:
            number = self.show_loss(number)
        return number if monitor.higher_is_better else -number

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """See an epoch of a training that stops after each, and set the rate of the next."""
        score = None
        if self.selection is not None:
            evaluation = trainer.evaluations["validation"]
            score = self.read_score(evaluation)
            epoch = trainer.progress.epoch - 1
            self.best = self.selection.better_of(self.best, evaluation, epoch, trainer.state.params)
        loss = record["train_loss"]
        self.see(math.nan if loss is None else float(loss), score)
        if self.changes_rate:
            trainer.state = with_rate(trainer.state, self.engine_rate)


def with_rate(state: TrainState, rate: ArrayLike) -> TrainState:
    """The state that goes on with another learning rate; of an ensemble with one [P] for each member.

    The velocity stays, as scikit-learn's does: optax's momentum is the sum before it is multiplied by the rate.
    """
    device = next(iter(state.step.devices()))
    placed = jax.device_put(np.asarray(rate, np.float32), device)
    return replace(
        state,
        opt_state=_scale_momentum(state.opt_state, state.hyper.learning_rate / placed),
        hyper=replace(state.hyper, learning_rate=placed),
    )


@jax.jit
def _scale_momentum(opt_state: Any, factor: jax.Array) -> Any:
    def scale(node: Any) -> Any:
        if not _is_momentum(node):
            return node
        sums = jax.tree.map(
            lambda leaf: leaf * factor.reshape(*factor.shape, *(1,) * (leaf.ndim - factor.ndim)), node.trace
        )
        return node._replace(trace=sums)

    return jax.tree.map(scale, opt_state, is_leaf=_is_momentum)


def _is_momentum(node: Any) -> bool:
    return isinstance(node, optax.TraceState)
