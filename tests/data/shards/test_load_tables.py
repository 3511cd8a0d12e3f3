"""Shards of Parquet as a dataset: what is learnt of them is what the same table in memory is learnt to be."""

from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuroforge_jax import load_dataset
from neuroforge_jax.data.shards.dataset import ShardedDataset
from neuroforge_jax.data.stream import HostBuffer
from neuroforge_jax.errors import ConfigError, DataError

ROWS = 3000


def table(rows=ROWS, seed=0) -> pa.Table:
    """Numbers of every kind, with gaps; times, categories, a key, a count, a constant; classes by all of it."""
    rng = np.random.default_rng(seed)
    wide, gappy = rng.normal(size=rows) * 1e3, rng.lognormal(size=rows)
    rare = np.where(rng.random(rows) < 0.004, rng.normal(size=rows), 0)
    town = rng.choice(["Bonn", "Ulm", "Trier"], rows, p=[0.5, 0.4, 0.1])
    gappy[rng.random(rows) < 0.1] = np.nan
    when = [datetime(2024, 1, 1) + timedelta(hours=int(h)) for h in rng.integers(0, 24 * 900, rows)]
    return pa.table({
        "number": np.arange(1, rows + 1),
        "wide": wide,
        "far": 1e9 + rng.normal(size=rows),
        "gappy": gappy,
        "rare": rare,
        "small": rng.integers(0, 5, rows).astype(np.int8),
        "town": pa.array(town.tolist()),
        "member": pa.array((rng.random(rows) < 0.3).tolist()),
        "price": pa.array([f"{x:.2f} EUR" for x in rng.random(rows) * 100]),
        "when": pa.array(when),
        "key": pa.array([f"k{x:09d}" for x in rng.integers(0, 10**9, rows)]),
        "same": np.ones(rows),
        "label": pa.array(np.where(wide + 500 * (town == "Ulm") > 100, "yes", "no").tolist()),
    })  # fmt: skip


def write(folder, whole, shards=4, group=230, part="train"):
    (folder / part).mkdir(parents=True, exist_ok=True)
    cuts = np.linspace(0, len(whole), shards + 1).astype(int)
    for at, (first, last) in enumerate(pairwise(cuts)):
        piece = whole.slice(first, last - first)
        pq.write_table(piece, folder / part / f"{at:02d}.parquet", row_group_size=group)
    return folder


@pytest.fixture(scope="module")
def whole() -> pa.Table:
    return table()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, whole):
    path = tmp_path_factory.mktemp("shards")
    write(path, table(400, seed=1), shards=1, part="test")
    return write(path, whole)


def every_row(dataset: ShardedDataset, batch_size=4) -> HostBuffer:
    source = dataset.source(batch_size)
    out = HostBuffer.empty(source.like, len(source))
    source.read(0, np.arange(12, dtype=np.uint32), 0, out)
    return out


def in_memory(path, whole, **fields):
    pq.write_table(whole, path / "whole.parquet")
    pq.write_table(table(400, seed=1), path / "test.parquet")
    return load_dataset(path / "whole.parquet", test=str(path / "test.parquet"), **fields)


