"""Training on shards: from Python and from the command line, resumed in the middle, and what is refused."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.__main__ import main as data
from neuroforge_jax.errors import CheckpointError, ConfigError, DataError
from neuroforge_jax.train import main as train

ROWS = 1200


def table(rows=ROWS, seed=0) -> pa.Table:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    town = rng.choice(["Bonn", "Ulm"], rows)
    return pa.table(
        {"a": a, "b": b, "town": town.tolist(), "label": np.where(a + (town == "Ulm") > 0.5, 1, 0)}
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shards/train").mkdir(parents=True)
    (tmp_path / "shards/test").mkdir()
    for at in range(3):
        pq.write_table(
            table(seed=at).slice(0, ROWS // 3), tmp_path / f"shards/train/{at}.parquet", row_group_size=60
        )
    pq.write_table(table(300, seed=9), tmp_path / "shards/test/0.parquet")
    return tmp_path / "shards"


def config(folder, **fields):
    fields = {"hidden": (8,), "batch_size": 64, "epochs": 4, "learning_rate": 0.3, **fields}
    return nf.TrainConfig(dataset=str(folder), **fields)


def test_a_network_learns_from_shards_by_what_reads_as_it_trains(folder):
    result = nf.fit(config(folder, learning_rate=1.0))
    assert result.figures["backend"] == "async"
    assert result.test_accuracy > 0.85
    assert result.model.schema.by_role("target") == ("label",)
    frame = table(40, seed=5).drop_columns("label").to_pandas()
    assert nf.predict(result.model, result.params, frame).shape == (40, 2)


class StopAt(nf.Callback):
    def __init__(self, step):
        self.step = step

    def steps_until_due(self, step):
        return self.step - step if step < self.step else None

    def segment(self, trainer, metrics):
        if trainer.progress.step == self.step:
            raise KeyboardInterrupt


def test_a_run_resumed_in_the_middle_of_an_epoch_ends_with_the_same_bits(folder, tmp_path):
    """An epoch is 19 steps."""
    whole = nf.fit(config(folder, epochs=2))
    options = nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="14 steps")
    with pytest.raises(KeyboardInterrupt):
        nf.fit(config(folder, epochs=2), None, options, callbacks=[StopAt(29)])
    again = nf.fit(config(folder, epochs=2), None, nf.RunOptions(resume=str(tmp_path / "run")))
    for layer, leaves in whole.params.items():
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(leaf, again.params[layer][name])


def test_other_shards_are_another_data_set_for_a_resumed_run(folder, tmp_path):
    nf.fit(config(folder, epochs=1), None, nf.RunOptions(run_dir=tmp_path / "run"))
    pq.write_table(table(seed=7).slice(0, 400), folder / "train/1.parquet", row_group_size=60)
    with pytest.raises(CheckpointError, match="data"):
        nf.fit(config(folder, epochs=2), None, nf.RunOptions(resume=str(tmp_path / "run")))


def test_the_command_trains_on_a_manifest_and_names_what_does_not_agree(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert data(["manifest", str(folder)]) == 0
    assert "lists 4 files of" in (told := capsys.readouterr().out)
    assert "1,200 rows in train, 300 rows in test" in told
    flags = ["--hidden", "8", "--epochs", "1", "--batch-size", "64"]
    assert train(["--dataset", str(folder / "manifest.json"), *flags]) == 0
    assert "async (auto: it reads samples while it trains" in " ".join(capsys.readouterr().out.split())
    content = bytearray((folder / "train/2.parquet").read_bytes())
    content[20] ^= 1
    (folder / "train/2.parquet").write_bytes(content)
    assert train(["--dataset", str(folder), *flags]) == 3
    error = capsys.readouterr().err
    assert "2.parquet: this shard has another SHA-256 than the manifest says" in error
    assert error.count("\n") == 1


def test_show_counts_the_classes_of_all_shards(folder, capsys):
    assert data(["show", str(folder)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts = [row for row in rows if row[:1] in (["0"], ["1"])]
    assert sum(int(row[1].replace(",", "")) for row in counts) == ROWS


def test_a_backend_that_keeps_its_data_on_the_device_is_refused(folder):
    with pytest.raises(ConfigError, match="keeps its data on the device; to train from a source use"):
        nf.fit(config(folder, backend="optimized"))
    with pytest.raises(ConfigError, match="trains one network at a time"):
        nf.fit_population(config(folder), nf.load_dataset(folder), seeds=range(2))


def test_samples_are_taken_as_they_are_stored_where_that_is_said(folder):
    result = nf.fit(config(folder, shuffle=False, train_samples=500, validation_fraction=0.2))
    assert result.history[-1]["train_accuracy"] > 0.7
    with pytest.raises(DataError, match=r"nothing\.json: cannot be read"):
        nf.load_dataset(folder / "nothing.json")


def test_an_empty_folder_says_what_it_could_hold(tmp_path):
    with pytest.raises(DataError, match=r"holds neither pictures .*, nor shards \(\.parquet, or x\*\.npy"):
        nf.load_dataset(tmp_path)


def test_a_loop_of_ones_own_reads_all_of_them(folder):
    dataset = nf.load_dataset(folder)
    cfg = config(folder, backend="async")
    model, state = nf.init(cfg, dataset)
    steps = nf.steps_per_epoch(cfg, dataset)
    assert steps == -(-ROWS // 64)
    _, metrics = nf.prepare(cfg, model, dataset)(state, 0, steps)
    assert metrics.samples.sum() == ROWS
