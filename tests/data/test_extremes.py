"""CASES 12: fill values and slips are told with their row, and a run with them ends well."""

import json

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.extremes import find_extremes
from neuroforge_jax.errors import DataError
from tests.tiers import with_further

CONFIG = nf.TrainConfig(hidden=(8,), batch_size=32, epochs=1, backend="optimized")


def make_rows(count=120) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 2))
    return np.column_stack([x, 3 * x[:, 0] + x[:, 1]])


def write(path, rows) -> str:
    path.write_text("a,b,y\n" + "\n".join(",".join(map(repr, row)) for row in rows.tolist()) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("part", "column", "value"),
    with_further([("test", 2, 1e20)], [("validation", 2, -1e20), ("test", 0, 1e30)]),
)
def test_an_extreme_outside_of_training_is_told_with_its_row_and_the_run_ends_well(
    tmp_path, part, column, value
):
    """A target of 1e20 ended in an AssertionError after the training, or in NaN in the JSON."""
    others = make_rows(40)
    others[17, column] = value
    train, other = write(tmp_path / "train.csv", make_rows()), write(tmp_path / "other.csv", others)
    dataset = nf.load_dataset(train, **{part: other})
    (told,) = [note for note in dataset.notes if "interquartile" in note]
    assert f"'{'aby'[column]}' of {other} row 18 is {value:g}, more than 1,000" in told
    if column == 0:
        return
    result = nf.fit(
        CONFIG, dataset, nf.RunOptions(run_dir=tmp_path / "run"), callbacks=[nf.Report()] * (part == "test")
    )
    assert np.isfinite(result.history[-1]["train_loss"])

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    for path in (tmp_path / "run").rglob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            json.loads(line, parse_constant=refuse)


def test_an_extreme_in_training_is_told_with_its_row_in_the_file_and_those_of_arrays_too(tmp_path):
    rows = make_rows()
    rows[57, 2], rows[90, 2] = 1e20, np.nan
    data = nf.load_dataset(write(tmp_path / "t.csv", rows))
    assert any("'y' of" in note and "t.csv row 58 is 1e+20" in note for note in data.notes)
    whole = np.delete(rows, 90, axis=0)
    arrays = nf.Dataset.from_arrays(whole[:, :2], whole[:, 2], whole[:9, :2], whole[:9, 2] + 1e12)
    assert [note.split(",")[0] for note in arrays.notes] == [
        "target 0 of training sample 57 is 1e+20",
        "target 0 of test sample 0 is 1e+12",
    ]


def test_a_number_that_float32_does_not_hold_is_named_with_its_row_in_the_file(tmp_path):
    """The row was counted among the training rows, after they were split."""
    rows = make_rows()
    rows[57, 0] = 1e39
    with pytest.raises(DataError, match="row 58, column 'a' is no finite float32"):
        nf.load_dataset(write(tmp_path / "t.csv", rows))


@pytest.mark.parametrize(
    ("column", "far"),
    [
        (np.random.default_rng(0).lognormal(10, 2, 500), []),
        (np.r_[np.zeros(450), np.arange(50) * 1000.0], []),  # mostly zero, as capital gains are
        (np.full(500, 7.0), []),
        (np.full(500, np.nan), []),
        (np.r_[np.zeros(450), np.ones(49), -999999.0], [499]),
        (np.r_[np.arange(499.0), 1e9], [499]),
    ],
)
def test_only_what_is_out_of_all_proportion_is_an_extreme(column, far):
    found = find_extremes({"training": column[:, None].astype(np.float32)})
    assert [extreme.row for extreme in found] == far


def test_nines_that_come_again_are_told(tmp_path):
    """-999 among readings of 10: near enough to be no extreme, and no reading."""
    rows = make_rows()
    rows[::20, 1] = -999
    data = nf.load_dataset(write(tmp_path / "t.csv", rows))
    (told,) = [note for note in data.notes if "999" in note]
    assert told.startswith("'b' is -999 in several rows, far from all others")
    assert "--missing=-999" in told
    data = nf.load_dataset(str(tmp_path / "t.csv"), missing=["-999.0"])
    assert [note for note in data.notes if "999" in note] == [
        f"--missing -999.0: {len(rows[::20])} cells count as missing, in 'b'"
    ]
    rows[:, 1] = 990 + np.arange(len(rows)) % 20
    assert not any("999" in note for note in nf.load_dataset(write(tmp_path / "u.csv", rows)).notes)
