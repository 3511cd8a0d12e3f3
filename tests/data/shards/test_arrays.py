"""Shards of arrays: pairs of files, read by position."""

import numpy as np
import pytest

from neuroforge_jax.data.shards.arrays import RUN, ArrayBlocks, ArrayFile
from neuroforge_jax.errors import DataError


def pair(folder, name, rows, first=0):
    x = np.arange(first, first + rows, dtype=np.float64)[:, None] * [1.0, 2.0]
    np.save(folder / f"x-{name}.npy", x)
    np.save(folder / f"y-{name}.npy", np.arange(first, first + rows))
    return tuple(ArrayFile.open(folder / f"{part}-{name}.npy") for part in "xy")


def test_rows_of_several_files_are_read_in_runs_and_from_any_row_on(tmp_path):
    blocks = ArrayBlocks([pair(tmp_path, "0", RUN + 5), pair(tmp_path, "1", 40, RUN + 5)])
    assert blocks.rows.tolist() == [RUN, 5, 40]
    for unit, first in ((0, 0), (1, RUN), (2, RUN + 5)):
        for skip in (0, 3):
            parts = list(blocks.read(unit, skip))
            numbers = np.concatenate([y for _, (_, y) in parts])
            np.testing.assert_array_equal(numbers, np.arange(first + skip, first + blocks.rows[unit]))
            np.testing.assert_array_equal(np.concatenate([x for _, (x, _) in parts])[:, 1], 2.0 * numbers)
            assert parts[0][0].number == first + skip


def test_a_shard_that_changed_or_vanished_is_named(tmp_path):
    blocks = ArrayBlocks([pair(tmp_path, "0", 40)])
    np.save(tmp_path / "y-0.npy", np.arange(41))
    with pytest.raises(DataError, match=r"y-0\.npy: this shard changed"):
        list(blocks.read(0))
    (tmp_path / "x-0.npy").unlink()
    with pytest.raises(DataError, match=r"x-0\.npy: this shard cannot be read \(No such file"):
        list(blocks.read(0))


@pytest.mark.parametrize("array", [np.array(["a"]), np.asfortranarray(np.ones((3, 2))), np.ones(3, ">f8")])
def test_arrays_that_cannot_be_read_by_rows_are_refused(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(DataError, match=r"x\.npy: holds .*not read by rows"):
        ArrayFile.open(tmp_path / "x.npy")
