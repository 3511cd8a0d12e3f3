"""The page and the pictures of a run, drawn when it has ended."""

import math
from typing import Any

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.job.importance import measure_changes
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.system.spans import span

SHUFFLES = 5
IMPORTANCE_COLUMNS = 100
"""More of them are not measured."""
IMPORTANCE_SAMPLES = 1000
IMPORTANCE_PREDICTIONS = 100_000
"""Over all columns and shuffles: enough to tell which columns lead, in the time of a few epochs."""


class Report(Callback):
    """Writes report.html and pictures into the folder of a saved run, and says so; of another run nothing."""

    main_process_only = True
    shows_figures = True

    def finish(self, trainer: Trainer, result: Any) -> None:
        """Draw. What draws is imported when there is something to draw."""
        if result.folder is None:
            return
        from neuroforge_jax.report.pictures import draw_pictures
        from neuroforge_jax.report.run_files import read_run
        from neuroforge_jax.report.run_page import render_run_page

        folder = result.folder.path
        with span("importance"):
            if (importance := measure_importance(trainer.job.dataset, result)) is not None:
                result.folder.write_json("importance.json", importance)
        with span("draw"):
            pictures = draw_pictures(folder)
            (folder / "report.html").write_text(render_run_page([read_run(folder)]), encoding="utf-8")
        names = ["report.html", *(path.name for path in pictures)]
        self.say(f"saved in {folder}: {', '.join(names)}, result.json and more")


def measure_importance(dataset: Dataset, result: Any) -> dict[str, Any] | None:
    """What the loss rises by for each column of a table, on test or else validation data: `columns`, `metric`,
    `samples`, and `changes` [columns][shuffles]. None without named columns or such data, and where a rise is no
    finite number, which JSON has no word for.
    """
    split, positions = dataset.test or dataset.validation, dataset.column_positions
    if split is None or not 0 < len(positions) <= IMPORTANCE_COLUMNS:
        return None
    split = _thin(split, min(IMPORTANCE_SAMPLES, IMPORTANCE_PREDICTIONS // (SHUFFLES * len(positions))))
    groups = list(positions.values())
    changes = measure_changes(result.model, result.params, split, groups, repeats=SHUFFLES)
    if not math.isfinite(changes.sum()):
        return None
    return {"columns": list(positions), "metric": "loss", "samples": len(split), "changes": changes.tolist()}


def _thin(split: Split, samples: int) -> Split:
    """At most so many samples, at equal distances."""
    return split[:: -(-len(split) // samples)]
