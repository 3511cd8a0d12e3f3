"""A picture from anywhere made like those that a network was trained on.

MNIST's digits lie light on dark within 20 of 28 pixels, centred by their mass (LeCun et al., 1998); Fashion-MNIST's
clothes fill all 28, centred by their outline; photographs have no background at all. Which of it holds is measured
from the training pictures and not assumed, and a drawing of any size is then treated as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

Pixels = UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]

SAMPLE = 500
"""Training pictures that are measured."""

NEAR = 0.1
"""Share of the range of levels within which a level counts as the background."""

UNIFORM = 0.6
"""Share of the border that must be near one level for that to be a background."""

FINER = 8
"""How many times larger than wanted a picture may be where its ink is looked for: what is finer is noise."""


def are_pictures(shape: Sequence[int]) -> bool:
    """Whether samples of this shape are drawn as pictures: (H, W), or (H, W, 3) for colour."""
    return len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)


@dataclass(frozen=True, eq=False)
class Picture:
    """Grey levels [H, W], or red, green and blue [H, W, 3]; and what was done to make it so, in words."""

    pixels: Pixels
    changes: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """Its width × its height, as people say it."""
        height, width = self.pixels.shape[:2]
        return f"{width} × {height}"


@dataclass(frozen=True)
class PictureStyle:
    """How the pictures of a training set look.

    shape: (H, W), or (H, W, 3) for colour. background, ink: the level that surrounds them and the one farthest from
    it; None where nothing surrounds them. box: the longest side of what is drawn, in pixels; None where that
    varies. centre: the row and column of its middle. by_mass: whether that is its centre of mass, or else of its
    outline. full: whether each reaches the level of the ink.
    """

    shape: tuple[int, ...]
    background: int | None = None
    ink: int | None = None
    box: int | None = None
    centre: tuple[float, float] = (0.0, 0.0)
    by_mass: bool = False
    full: bool = False


def measure_style(pictures: UInt8[np.ndarray, "N H W"] | UInt8[np.ndarray, "N H W 3"]) -> PictureStyle:
    """How training pictures look; of colour ones, and where the border shows no one level, the shape alone."""
    shape = tuple(int(side) for side in pictures.shape[1:])
    x = pictures[:: -(-len(pictures) // SAMPLE)].astype(np.float64)
    low, high = float(x.min()), float(x.max())
    near = NEAR * (high - low)
    if x.ndim == 4 or high == low:
        return PictureStyle(shape)
    border = np.stack([_border(picture) for picture in x])
    background = float(np.median(border))
    if (np.abs(border - background) <= near).mean() < UNIFORM:
        return PictureStyle(shape)
    ink = low if background - low > high - background else high
    drawn = np.clip((x - background) / (ink - background), 0, 1)
    drawn = drawn[(drawn > NEAR).any(axis=(1, 2))]
    style = PictureStyle(
        shape, round(background), round(ink), full=bool(_low(drawn.max(axis=(1, 2))) > 1 - NEAR)
    )
    boxes = np.array([_outline(picture > NEAR) for picture in drawn])
    longest = (boxes[:, 1] - boxes[:, 0]).max(axis=1)
    if longest.max() - _low(longest) > NEAR * max(shape):
        return style
    masses, middles = np.array([_mass(picture) for picture in drawn]), (boxes[:, 0] + boxes[:, 1] - 1) / 2
    by_mass = bool(masses.std(axis=0).sum() < middles.std(axis=0).sum())
    row, column = (masses if by_mass else middles).mean(axis=0).tolist()
    return replace(style, box=int(np.median(longest)), centre=(row, column), by_mass=by_mass)


def prepare_picture(picture: Picture, style: PictureStyle) -> Picture:
    """The picture in the shape and the look of a training set: uint8 of `style.shape`, with what was done.

    Where the training set has a background: made grey, inverted where its own background is on the other side,
    cut to what is drawn, scaled to the box and centred as they are; else resized. One that has their shape and
    their background is left as it is.
    """
    height, width = style.shape[:2]
    pixels, changes = picture.pixels, list(picture.changes)
    if pixels.shape == style.shape and _has_background(pixels, style):
        return picture
    if len(style.shape) == 3:
        pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    elif pixels.ndim == 3:
        pixels = _resize(pixels, mode="L")
        changes.append("made grey")
    if style.background is None or style.ink is None:
        changes.append(f"resized from {picture.size} to {width} × {height}")
        return Picture(_resize(pixels, (width, height)), tuple(changes))
    drawn, said = _drawn(pixels, style)
    changes += said
    if style.box is None:
        changes.append(f"resized from {picture.size} to {width} × {height}")
        placed = _scale(drawn, (width, height))
    else:
        placed, said = _place(drawn, style)
        changes += said
    levels = style.background + placed * (style.ink - style.background)
    return Picture(levels.round().clip(0, 255).astype(np.uint8), tuple(changes))


def _has_background(pixels: Pixels, style: PictureStyle) -> bool:
    if style.background is None or style.ink is None:
        return True
    away = abs(float(np.median(_border(pixels))) - style.background)
    return away <= NEAR * abs(style.ink - style.background)


def _drawn(pixels: Pixels, style: PictureStyle) -> tuple[np.ndarray, list[str]]:
    """What is drawn, from 0 (the background) to 1, and in words what was done for that."""
    assert style.background is not None
    assert style.ink is not None
    values = pixels.astype(np.float64)
    background = float(np.median(_border(values)))
    said = []
    if (background > 127.5) == (style.ink > style.background):
        values, background = 255 - values, 255 - background
        said.append("inverted")
    if style.ink < style.background:
        values, background = 255 - values, 255 - background
    drawn = np.clip(values - background, 0, None)
    peak = float(drawn.max())
    if style.full and 0 < peak < 255 * (1 - NEAR):
        said.append("contrast raised")
    return drawn / ((peak or 1.0) if style.full else 255.0), said


def _place(drawn: np.ndarray, style: PictureStyle) -> tuple[np.ndarray, list[str]]:
    """What is drawn, cut out, scaled to the box of the style, and put where it lies there."""
    assert style.box is not None
    placed = np.zeros(style.shape)
    # A picture that is much larger is made smaller before its ink is looked for, so that a speck is none.
    factor = max(1, max(drawn.shape) // (FINER * max(style.shape)))
    small = (
        _scale(drawn, (-(-drawn.shape[1] // factor), -(-drawn.shape[0] // factor))) if factor > 1 else drawn
    )
    mask = small > NEAR * max(float(small.max()), NEAR)
    if not mask.any():
        return placed, ["nothing is drawn on it"]
    (top, left), (bottom, right) = _outline(mask)
    cut = small[top:bottom, left:right]
    ratio = style.box / max(cut.shape)
    height, width = (
        min(max(1, round(side * ratio)), limit) for side, limit in zip(cut.shape, style.shape, strict=True)
    )
    scaled = _scale(cut, (width, height))
    if style.full:
        scaled = scaled / scaled.max()
    own = _mass(scaled) if style.by_mass else ((height - 1) / 2, (width - 1) / 2)
    row, column = (
        min(max(round(centre - middle), 0), limit - side)
        for centre, middle, limit, side in zip(style.centre, own, style.shape, scaled.shape, strict=True)
    )
    placed[row : row + height, column : column + width] = scaled
    how = "its mass" if style.by_mass else "its outline"
    return placed, [f"cut to what is drawn, scaled to {width} × {height} and centred by {how}"]


def _border(picture: np.ndarray) -> np.ndarray:
    """The pixels around a picture [H, W]."""
    return np.concatenate([picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]])


def _low(values: np.ndarray) -> float:
    """All but the lowest twentieth are above it."""
    return float(np.quantile(values, 0.05))


def _outline(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first row and column of what is true, and those after the last."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    return (int(rows[0]), int(columns[0])), (int(rows[-1]) + 1, int(columns[-1]) + 1)


def _mass(picture: np.ndarray) -> tuple[float, float]:
    """The row and column of the centre of mass."""
    total = float(picture.sum())
    rows = picture.sum(axis=1) @ np.arange(picture.shape[0])
    columns = picture.sum(axis=0) @ np.arange(picture.shape[1])
    return float(rows) / total, float(columns) / total


def _scale(levels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Levels [H, W] from 0 to 1 in another (width, height), averaged over what a pixel covers."""
    from PIL import Image

    image = Image.fromarray(levels.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.HAMMING), np.float64).clip(0, None)


def _resize(pixels: Pixels, size: tuple[int, int] | None = None, mode: str | None = None) -> Pixels:
    """Bytes in another (width, height), or as another of Pillow's modes."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    return np.asarray(image if size is None else image.resize(size, Image.Resampling.BILINEAR))
