"""CASES 15: rows in a file stay there, whatever their dtype and order, and what is held out is an index."""

import tracemalloc

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.mapped import MappedRows, is_mapped
from neuroforge_jax.data.packing import pack
from neuroforge_jax.data.readers.arrays import load_folder
from neuroforge_jax.data.stream import ArraySource
from tests.data.test_stream import read

ROWS = 600
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (ROWS, 4, 6)).astype(np.uint8)
NUMBERS = RNG.normal(size=(ROWS, 5))
KINDS = {
    "pixels": PIXELS,
    "fortran pixels": np.asfortranarray(PIXELS),
    "float32": NUMBERS.astype(np.float32),
    "float64": NUMBERS,
    "fortran": np.asfortranarray(NUMBERS),
    "times": 1.7e9 + 3.0 * np.arange(ROWS)[:, None] + np.zeros((1, 2)),
    "int16": (100 * NUMBERS).astype(">i2"),
}


@pytest.fixture(params=KINDS)
def both(request, tmp_path):
    """The dataset of a folder of mapped arrays, and the same from arrays in memory."""
    x, y = KINDS[request.param], np.arange(ROWS) % 3
    for name, array in {"x_train": x, "y_train": y, "x_test": x[:60], "y_test": y[:60]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    return load_folder(tmp_path), nf.Dataset.from_arrays(np.array(x, order="C"), y, x[:60], y[:60])


def in_file(split) -> bool:
    inputs = split.inputs
    return is_mapped(inputs.array if isinstance(inputs, MappedRows) else inputs)


def test_a_mapped_set_is_the_one_in_memory_and_no_row_of_it_is_copied(both):
    for mapped, copied in ([data.hold_out(0.25, seed=0) for data in both], [data.first(70) for data in both]):
        assert in_file(mapped.train)
        np.testing.assert_array_equal(np.asarray(mapped.train.inputs), copied.train.inputs)
        np.testing.assert_array_equal(mapped.train[5:9].inputs, copied.train[5:9].inputs)
        np.testing.assert_allclose(mapped.fitted.shift, copied.fitted.shift, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(mapped.fitted.scale, copied.fitted.scale, rtol=1e-6)
        assert mapped.identity()["sha256"] == copied.identity()["sha256"]
        buffers = [read(ArraySource(data.train), 0, 0, 64) for data in (mapped, copied)]
        np.testing.assert_array_equal(buffers[0].words, buffers[1].words)
    held = [data.hold_out(0.25, seed=0).validation for data in both]
    assert in_file(held[0])
    np.testing.assert_array_equal(np.asarray(held[0].inputs), held[1].inputs)


def test_a_part_of_a_part_is_still_an_index(both):
    mapped, copied = (data.hold_out(0.25, seed=0).first(100).hold_out(0.5, seed=1) for data in both)
    assert in_file(mapped.train)
    np.testing.assert_array_equal(np.asarray(mapped.train.inputs), copied.train.inputs)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_holding_out_takes_the_memory_of_an_index(tmp_path, dtype):
    """A quarter of the rows was copied, and the rest of them too."""
    for part, rows in (("train", 4_000), ("test", 10)):
        np.save(tmp_path / f"x_{part}.npy", np.ones((rows, 1000), dtype))
        np.save(tmp_path / f"y_{part}.npy", np.arange(rows) % 2)
    tracemalloc.start()
    data = load_folder(tmp_path).hold_out(0.25, seed=0)
    current, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(data.train) == 3_000
    assert current < 5e5


@pytest.mark.parametrize("both", ["times"], indirect=True)
def test_a_streamed_training_from_a_file_is_the_one_from_memory(both):
    config = nf.TrainConfig(hidden=(4,), batch_size=50, epochs=1, patience=1, backend="async")
    losses = [nf.fit(config, data).history[-1]["train_loss"] for data in both]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("parallel", [0, 1 << 40])
@pytest.mark.parametrize("chosen", [None, np.arange(ROWS)[::-3]])
def test_rows_are_packed_as_they_are_read_by_one_core_or_several(monkeypatch, parallel, chosen):
    monkeypatch.setattr("neuroforge_jax.data.mapped.BLOCK", 64)
    monkeypatch.setattr("neuroforge_jax.data.mapped.PARALLEL_BYTES", parallel)
    numbers = NUMBERS.copy()
    numbers[-1] = 1e300  # is infinite as float32, without a warning
    rows = MappedRows(numbers, chosen, np.arange(5.0))
    with np.errstate(over="ignore"):
        expected = ((numbers if chosen is None else numbers[chosen]) - np.arange(5.0)).astype(np.float32)
    packed = pack(rows, len(expected) + 9)
    np.testing.assert_array_equal(packed[: len(expected)], expected)
    assert packed.dtype == np.float32
    assert not packed[len(expected) :].any()
    np.testing.assert_array_equal(pack(rows.select(slice(3, 50))), expected[3:50])