@pytest.mark.parametrize("fields", [
    {},
    {"scaling": "standard", "missing": ("0",)},
    {"scaling": "quantile", "target": "gappy"},
    {"target": "wide", "sample_weight": "small", "categorical": ("small",)[:0]},
    {"target": "town", "class_weight": "balanced", "scaling": "none"},
    {"target": "gappy", "target_transform": "log", "drop": ()},
])  # fmt: skip
def test_what_is_learnt_is_what_the_table_in_memory_is(folder, whole, tmp_path, fields):
    streamed, memory = load_dataset(folder, **fields), in_memory(tmp_path, whole, **fields)
    assert isinstance(streamed, ShardedDataset)
    assert streamed.target == memory.target
    told = {column.name: column for column in memory.schema.columns}
    for column in streamed.schema.columns:
        known = told[column.name]
        assert (column.kind, column.role, column.levels, column.rest, column.cycles, column.written_as_digits) == (
            known.kind, known.role, known.levels, known.rest, known.cycles, known.written_as_digits
        )  # fmt: skip
        np.testing.assert_allclose((column.origin, column.missing), (known.origin, known.missing), rtol=1e-12)
    assert streamed.plan == memory.plan
    for name, found, known in zip(streamed.fitted._fields, streamed.fitted, memory.fitted, strict=True):
        assert (found is None) == (known is None), name
        if found is not None:
            np.testing.assert_allclose(found, known, rtol=2e-5, atol=2e-6, err_msg=name)
    weights = streamed.class_weights
    assert (weights is None) == (memory.class_weights is None)
    if weights is not None:
        np.testing.assert_allclose(weights, memory.class_weights)
    rows, train = every_row(streamed), memory.weighted_train
    assert len(rows) == len(train) == streamed.samples
    order = np.lexsort(np.nan_to_num(rows.rows).T), np.lexsort(np.nan_to_num(np.asarray(train.inputs)).T)
    np.testing.assert_array_equal(rows.rows[order[0]], np.asarray(train.inputs)[order[1]])
    np.testing.assert_array_equal(rows.targets[order[0]], train.targets[order[1]])
    if train.weights is not None:
        np.testing.assert_allclose(rows.weights[order[0]], train.weights[order[1]], rtol=1e-5)
    np.testing.assert_array_equal(streamed.test.inputs, memory.test.inputs)
    np.testing.assert_array_equal(streamed.test.targets, memory.test.targets)


def test_a_share_is_held_out_and_the_rest_is_fitted_alone(folder):
    dataset = load_dataset(folder, scaling="standard")
    held = dataset.hold_out(0.2, 5)
    assert held.samples + len(held.validation) == dataset.samples == ROWS
    assert abs(len(held.validation) - 600) < 70
    rows = every_row(held).rows
    both = np.concatenate([rows, held.validation.inputs])
    everything = every_row(dataset).rows
    keys = [np.sort(part[:, 0]) for part in (both, everything)]
    np.testing.assert_array_equal(*keys)
    np.testing.assert_allclose(held.fitted.shift[0], rows[:, 0].astype(np.float64).mean(), rtol=1e-5)
    assert held.identity() != dataset.identity() == load_dataset(folder, scaling="standard").identity()
    assert held.count_classes().sum() == held.samples


def test_only_the_first_rows_are_taken_where_that_is_said(folder, whole):
    dataset = load_dataset(folder).first(1234)
    rows = every_row(dataset).rows
    wide = whole["wide"].to_numpy()[:1234].astype(np.float32)
    np.testing.assert_array_equal(np.sort(rows[:, 0]), np.sort(wide))
    assert dataset.samples == 1234
    with pytest.raises(ConfigError, match=r"--train-samples 9999: .* has 3000 training samples"):
        load_dataset(folder).first(9999)


def test_rows_without_a_target_are_left_out_and_the_first_are_counted_without_them(tmp_path):
    data = pa.table(
        {"x": np.arange(200.0) ** 1.1, "y": pa.array([None if i % 4 == 0 else i % 3 for i in range(200)])}
    )
    dataset = load_dataset(write(tmp_path, data, shards=2, group=30))
    assert dataset.samples == 150
    assert any("50 rows are left out" in note for note in dataset.notes)
    assert len(every_row(dataset)) == 150
    few = np.sort(every_row(dataset.first(31)).rows[:, 0])
    known = data["x"].to_numpy().astype(np.float32)[np.arange(200) % 4 > 0]
    np.testing.assert_array_equal(few, known[:31])


@pytest.mark.parametrize("kind", ["list", "lists", "bytes"])
def test_a_column_of_bytes_is_pictures(tmp_path, kind):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 12), dtype=np.uint8)
    flat = pa.array(pixels.ravel())
    columns = {
        "list": lambda: pa.FixedSizeListArray.from_arrays(flat, 12),
        "lists": lambda: pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(flat, 4), 3),
        "bytes": lambda: pa.array([row.tobytes() for row in pixels], pa.binary(12)),
    }
    dataset = load_dataset(write(tmp_path, pa.table({"image": columns[kind](), "label": np.arange(300) % 7})))
    assert dataset.plan.pixels
    assert dataset.shape == ((3, 4) if kind == "lists" else (12,))
    assert dataset.classes == tuple("0123456")
    out = every_row(dataset)
    order, known = np.lexsort(out.rows.T), np.lexsort(pixels.T)
    np.testing.assert_array_equal(out.rows[order], pixels[known])
    np.testing.assert_array_equal(out.targets[order], known % 7)
    np.testing.assert_allclose(dataset.fitted.shift, pixels.mean(), rtol=1e-6)
    np.testing.assert_allclose(dataset.fitted.scale, 1 / pixels.std(), rtol=1e-6)


