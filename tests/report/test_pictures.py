"""The PNG files of a run show what its page shows."""

import base64
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from neuroforge_jax.report import pictures
from neuroforge_jax.report.run_files import read_run, select_mistakes
from neuroforge_jax.report.run_page import render_run_page
from neuroforge_jax.report.series import LIGHT, choose_look
from tests.report.test_pages import folders

__all__ = ["folders"]


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved, so that its lines can be read."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **options: (saved.append(self), save(self, *args, **options))
    )
    return saved


def test_the_learning_curves_of_page_and_file_look_the_same(folders, tmp_path, figures):
    run = read_run(folders / "one")
    pictures.draw_learning_curves(run, tmp_path / "curve.png")
    page = render_run_page([run])
    (figure,) = figures
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    for axes in figure.axes:
        assert [line.get_label() for line in axes.lines] == ["train", "test"]
        for line, part in zip(axes.lines, (0, 2), strict=True):
            assert to_hex(line.get_color()) == LIGHT[choose_look(part).colour]
            assert line.get_marker() == pictures.MARKERS[choose_look(part).marker]
            assert f"stroke:var(--c{part})" in page


def test_epochs_without_a_measurement_are_left_out(folders, tmp_path, figures):
    """A part that was not measured in every epoch had more epochs than values, and matplotlib refused them."""
    run = read_run(folders / "one")
    epochs = tuple({**epoch, "test_loss": None} if epoch["epoch"] == 2 else epoch for epoch in run.epochs)
    pictures.draw_learning_curves(replace(run, epochs=epochs), tmp_path / "curve.png")
    assert list(figures[0].axes[0].lines[1].get_xdata()) == [1, 3]


def test_the_most_confident_mistakes_are_those_of_the_page(folders, tmp_path, figures):
    run = read_run(folders / "one")
    mistakes = select_mistakes(run)
    pictures.draw_mistakes(run, tmp_path / "mistakes.png")
    heading = figures[0].texts[-1].get_text()
    assert heading.startswith(f"The {len(mistakes)} most confident of ")
    page = render_run_page([run])
    assert "The most confident mistakes" in page
    assert page.count("read as") >= len(mistakes)
    shares = [int(mistake.caption.rpartition(", ")[2].rstrip("%")) for mistake in mistakes]
    assert shares == sorted(shares, reverse=True)


def test_mistakes_in_colour_are_shown_in_colour_on_page_and_file(folders, tmp_path):
    run = read_run(folders / "one")
    worst = np.zeros((len(run.predictions["worst"]), 2, 2, 3), np.uint8)
    worst[:, 0, 0] = (200, 30, 0)
    of_colours = replace(
        run,
        model={**run.model, "shape": [2, 2, 3]},
        predictions={**run.predictions, "worst_inputs": worst.reshape(len(worst), -1)},
    )
    assert pictures.draw_mistakes(of_colours, tmp_path / "mistakes.png")
    drawn = np.asarray(Image.open(tmp_path / "mistakes.png").convert("RGB")).reshape(-1, 3)
    assert [200, 30, 0] in np.unique(drawn, axis=0).tolist()
    png = render_run_page([of_colours]).partition("data:image/png;base64,")[2].partition('"')[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))), worst[0])


def test_a_run_without_mistakes_has_no_picture_of_them(folders, tmp_path):
    run = read_run(folders / "one")
    none = {name: values[:0] if "worst" in name else values for name, values in run.predictions.items()}
    assert pictures.draw_mistakes(replace(run, predictions=none), tmp_path / "mistakes.png") is None
    assert not (tmp_path / "mistakes.png").exists()


def test_both_files_are_drawn_into_the_folder_of_the_run(folders):
    files = pictures.draw_pictures(folders / "two")
    assert [path.name for path in files] == ["learning_curve.png", "worst_mistakes.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files)
    assert json.loads((folders / "two" / "result.json").read_text())
