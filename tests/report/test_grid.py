"""The contact sheet: exact pixels, plain titles."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from neuroforge_jax.report.grid import draw_image_grid

pytestmark = pytest.mark.smoke


def drawn(tmp_path, images, titles=None, **options) -> np.ndarray:
    titles = [""] * len(images) if titles is None else titles
    path = draw_image_grid(images, titles, tmp_path / "grid.png", **options)
    return imread(path)[:, :, :3]


def test_every_pixel_becomes_a_crisp_square(tmp_path):
    image = np.array([[0, 255], [51, 0]], np.uint8)
    grey = drawn(tmp_path, image[None])[:, :, 0]
    rows, columns = np.nonzero(grey == 0)
    side = rows.max() - rows.min() + 1
    assert side == columns.max() - columns.min() + 1 == 56
    assert (grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] == 0).all()
    below = grey[rows.max() + 1 : rows.max() + 57, columns.min() - 56 : columns.min()]
    np.testing.assert_allclose(below, 0.8, atol=0.01)


def test_a_sheet_is_white_around_its_pictures(tmp_path):
    sheet = drawn(tmp_path, np.full((3, 8, 8), 16, np.uint8), columns=2)
    for edge in (sheet[0], sheet[-1], sheet[:, 0], sheet[:, -1]):
        assert (edge == 1).all()
    assert (sheet[-60:, -60:] == 1).all()  # the fourth place of two by two stays empty


def test_colours_are_shown_as_they_are(tmp_path):
    image = np.zeros((1, 2, 3, 3), np.uint8)
    image[0, 0, 0], image[0, 1, 2] = (255, 0, 0), (0, 51, 102)
    sheet = (drawn(tmp_path, image) * 255).round().astype(int).reshape(-1, 3).tolist()
    side = 37  # of a pixel
    assert sheet.count([255, 0, 0]) == sheet.count([0, 51, 102]) == side**2
    assert sheet.count([0, 0, 0]) == 4 * side**2


def test_uint8_and_float_give_the_same_sheet(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.uint8)
    images[0, 0, 0] = 0
    np.testing.assert_array_equal(drawn(tmp_path, images), drawn(tmp_path, images.astype(np.float32)))


def test_titles_are_words_and_never_formulas(tmp_path):
    images = np.zeros((1, 8, 8), np.uint8)
    plain = drawn(tmp_path, images)
    sheet = drawn(tmp_path, images, [r"$\frac{1$"])
    assert sheet.shape == plain.shape
    assert (sheet != plain).any()


def test_a_long_title_is_wrapped_and_makes_room(tmp_path):
    images = np.zeros((2, 8, 8), np.uint8)
    one, three = drawn(tmp_path, images, ["a", "b"]), drawn(tmp_path, images, ["a", "word " * 40])
    assert three.shape[0] > one.shape[0]
    assert three.shape[1] == one.shape[1]


def test_equal_sheets_are_equal_files(tmp_path):
    images = np.eye(8, dtype=np.uint8)[None]
    files = [
        draw_image_grid(images, ["a"], tmp_path / name, heading="A heading").read_bytes()
        for name in ("a", "b")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("images", [np.full((2, 4, 4), np.nan), np.ones((2, 4, 4)), np.ones((2, 300, 2))])
def test_odd_values_and_sizes_are_drawn(tmp_path, images):
    assert np.isfinite(drawn(tmp_path, images)).all()


def test_what_does_not_fit_is_refused(tmp_path):
    for images, titles in (
        (np.ones((2, 3)), ["a", "b"]),
        (np.ones((2, 3, 3)), ["a"]),
        (np.ones((0, 3, 3)), []),
    ):
        with pytest.raises(ValueError, match="titles for images"):
            draw_image_grid(images, titles, tmp_path / "grid.png")


def test_a_title_reads_from_left_to_right_and_a_character_that_the_font_lacks_is_no_warning(
    tmp_path, monkeypatch
):
    """Matplotlib read `שלום read as b` from right to left: what was read as what was exchanged."""
    written = []
    monkeypatch.setattr(Figure, "text", lambda self, x, y, text, **style: written.append(text))
    draw_image_grid(np.zeros((2, 4, 4)), ["שלום read as b", "b read as a"], tmp_path / "grid.png")
    assert written == ["\N{LEFT-TO-RIGHT MARK}שלום read as b", "b read as a"]
    monkeypatch.undo()
    draw_image_grid(np.zeros((1, 4, 4)), ["👍 read as 猫"], tmp_path / "grid.png")
