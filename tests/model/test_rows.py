"""What `nf.predict` takes: arrays by position, frames by name."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import DataError
from neuroforge_jax.model import io as model_io
from neuroforge_jax.model.rows import read_rows
from tests.conftest import make_blobs

SECONDS = 1_700_000_000.0


@pytest.fixture(scope="module")
def models():
    config = nf.TrainConfig(hidden=(4,), batch_size=8, backend="optimized")
    times = SECONDS + np.arange(60.0).reshape(-1, 1)
    frame = pd.DataFrame({"age": np.arange(40) % 7 * 1.5, "city": ["a", "b"] * 20, "y": ["n", "y"] * 20})
    return {
        "bytes": nf.init(config, make_blobs()),
        "times": nf.init(
            config, nf.Dataset.from_arrays(times[:40], np.arange(40) % 2, times[40:], np.arange(20) % 2)
        ),
        "table": nf.init(config, nf.load_dataset(frame, target="y")),
    }


def test_times_keep_their_seconds(models):
    """float32 holds 1,700,000,000 to the next 128."""
    model, _ = models["times"]
    stored = read_rows(model, SECONDS + np.array([[1.0], [2.0], [3.5]]))
    assert stored.dtype == np.float32
    assert np.diff(stored[:, 0]).tolist() == [1.0, 1.5]
    assert np.array_equal(
        stored, read_rows(model, pd.DataFrame({"any": SECONDS + np.array([1.0, 2.0, 3.5])}))
    )


def test_frames_go_by_name_and_an_empty_one_is_no_rows(models):
    model, state = models["table"]
    columns = {"city": ["b", "z", None], "extra": [1, 2, 3], "age": [3.0, None, 4.5]}
    expected = nf.predict(model, state.params, pd.DataFrame({"age": columns["age"], "city": columns["city"]}))
    for frame in (columns, pd.DataFrame(columns), pl.DataFrame(columns)):
        np.testing.assert_array_equal(nf.predict(model, state.params, frame), expected)
    assert expected.shape == (3, 2)
    assert nf.predict(model, state.params, pd.DataFrame(columns)[:0]).shape == (0, 2)
    with pytest.raises(DataError, match="has no column 'age'"):
        nf.predict(model, state.params, {"city": ["a"]})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 12), np.uint8), "samples have 12 numbers, and the model takes 13"),
        (np.zeros((0, 12), np.uint8), "samples have 12 numbers, and the model takes 13"),
        (
            np.zeros(13, np.uint8),
            r"samples have 1 numbers, and the model takes 13; one sample is rows\[None\]",
        ),
        (
            Split(np.zeros((2, 12), np.uint8), np.zeros(2, np.int32)),
            "the split stores 12 numbers a sample, and the model takes 13",
        ),
        (np.full((1, 13), np.nan), "row 1: pixel 1 is no number"),
    ],
)
def test_samples_of_another_width_are_named(models, rows, message):
    model, state = models["bytes"]
    with pytest.raises(ValueError, match=message):
        nf.predict(model, state.params, rows)


def test_shares_of_the_brightest_level_are_bytes_and_that_is_said(models):
    model, state = models["bytes"]
    levels = np.random.default_rng(0).integers(0, 256, (5, 13)).astype(np.uint8)
    expected = nf.predict(model, state.params, levels)
    with pytest.warns(UserWarning, match="pixels from 0 to 1 are taken for levels from 0 to 255") as caught:
        found = nf.predict(model, state.params, (levels / 255).astype(np.float32))
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(
        nf.predict(model, state.params, levels.astype(float)), expected, rtol=0, atol=1e-6
    )


def test_stored_rows_of_a_table_are_not_taken_for_columns(models):
    """A record holds codes of categories, and times less their origin; an array was taken for such."""
    model, state = models["table"]
    records = np.ones((3, 2), np.float32)
    assert nf.predict(model, state.params, Split(records, np.zeros(3, np.int32))).shape == (3, 2)
    with pytest.raises(
        ValueError, match=r"takes columns by their names: give a table .* or a Split as it is"
    ):
        nf.predict(model, state.params, records)


@pytest.mark.parametrize("of_arrays", [True, False])
def test_a_number_that_training_named_as_missing_is_so_in_arrays_and_frames(tmp_path, of_arrays):
    """An array of the same row had another answer than a frame, and a mark with a decimal comma was lost."""
    numbers = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    numbers[::4, 0] = -999.5
    if of_arrays:
        np.savez(tmp_path / "t.npz", x=numbers, y=np.arange(40) % 2)
    else:
        rows = [f"{a};{b};{'ny'[at % 2]}".replace(".", ",") for at, (a, b) in enumerate(numbers)]
        (tmp_path / "t.csv").write_text("\n".join(["a;b;y", *rows]))
    mark = "-999.5" if of_arrays else "-999,5"
    data = nf.load_dataset(str(next(tmp_path.iterdir())), missing=mark)
    model, state = nf.init(nf.TrainConfig(hidden=(4,), batch_size=8, backend="optimized"), data)
    model_io.save(tmp_path, model, state.params)
    model, params = nf.load(tmp_path)
    expected = nf.predict_proba(model, params, np.where(numbers == -999.5, np.nan, numbers))
    for given in (numbers, numbers.astype(np.float64), pd.DataFrame(numbers, columns=["a", "b"])):
        np.testing.assert_array_equal(nf.predict_proba(model, params, given), expected)
