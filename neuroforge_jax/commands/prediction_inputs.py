"""What is to be predicted: which reader takes an input, and what names the rows of the answers."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from neuroforge_jax.commands.prediction_arrays import ARRAYS, read_arrays
from neuroforge_jax.commands.prediction_pictures import read_pictures
from neuroforge_jax.commands.prediction_pieces import Piece, Reading, RowNames
from neuroforge_jax.commands.prediction_tables import STANDARD_INPUT, read_table
from neuroforge_jax.config.endings import PICTURES
from neuroforge_jax.errors import ConfigError, DataError
from neuroforge_jax.model.model import FittedModel


def read_pieces(reading: Reading, sources: Sequence[str]) -> Iterator[Piece]:
    """Those of every input, a path, or - for a table from standard input. Raises DataError for one that is missing,
    damaged or not what the model takes.
    """
    for source in sources:
        if source != STANDARD_INPUT and not Path(source).expanduser().exists():
            raise DataError(f"{source}: no such file or folder")
    for source in sources:
        path = Path(source).expanduser()
        if _is_table(source):
            yield from read_table(reading, source)
        elif _is_of_pictures(path):
            yield from read_pictures(reading, path)
        else:
            yield from read_arrays(reading, path)


def choose_names(model: FittedModel, sources: Sequence[str], asked: str | None) -> RowNames:
    """What names the rows of these inputs. asked: the column that names those of tables, instead of the training's.
    Raises ConfigError where no input is a table.
    """
    several = len(sources) > 1
    if any(map(_is_table, sources)):
        trained = () if model.schema is None else model.schema.by_role("id")
        return RowNames(several, asked or next(iter(trained), None), asked is not None)
    if asked is not None:
        raise ConfigError(f"--id {asked} names a column of a table, and no input is one; leave it out")
    return RowNames(several, only_files=all(_is_of_pictures(Path(source).expanduser()) for source in sources))


def _is_table(source: str) -> bool:
    path = Path(source).expanduser()
    return source == STANDARD_INPUT or not (_is_of_pictures(path) or path.suffix.lower() in ARRAYS)


def _is_of_pictures(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() in PICTURES
