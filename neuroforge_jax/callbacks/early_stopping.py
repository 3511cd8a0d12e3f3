"""Which epoch was the best, and whether it is time to stop: early stopping (Prechelt, 1998)."""

from dataclasses import asdict
from typing import Any

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.training.best import BestEpoch, Selection
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.progress import Record, TrainProgress


class EarlyStopping(Callback):
    """Keeps the best epoch by validation data and its weights, and stops where the selection says; without such
    data it does nothing. Test data are never used to select.
    """

    name = "best"

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.best = BestEpoch()

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """Compare this epoch with the best."""
        if (evaluation := trainer.evaluations.get("validation")) is not None:
            epoch, params = trainer.progress.epoch - 1, trainer.state.params
            self.best = self.selection.better_of(self.best, evaluation, epoch, params)

    def should_stop(self, progress: TrainProgress) -> bool:
        """After the epochs so far."""
        epochs = progress.epoch
        # Without validation data there is no best epoch, and nothing to wait for.
        return self.best.evaluation is not None and self.selection.is_enough(self.best, epochs - 1)

    def state(self) -> tuple[dict[str, Any], Any]:
        """The best epoch and its weights."""
        best = self.best
        if best.evaluation is None:
            return {}, None
        values = {"epoch": best.epoch, "since": best.since, "evaluation": asdict(best.evaluation)}
        return values, best.params

    def load_state(self, values: dict[str, Any], arrays: Any) -> None:
        """The inverse of `state`; versions 0.1 and 0.2 saved the best epoch of test data too, without weights."""
        if values and arrays is not None:
            evaluation = Evaluation.from_json(values["evaluation"])
            since = values.get("since", values["epoch"])
            self.best = BestEpoch(values["epoch"], since, evaluation, arrays)
