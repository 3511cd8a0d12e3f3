"""Pictures made like those of a training set: drawings of MNIST's own digits come out as they were."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuroforge_jax.data.pictures import Picture, PictureStyle, are_pictures, measure_style, prepare_picture
from neuroforge_jax.data.readers.idx import read_idx

pytestmark = pytest.mark.smoke

MNIST_STYLE = PictureStyle((28, 28), 0, 255, box=20, centre=(14.0, 14.0), by_mass=True, full=True)


def made_as_mnist_was(rng: np.random.Generator) -> np.ndarray:
    """A picture of strokes as MNIST has them: the longer side of its ink 20, centred by its mass."""
    while True:
        canvas = np.zeros((80, 80))
        height, width = 80, int(rng.integers(30, 81))
        points = np.cumsum(rng.normal(0, 1, (200, 2)), axis=0)
        points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
        rows = (points[:, 0] * (height - 8)).astype(int)
        columns = (points[:, 1] * (width - 8)).astype(int)
        for row, column in zip(rows, columns, strict=True):
            canvas[row : row + 8, column : column + 8] = 1
        small = canvas[:height, : width // 4 * 4].reshape(20, 4, -1, 4).mean(axis=(1, 3))
        small /= small.max()
        mass = [
            (small.sum(axis=1 - axis) @ np.arange(side)) / small.sum()
            for axis, side in enumerate(small.shape)
        ]
        at = [round(14 - middle) for middle in mass]
        if min(at) >= 0 and at[0] + 20 <= 28 and at[1] + small.shape[1] <= 28:
            break
    picture = np.zeros((28, 28))
    picture[at[0] : at[0] + 20, at[1] : at[1] + small.shape[1]] = small
    return (picture * 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def drawings() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([made_as_mnist_was(rng) for _ in range(60)])


def draw_large(
    original: np.ndarray, rng: np.random.Generator, *, times: int = 11, light: bool = True
) -> np.ndarray:
    """It, drawn large in black on a white page of another shape, somewhere (or in white on black)."""
    big = Image.fromarray(255 - original).resize((28 * times, 28 * times), Image.Resampling.BICUBIC)
    page = Image.new("RGB", (28 * times + 170, 28 * times + 40), "white")
    page.paste(big, (int(rng.integers(0, 170)), int(rng.integers(0, 40))))
    pixels = np.asarray(page)
    return pixels if light else 255 - pixels


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Of two pictures, as a share of the ink; up to one pixel apart, for a centre may lie between two."""
    shifts = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    apart = min(np.abs(np.roll(one, shift, (0, 1)).astype(int) - other).sum() for shift in shifts)
    return float(apart) / float(other.astype(int).sum())


def test_the_style_of_mnist_is_measured(drawings):
    style = measure_style(drawings)
    assert (style.background, style.ink, style.box, style.by_mass, style.full) == (0, 255, 20, True, True)
    np.testing.assert_allclose(style.centre, 14, atol=0.2)


@pytest.mark.parametrize("light", [True, False])
def test_a_digit_drawn_large_on_a_page_is_the_original_again(drawings, light):
    rng, style = np.random.default_rng(1), measure_style(drawings)
    made = [prepare_picture(Picture(draw_large(picture, rng, light=light)), style) for picture in drawings]
    apart = [distance(found.pixels, picture) for found, picture in zip(made, drawings, strict=True)]
    assert np.median(apart) < 0.25  # blank pictures are 1.0 apart, two of these 1.4
    assert max(apart) < 0.5
    unmoved = [np.abs(a.pixels.astype(int) - b).mean() for a, b in zip(made, drawings, strict=True)]
    assert np.median(unmoved) < 12
    assert all(found.pixels.shape == (28, 28) and found.pixels.max() == 255 for found in made)
    assert made[0].changes[:2] == (("made grey", "inverted") if light else ("made grey", made[0].changes[1]))
    assert ("inverted" in made[0].changes) == light
    assert "scaled to" in made[0].changes[-1]
    assert made[0].changes[-1].endswith("× 20 and centred by its mass")


