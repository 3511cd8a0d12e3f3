"""Shards of arrays as a dataset: what is learnt of them is what the same arrays in memory are learnt to be."""

import numpy as np
import pytest

from neuroforge_jax import Dataset, load_dataset
from neuroforge_jax.data.stream import HostBuffer
from neuroforge_jax.errors import ConfigError, DataError

ROWS = 900


def write(folder, x, y, shards=3, part="train"):
    (folder / part).mkdir(parents=True, exist_ok=True)
    pieces = zip(np.array_split(x, shards), np.array_split(y, shards), strict=True)
    for at, (inputs, targets) in enumerate(pieces):
        np.save(folder / part / f"x-{at}.npy", inputs)
        np.save(folder / part / f"y-{at}.npy", targets)
    return folder


def inputs(dtype):
    rng = np.random.default_rng(0)
    if dtype == np.uint8:
        return rng.integers(0, 256, (ROWS, 4, 3), dtype=np.uint8)
    x = rng.normal(size=(ROWS, 6)).astype(dtype) * 3
    x[:, 1] = np.nan if dtype == np.float32 else 1e9 + x[:, 1]
    x[::7, 2] = np.nan
    x[:, 3] = 5
    return x


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("target", ["classes", "quantity", "several"])
def test_what_is_learnt_is_what_arrays_in_memory_are(tmp_path, dtype, target):
    x, rng = inputs(dtype), np.random.default_rng(1)
    targets = {
        "classes": rng.integers(3, 13, ROWS),
        "quantity": rng.normal(size=ROWS),
        "several": rng.normal(size=(ROWS, 2)),
    }
    y = targets[target]
    streamed = load_dataset(write(write(tmp_path, x, y), x[:50], y[:50], 1, "test"))
    memory = Dataset.from_arrays(x, y, x[:50], y[:50])
    assert (streamed.target, streamed.plan, streamed.shape) == (memory.target, memory.plan, memory.shape)
    for found, known in zip(streamed.fitted, memory.fitted, strict=True):
        assert (found is None) == (known is None)
        if found is not None:
            np.testing.assert_allclose(found, known, rtol=1e-5, atol=1e-6)
    source = streamed.source(30)
    out = HostBuffer.empty(source.like, ROWS)
    source.read(0, np.arange(12, dtype=np.uint32), 0, out)
    rows = source.order.rows(np.arange(12, dtype=np.uint32), np.arange(ROWS))
    np.testing.assert_array_equal(out.rows, np.asarray(memory.train.inputs)[rows])
    np.testing.assert_array_equal(out.targets, memory.train.targets[rows])
    np.testing.assert_array_equal(streamed.test.inputs, np.asarray(memory.test.inputs))


def test_a_share_is_held_out_and_scaling_is_as_it_is_said(tmp_path):
    x = inputs(np.float32)
    dataset = load_dataset(write(tmp_path, x, np.arange(ROWS) % 3), scaling="robust").hold_out(0.25, 1)
    assert len(dataset.validation) + dataset.samples == ROWS
    known = Dataset.from_arrays(dataset.train.inputs, dataset.train.targets).with_scaling("robust")
    np.testing.assert_allclose(dataset.fitted.scale, known.fitted.scale, rtol=1e-5)
    with pytest.raises(ConfigError, match="leaves one side empty"):
        load_dataset(tmp_path).hold_out(1e-9, 1)


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ((np.zeros((5, 3)), np.zeros(5, int)), r"x-1\.npy: .* float64 \[N, 3\], and x-0\.npy float64 \[N, 2\]"),
        ((np.zeros((5, 2), np.float32), np.zeros(5, int)), r"x-1\.npy: this shard holds float32"),
        ((np.zeros((5, 2)), np.zeros(5)), r"y-1\.npy: this shard holds float64"),
        ((np.zeros((5, 2)), np.zeros(4, int)), r"x-1\.npy: this shard has 5 samples, and y-1\.npy 4"),
        ((np.full((5, 2), np.inf), np.zeros(5, int)), r"x-1\.npy from row 1 on: training sample 0, input 0 is inf"),
    ],
)  # fmt: skip
def test_a_shard_of_another_kind_is_named(tmp_path, second, sentence):
    write(tmp_path, np.zeros((5, 2)), np.arange(5) % 2, 1)
    np.save(tmp_path / "train/x-1.npy", second[0])
    np.save(tmp_path / "train/y-1.npy", second[1])
    with pytest.raises(DataError, match=sentence):
        load_dataset(tmp_path)


def test_flags_of_tables_are_refused(tmp_path):
    write(tmp_path, np.zeros((5, 2)), np.arange(5) % 2, 1)
    with pytest.raises(ConfigError, match=r"--target y: it is for tables, and the shards of .* are arrays"):
        load_dataset(tmp_path, target="y")
    with pytest.raises(ConfigError, match="pixels, which keep one common scale"):
        load_dataset(write(tmp_path / "b", inputs(np.uint8), np.arange(ROWS) % 2), scaling="robust")
