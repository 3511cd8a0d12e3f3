"""A folder of pictures by class: what becomes of every kind of picture, and what is wrong with a folder."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.readers import images
from neuroforge_jax.data.readers.images import read_picture
from neuroforge_jax.data.readers.picture_folders import load_pictures
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6) * 8
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)


def write(path: Path, pixels: np.ndarray = GREY, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def picture_bytes(pixels: np.ndarray = GREY, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten pictures of each of two classes; the level of the first pixel is the number of the picture."""
    for label, name in enumerate(("cats", "dogs")):
        for index in range(10):
            pixels = GREY.copy()
            pixels[0, 0] = 10 * label + index
            write(tmp_path / "pets" / name / f"{index}.png", pixels)
    return tmp_path / "pets"


def complaint(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_pictures(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_is_split_class_by_class_and_every_picture_has_its_class(folder):
    data = load_dataset(str(folder))
    assert (data.name, data.classes, data.shape) == ("pets", ("cats", "dogs"), (5, 6))
    assert data.origin == "20 grey pictures of 2 classes; fixed 80/20 split"
    for split, each in ((data.train, 8), (data.test, 2)):
        assert np.bincount(split.targets).tolist() == [each, each]
        np.testing.assert_array_equal(split.inputs[:, 0] // 10, split.targets)
        np.testing.assert_array_equal(split.inputs[:, 1:], np.tile(GREY.ravel()[1:], (len(split), 1)))
    assert set(data.train.inputs[:, 0]) | set(data.test.inputs[:, 0]) == set(range(20))


@pytest.mark.parametrize("validation", ["val", "validation", None])
def test_a_split_of_the_folder_itself_is_kept(tmp_path, validation):
    for part, count in (("train", 3), ("test", 2), *([(validation, 1)] if validation else [])):
        for name in ("b", "a"):
            for index in range(count):
                write(tmp_path / part / name / f"{index}.JPEG", format="JPEG")
    data = load_pictures(tmp_path)
    assert (len(data.train), len(data.test), data.classes) == (6, 4, ("a", "b"))
    assert (data.validation and len(data.validation)) == (2 if validation else None)
    assert "their own split" in data.origin


def test_training_pictures_alone_are_split_and_pictures_of_trains_are_a_class(folder, tmp_path):
    (tmp_path / "outer").mkdir()
    folder.rename(tmp_path / "outer" / "train")
    assert len(load_pictures(tmp_path / "outer").test) == 4
    (tmp_path / "outer" / "train" / "dogs").rename(tmp_path / "outer" / "train" / "train")
    assert load_pictures(tmp_path / "outer" / "train").classes == ("cats", "train")


def test_where_one_picture_has_colour_all_are_colour_and_it_is_said(folder):
    write(folder / "dogs" / "x.png", COLOUR)
    write(folder / "cats" / "rgb but grey.png", np.repeat(GREY[..., None], 3, axis=-1))
    data = load_pictures(folder)
    assert data.shape == (5, 6, 3)
    assert "22 colour pictures" in data.origin
    assert "21 grey ones among them are taken as colour" in data.origin
    rows = np.concatenate([data.train.inputs, data.test.inputs]).reshape(-1, 5, 6, 3)
    in_colour = [row for row in rows if (row != row[..., :1]).any()]
    np.testing.assert_array_equal(in_colour, [COLOUR])


ALPHA = np.dstack([COLOUR, np.where(GREY > 100, 255, 0).astype(np.uint8)])


@pytest.mark.parametrize(
    ("make", "expected", "said"),
    [
        (lambda: Image.fromarray(GREY > 100), np.where(GREY > 100, 255, 0), ()),
        (lambda: Image.fromarray(GREY.astype(np.uint16) * 257), GREY, ("16 bits a level cut to 8",)),
        (lambda: Image.fromarray(COLOUR).quantize(), COLOUR, ("colours looked up in its palette",)),
        (
            lambda: Image.fromarray(ALPHA),
            np.where(GREY[..., None] > 100, COLOUR, 255),
            ("transparency put on white",),
        ),
        (lambda: Image.fromarray(np.dstack([COLOUR, np.full_like(GREY, 255)])), COLOUR, ()),
        (lambda: Image.merge("LA", [Image.fromarray(GREY)] * 2), None, ("transparency put on white",)),
    ],
    ids=["1 bit", "16 bits", "palette", "transparent", "opaque", "grey and transparent"],
)
def test_every_kind_of_png_becomes_bytes_and_what_was_done_is_said(make, expected, said, tmp_path):
    make().save(tmp_path / "x.png")
    picture = read_picture(tmp_path / "x.png")
    if expected is None:
        levels = GREY.astype(float)
        expected = np.round(255 - (255 - levels) * levels / 255)
    assert np.abs(picture.pixels.astype(int) - expected).max() <= 1
    assert (picture.changes, picture.pixels.dtype) == (said, np.uint8)


def test_16_bit_colours_are_told_too(tmp_path):
    rows = b"".join(b"\0" + row.tobytes() for row in (COLOUR.astype(">u2") * 257))
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 6, 5, 16, 2, 0, 0, 0), b"IDAT" + zlib.compress(rows), b"IEND")
    body = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    picture = read_picture(tmp_path / "x.png")
    np.testing.assert_array_equal(picture.pixels, COLOUR)
    assert picture.changes == ("16 bits a level cut to 8",)


def test_a_photograph_is_turned_as_the_camera_says_and_printing_colours_are_screen_colours(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth = np.tile(np.linspace(0, 248, 16).astype(np.uint8), (24, 1))
    turned = read_picture(write(tmp_path / "x.jpg", smooth, exif=exif, quality=95))
    assert (turned.changes, turned.size) == (("turned as the camera says",), "24 × 16")
    assert np.abs(turned.pixels - np.rot90(smooth, -1).astype(int)).max() < 8
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg")
    red = read_picture(tmp_path / "print.jpg")
    assert red.changes == ("printing colours made screen colours",)
    assert red.pixels[0, 0, 0] > 200 > 60 > red.pixels[0, 0, 1:].max()


def test_a_name_says_nothing_of_the_format(tmp_path):
    (tmp_path / "x.png").write_bytes(picture_bytes(kind="JPEG"))
    assert read_picture(tmp_path / "x.png").pixels.shape == (5, 6)


def test_sizes_that_differ_are_named_with_both(folder):
    write(folder / "dogs" / "a.png", np.zeros((6, 5), np.uint8))
    message = complaint(folder)
    assert "a.png: has 5 × 6 pixels, and" in message
    assert "0.png has 6 × 5; all must have one size: resize or crop them first" in message


DAMAGES = {
    "empty": (b"", "no PNG or JPEG picture (the file is empty)"),
    "text": (b"<html>", "no PNG or JPEG picture (it starts with 3c 68 74 6d)"),
    "gif": (b"GIF89a" + bytes(40), "no PNG or JPEG picture (it starts with 47 49 46 38)"),
    "cut": (picture_bytes(np.random.default_rng(0).integers(0, 256, (50, 60), np.uint8))[:1500], "cut short"),
    "cut jpeg": (picture_bytes(COLOUR, "JPEG")[:-40], "cut short or damaged"),
    "header": (picture_bytes()[:20], "cut short or damaged"),
    "flipped": (picture_bytes()[:-20] + b"\xff" + picture_bytes()[-19:], "cut short or damaged"),
    "bomb": (
        b"\x89PNG\r\n\x1a\n" + (ihdr := b"\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0))
        + struct.pack(">I", zlib.crc32(ihdr[4:])) + picture_bytes()[33:],
        "claims 60,000 × 60,000 pixels, more than the 89,478,485 that are ever read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_no_whole_picture_is_named(damage, folder):
    content, fact = DAMAGES[damage]
    (folder / "dogs" / "7.png").write_bytes(content)
    message = complaint(folder)
    assert f"{folder / 'dogs' / '7.png'}: " in message
    assert fact in message


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=60), kind=st.sampled_from(["PNG", "JPEG"]), at=st.integers(0, 10**6))
def test_any_bytes_are_a_picture_or_one_line(content, kind, at, tmp_path_factory):
    whole = picture_bytes(COLOUR, kind)
    place = at % len(whole)
    path = tmp_path_factory.getbasetemp() / "fuzz.png"
    path.write_bytes(whole[:place] + content + whole[place + len(content) :])
    try:
        assert read_picture(path).pixels.dtype == np.uint8
    except DataError as error:
        assert str(error).count("\n") == 0
        assert path.name in str(error)


def test_what_file_managers_leave_is_ignored_and_other_files_are_named(folder):
    for name in (".DS_Store", "Thumbs.db", "dogs/desktop.ini", "dogs/._1.png", ".git/config"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert "left out" not in load_pictures(folder).origin
    for name in ("notes.txt", "cats/a.gif", "dogs/more/1.png", "dogs/z.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    data = load_pictures(folder)
    assert (
        "; left out notes.txt, cats/a.gif, dogs/more and 1 more, which are no pictures of a class"
        in data.origin
    )
    assert len(data.train) == 16


def test_links_that_lead_nowhere_in_circles_or_to_a_pipe_are_told(folder):
    (folder / "round").symlink_to(folder)
    assert "round: is a link to a folder that it lies in; remove it" in complaint(folder)
    (folder / "round").unlink()
    loop = folder / "cats" / "loop.png"
    loop.symlink_to(loop)
    assert "loop.png: cannot be read (Too many levels of symbolic links)" in complaint(folder)
    loop.unlink()
    loop.symlink_to(folder / "gone.png")
    assert "loop.png: cannot be read (No such file or directory)" in complaint(folder)
    loop.unlink()
    os.mkfifo(loop)
    assert "loop.png: is no file; remove it" in complaint(folder)


def test_folders_that_cannot_be_learnt_from_are_one_line_each(folder):
    (folder / "birds").mkdir()
    assert "class birds has no training picture; put some into its folder, or remove it" in complaint(folder)
    (folder / "birds").rmdir()
    write(folder / "loose.PNG")
    assert "loose.PNG: lies in no folder of a class" in complaint(folder)
    (folder / "loose.PNG").unlink()
    outer = folder.parent / "outer"
    (outer / "test" / "cats").mkdir(parents=True)
    (outer / "train").mkdir()
    (folder / "cats").rename(outer / "train" / "cats")
    assert "training pictures of one class only, cats;" in complaint(outer)
    (folder / "dogs").rename(outer / "train" / "dogs")
    assert "its test folder holds no pictures; fill or remove it" in complaint(outer)
    write(outer / "test" / "cows" / "1.png")
    assert "test class cows is no class of the training pictures; those are cats, dogs" in complaint(outer)
    (outer / "val").mkdir()
    (outer / "validation").mkdir()
    assert "val and validation both hold validation data" in complaint(outer)


def test_a_class_of_one_picture_cannot_be_tested_and_is_trained_on(folder):
    write(folder / "birds" / "1.png")
    data = load_pictures(folder)
    assert np.bincount(data.train.targets, minlength=3).tolist() == [1, 8, 8]


def test_pictures_larger_than_the_memory_are_refused_before_they_are_read(folder, monkeypatch):
    from neuroforge_jax.system import memory

    monkeypatch.setattr(memory, "memory", lambda: memory.Memory(1000, 599, None))
    assert "20 pictures of 6 × 5 take 600 B, and 599 B of memory are free" in complaint(folder)


def test_names_of_any_bytes_are_names_of_classes(folder):
    (folder / "cats").rename(os.fsdecode(os.fsencode(folder) + b"/cat\xff"))
    assert load_pictures(folder).classes == ("cat\N{REPLACEMENT CHARACTER}", "dogs")


def test_a_picture_that_changes_while_it_is_read_is_named(folder, monkeypatch):
    def decode_and_touch(path, file):
        with path.open("ab") as other:
            other.write(b"x")
        return decode(path, file)

    decode = images._decode
    monkeypatch.setattr(images, "_decode", decode_and_touch)
    assert "0.png: changed while it was read; try again when nothing writes to it" in complaint(folder)
