"""Pictures that are to be predicted, of any size, made like those of the training."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neuroforge_jax.commands.prediction_pieces import Piece, Reading
from neuroforge_jax.config.endings import PICTURES
from neuroforge_jax.data.targets import Targets
from neuroforge_jax.errors import DataError

AT_ONCE = 1024
"""Pictures of a piece."""


def read_pictures(reading: Reading, path: Path) -> Iterator[Piece]:
    """The pieces of a picture, or of all pictures in a folder."""
    from neuroforge_jax.data.pictures import prepare_picture
    from neuroforge_jax.data.readers.images import find_pictures, read_picture

    style = reading.model.measure_style()
    if style is None:
        raise DataError(f"{path}: the model was not trained on pictures; give it a table or an array")
    files = [path] if path.is_file() else find_pictures(path)
    if not files:
        raise DataError(f"{path}: holds no pictures ({', '.join(PICTURES)})")
    changes: Counter[str] = Counter()
    for first in range(0, len(files), AT_ONCE):
        chosen = files[first : first + AT_ONCE]
        pictures = [prepare_picture(read_picture(file), style) for file in chosen]
        changes.update("; ".join(picture.changes) for picture in pictures)
        inputs = np.stack([picture.pixels for picture in pictures]).reshape(len(pictures), -1)
        names = reading.names.describe(list(map(str, chosen)), first)
        yield Piece(names, inputs, _classes_of_folders(reading.model.classes, path, chosen))
    for change, count in changes.items():
        if change:
            reading.notes.add(f"{path}: {count:,} picture{'s' if count > 1 else ''}: {change}")


def _classes_of_folders(classes: Sequence[str], path: Path, files: Sequence[Path]) -> Targets:
    """What is right of pictures that lie, below the folder that was given, in one of a class each."""
    place = {name: at for at, name in enumerate(classes)}
    return np.array(
        [place.get(file.parent.name, -1) if file.parent != path else -1 for file in files], np.int32
    )
