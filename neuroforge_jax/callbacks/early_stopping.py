"""Which epoch was the best, and whether it is time to stop: early stopping (Prechelt, 1998)."""

from dataclasses import asdict
from typing import Any

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.training.best import BestEpoch
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.progress import Record, TrainProgress


class EarlyStopping(Callback):
    """Keeps the best epoch, its weights too where validation data are held out, and stops where the config says.

    patience: epochs without a better one; target_accuracy: a share. Test data are never used to select.
    """

    name = "best"

    def __init__(self, patience: int | None = None, target_accuracy: float | None = None) -> None:
        self.patience, self.target_accuracy = patience, target_accuracy
        self.best = BestEpoch()

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """Compare this epoch with the best."""
        for part, evaluation in trainer.evaluations.items():
            params = trainer.state.params if part == "validation" else None
            self.best = self.best.better_of(evaluation, trainer.progress.epoch - 1, params)

    def should_stop(self, progress: TrainProgress) -> bool:
        """After the epochs so far."""
        epochs = progress.epoch
        return epochs > 0 and self.best.is_enough(epochs - 1, self.patience, self.target_accuracy)

    def state(self) -> tuple[dict[str, Any], Any]:
        """The best epoch and its weights."""
        best = self.best
        if best.evaluation is None:
            return {}, None
        return {"score": best.score, "epoch": best.epoch, "evaluation": asdict(best.evaluation)}, best.params

    def load_state(self, values: dict[str, Any], arrays: Any) -> None:
        """The inverse of `state`."""
        if values:
            evaluation = Evaluation.from_json(values["evaluation"])
            self.best = BestEpoch(values["score"], values["epoch"], evaluation, arrays)