def change(path, **columns):
    data = pq.read_table(path)
    for name, values in columns.items():
        data = data.drop_columns(name) if values is None else data.set_column(0, name, values)
    pq.write_table(data, path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            lambda p: change(p, label=None),
            r"03\.parquet: this shard has no column 'label', which 00\.parquet has",
        ),
        (
            lambda p: change(p, x=pa.array(["a"] * 25)),
            r"03\.parquet: this shard has 'x' as string, and 00\.parquet as double",
        ),
        (lambda p: p.write_bytes(b"PAR1"), r"03\.parquet: is no Parquet file, or one that is cut short"),
        (lambda p: p.write_bytes(p.read_bytes()[:-9] + b"x" * 5 + b"PAR1"), r"03\.parquet: is damaged"),
    ],
)
def test_a_shard_of_another_schema_or_a_damaged_one_is_named(tmp_path, damage, sentence):
    write(tmp_path, pa.table({"x": np.arange(100.0), "label": np.arange(100) % 3}))
    damage(tmp_path / "train/03.parquet")
    with pytest.raises(DataError, match=sentence):
        load_dataset(tmp_path)


def test_pages_that_are_damaged_are_an_error_in_one_line(tmp_path):
    write(
        tmp_path,
        pa.table({"x": np.random.default_rng(0).normal(size=4000), "label": np.arange(4000) % 3}),
        shards=1,
    )
    path = tmp_path / "train/00.parquet"
    content = bytearray(path.read_bytes())
    content[4:30] = bytes(26)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00\.parquet: ") as raised:
        load_dataset(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_shard_that_changes_during_a_training_is_an_error(tmp_path):
    write(tmp_path, pa.table({"x": np.arange(100.0) ** 1.1, "label": np.arange(100) % 3}), group=5)
    dataset = load_dataset(tmp_path)
    pq.write_table(pa.table({"x": np.arange(3.0), "label": np.arange(3)}), tmp_path / "train/03.parquet")
    with pytest.raises(DataError, match=r"03\.parquet: this shard changed since"):
        every_row(dataset)


@pytest.mark.parametrize(
    ("fields", "kind", "sentence"),
    [
        ({"test": "a.csv"}, ConfigError, "--test a.csv: test data are the folder test/"),
        ({"group": "town"}, ConfigError, "--group town: rows of shards are not split by groups"),
        ({"target": "lable"}, ConfigError, "unknown target column 'lable'.*did you mean 'label'"),
        ({"target": "key"}, DataError, "target 'key' has 3000 different values"),
        ({"class_weight": "balanced", "target": "wide"}, ConfigError, "--class-weight balanced: the target is no"),
    ],
)  # fmt: skip
def test_what_shards_cannot_do_is_refused_by_name(folder, fields, kind, sentence):
    with pytest.raises(kind, match=sentence):
        load_dataset(folder, **fields)


def test_shards_without_rows_are_refused(tmp_path):
    write(tmp_path, pa.table({"x": np.zeros(0), "label": np.zeros(0)}), shards=1)
    with pytest.raises(DataError, match="the shards of the part train have no rows"):
        load_dataset(tmp_path)


def test_pixels_beside_other_inputs_are_refused(tmp_path):
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(80, np.uint8)), 4)
    write(tmp_path, pa.table({"image": pixels, "age": np.arange(20), "label": np.arange(20) % 2}), shards=1)
    with pytest.raises(
        DataError, match=r"'image' holds pixels.* and there are 'age' too; leave columns out by"
    ):
        load_dataset(tmp_path)
    assert load_dataset(tmp_path, drop="age").inputs == 4


def test_parts_that_do_not_fit_into_memory_are_refused(folder, monkeypatch):
    monkeypatch.setattr("neuroforge_jax.data.shards.dataset.free_bytes", lambda: 30_000)
    with pytest.raises(DataError, match=r"part test: takes .* of memory, and may take 15"):
        load_dataset(folder)
