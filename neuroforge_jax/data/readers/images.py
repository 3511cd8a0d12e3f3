"""One picture from a PNG or JPEG file, as bytes, and where the pictures of a folder lie.

Whether a file is a PNG or a JPEG is told by its first bytes and not by its name.
"""

import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from neuroforge_jax.config.endings import PICTURES
from neuroforge_jax.data.pictures import Picture
from neuroforge_jax.data.readers.changes import refuse_changes
from neuroforge_jax.errors import DataError

IGNORED = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
"""What file managers leave behind, beside names with a full stop in front."""

MOST_PIXELS = 89_478_485
"""Of one picture, Pillow's own limit: a file of a few bytes can claim to be larger than the memory."""

READERS = {b"\x89PNG\r\n\x1a\n": PngImageFile, b"\xff\xd8\xff": JpegImageFile}
"""The first bytes of a file → what decodes it; the many other formats that Pillow knows are not tried."""


def find_pictures(folder: Path) -> list[Path]:
    """Every picture in a folder and those below it, by name; links to folders are not followed."""
    found: list[Path] = []
    for path in list_folder(folder):
        if path.is_dir() and not path.is_symlink():
            found += find_pictures(path)
        elif is_picture(path):
            found.append(path)
    return found


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, by name; what is hidden or a file manager's left out."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from None
    return [path for path in paths if path.name[0] != "." and path.name.lower() not in IGNORED]


def is_picture(path: Path) -> bool:
    """Whether the name of a file says that it is a picture."""
    return path.suffix.lower() in PICTURES and not path.is_dir()


def read_picture(path: Path) -> Picture:
    """One PNG or JPEG file as bytes: turned as its camera says, 16 bits a level cut to 8, transparency on white.

    Raises DataError for a file that cannot be read, is no such picture, is cut short, or claims too many pixels.
    """
    try:
        with refuse_changes(path), _open_regular(path) as file:
            return _decode(path, file)
    except DataError:
        raise
    except OSError as error:
        if error.errno is None:  # Pillow's own: it says so of a file that ends too soon
            raise DataError(_explain_damage(path, error)) from None
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a dozen kinds, from zlib, struct and Pillow's own parsers
        raise DataError(_explain_damage(path, error)) from None


def _explain_damage(path: Path, error: Exception) -> str:
    return f"{path}: is cut short or damaged ({str(error) or type(error).__name__}); replace or remove it"


def _open_regular(path: Path) -> BinaryIO:
    # A pipe that nobody writes to would be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DataError(f"{path}: is no file; remove it")
    return os.fdopen(descriptor, "rb")


def _decode(path: Path, file: BinaryIO) -> Picture:
    start = file.read(8)
    file.seek(0)
    reader = next((kind for mark, kind in READERS.items() if start.startswith(mark)), None)
    if reader is None:
        what = f"it starts with {start[:4].hex(' ')}" if start else "the file is empty"
        raise DataError(f"{path}: is no PNG or JPEG picture ({what}); replace or remove it")
    with reader(file) as image:
        width, height = image.size
        if width * height > MOST_PIXELS:
            raise DataError(
                f"{path}: claims {width:,} × {height:,} pixels, more than the {MOST_PIXELS:,} that are ever read; "
                "make it smaller or remove it"
            )
        deep = image.mode.startswith("I") or any("16" in str(tile.args) for tile in image.tile)
        image.load()
        return _to_bytes(image, deep=deep)


def _to_bytes(image: Image.Image, *, deep: bool) -> Picture:
    """What Pillow has decoded as grey levels, or as colours where there are any. deep: 16 bits a level."""
    changes = ["16 bits a level cut to 8"] if deep else []
    if image.getexif().get(0x0112, 1) != 1:
        image = ImageOps.exif_transpose(image)
        changes.append("turned as the camera says")
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        return Picture((levels.clip(0, 65535) // 256).astype(np.uint8), tuple(changes))
    if image.mode == "P":
        changes.append("colours looked up in its palette")
    if image.mode == "CMYK":
        changes.append("printing colours made screen colours")
    if "transparency" in image.info or image.mode in ("LA", "PA", "RGBA"):
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            changes.append("transparency put on white")
    if image.mode in ("1", "L", "LA"):
        return Picture(np.asarray(image.convert("L")), tuple(changes))
    pixels = np.asarray(image.convert("RGB"))
    grey = pixels[..., 0]
    if (grey == pixels[..., 1]).all() and (grey == pixels[..., 2]).all():
        pixels = grey
    return Picture(pixels, tuple(changes))
