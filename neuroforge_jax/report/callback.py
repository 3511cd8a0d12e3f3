"""The page and the pictures of a run, drawn when it has ended."""

from typing import Any

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.system.spans import span


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
        with span("draw"):
            pictures = draw_pictures(folder)
            (folder / "report.html").write_text(render_run_page([read_run(folder)]), encoding="utf-8")
        names = ["report.html", *(path.name for path in pictures)]
        self.say(f"saved in {folder}: {', '.join(names)}, result.json and more")