@pytest.mark.skipif("NEUROFORGE_DATA_DIR" not in os.environ, reason="NEUROFORGE_DATA_DIR is not set")
def test_the_real_digits_too():
    digits = read_idx(Path(os.environ["NEUROFORGE_DATA_DIR"]) / "mnist" / "t10k-images-idx3-ubyte.gz")
    rng, style = np.random.default_rng(0), measure_style(digits)
    assert (style.background, style.ink, style.box, style.by_mass, style.full) == (0, 255, 20, True, True)
    made = [prepare_picture(Picture(draw_large(digit, rng)), style) for digit in digits[:60]]
    apart = [distance(found.pixels, digit) for found, digit in zip(made, digits, strict=False)]
    assert np.median(apart) < 0.25
    assert max(apart) < 0.5


def test_noise_of_the_paper_and_a_pale_pen_do_not_matter(drawings):
    rng = np.random.default_rng(2)
    clean = draw_large(drawings[0], np.random.default_rng(3)).astype(float)
    pale = 230 - (255 - clean) * 0.5 + rng.normal(0, 3, clean.shape)
    found = prepare_picture(Picture(pale.clip(0, 255).astype(np.uint8)), MNIST_STYLE)
    wanted = prepare_picture(Picture(clean.astype(np.uint8)), MNIST_STYLE)
    assert distance(found.pixels, wanted.pixels) < 0.2
    assert "contrast raised" in found.changes


def test_one_of_the_set_itself_is_left_as_it_is(drawings):
    own = Picture(drawings[0])
    assert prepare_picture(own, measure_style(drawings)) is own
    again = prepare_picture(
        Picture(255 - drawings[0]), measure_style(drawings)
    )  # saved with its colours reversed
    assert distance(again.pixels, drawings[0]) < 0.1


def test_a_blank_page_is_told_and_is_background():
    found = prepare_picture(Picture(np.full((50, 60), 255, np.uint8)), MNIST_STYLE)
    assert not found.pixels.any()
    assert found.changes == ("inverted", "nothing is drawn on it")


def test_a_dark_set_on_light_paper_keeps_its_side(drawings):
    style = measure_style(255 - drawings)
    assert (style.background, style.ink) == (255, 0)
    page = draw_large(drawings[0], np.random.default_rng(0))
    found = prepare_picture(Picture(page), style)
    dark = prepare_picture(Picture(page), MNIST_STYLE)
    assert "inverted" not in found.changes
    assert distance(255 - found.pixels, dark.pixels) < 0.02


def test_pictures_that_fill_the_frame_are_centred_by_their_outline():
    rng = np.random.default_rng(0)
    clothes = np.zeros((50, 28, 28), np.uint8)
    for picture in clothes:
        half = int(rng.integers(4, 12))
        picture[:, 14 - half : 14 + half] = rng.integers(120, 250)
    style = measure_style(clothes)
    assert (style.box, style.by_mass, style.full) == (28, False, False)
    page = np.full((300, 200), 255, np.uint8)
    page[40:240, 100:180] = 100
    found = prepare_picture(Picture(page), style)
    assert found.changes == ("inverted", "cut to what is drawn, scaled to 11 × 28 and centred by its outline")
    assert set(np.unique(found.pixels)) == {0, round(155 * style.ink / 255)}


def test_photographs_are_resized_and_no_more():
    rng = np.random.default_rng(0)
    photographs = rng.integers(0, 256, (40, 12, 16), np.uint8)
    style = measure_style(photographs)
    assert style == PictureStyle((12, 16))
    found = prepare_picture(Picture(np.full((24, 64, 3), (0, 255, 0), np.uint8)), style)
    assert found.changes == ("made grey", "resized from 64 × 24 to 16 × 12")
    assert (found.pixels == 150).all()
    as_they_are = Picture(photographs[0])
    assert prepare_picture(as_they_are, style) is as_they_are


def test_colour_stays_colour_and_grey_becomes_it():
    style = measure_style(np.zeros((3, 4, 4, 3), np.uint8))
    found = prepare_picture(Picture(np.full((8, 8), 77, np.uint8), ("16 bits a level cut to 8",)), style)
    assert found.changes == ("16 bits a level cut to 8", "resized from 8 × 8 to 4 × 4")
    assert (found.pixels == 77).all()
    assert found.pixels.shape == (4, 4, 3)


def test_what_is_a_picture():
    assert are_pictures((28, 28))
    assert are_pictures((8, 9, 3))
    assert not any(map(are_pictures, [(), (5,), (2, 3, 4), (2, 3, 4, 3)]))
