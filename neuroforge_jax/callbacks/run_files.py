"""The files of a run beside its checkpoints and its log: what it is, on what it runs, and what came out."""

import math
from typing import Any

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.config import RunOptions
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.model.io import save
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.progress import TrainProgress


class RunFiles(Callback):
    """Writes config, options, environment and schema when a run starts, the model and the figures when it has
    ended.
    """

    main_process_only = True
    shows_figures = True

    def __init__(self, folder: RunFolder, options: RunOptions) -> None:
        self._folder, self._options = folder, options

    def start(self, job: Job, progress: TrainProgress) -> None:
        """What the run is."""
        self._folder.write_config(job.config, self._options)
        self._folder.write_json("environment.json", job.environment)
        if job.dataset.schema is not None:
            self._folder.write_json("schema.json", job.dataset.schema.to_json())

    def finish(self, trainer: Trainer, result: Any) -> None:
        """What came out."""
        with span("save"):
            save(self._folder.path, result.model, result.params)
            if result.assessment is not None:
                self._folder.write_arrays("predictions.npz", result.assessment.arrays)
            self._folder.write_json("result.json", dict(map(_without_nan, result.figures.items())))


def _without_nan(item: tuple[str, Any]) -> tuple[str, Any]:
    """JSON has no word for what is not a finite number; other tools than Python's refuse `NaN`."""
    name, value = item
    return name, None if isinstance(value, float) and not math.isfinite(value) else value
