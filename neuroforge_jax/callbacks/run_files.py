"""The files of a run beside its checkpoints and its log: what it is, on what it runs, and what came out."""

from typing import Any

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.checkpoint.run_folder import RunFolder
from neuroforge_jax.config import RunOptions
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.summary import predict_test_data
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.model.io import save
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.progress import TrainProgress


class RunFiles(Callback):
    """Writes config, options and environment when a run starts, the model and the figures when it has ended."""

    main_process_only = True
    shows_figures = True

    def __init__(self, folder: RunFolder, options: RunOptions) -> None:
        self._folder, self._options = folder, options

    def start(self, job: Job, progress: TrainProgress) -> None:
        """What the run is."""
        self._folder.write_config(job.config, self._options)
        self._folder.write_json("environment.json", job.environment)

    def finish(self, trainer: Trainer, result: Any) -> None:
        """What came out."""
        with span("save"):
            save(self._folder.path, result.model, result.params)
            if trainer.job.dataset.test is not None:
                predictions = predict_test_data(result.model, result.params, trainer.job.dataset.test)
                self._folder.write_arrays("predictions.npz", predictions)
            self._folder.write_json("result.json", result.figures)
