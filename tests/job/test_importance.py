"""Permutation importance of columns: in one program, for what the model looks at and nothing else."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.batch import bucket
from neuroforge_jax.data.shuffle import order_bits, sample_order
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.job.importance import measure_changes

CONFIG = nf.TrainConfig(hidden=(16,), batch_size=32, epochs=8, learning_rate=0.1, backend="optimized")


def make_table(samples=300, *, classes=True):
    """Column 1, of three positions, decides; column 0 is noise, column 2 constant."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, samples)
    inputs = np.concatenate([rng.normal(size=(samples, 1)), np.eye(3)[level], np.ones((samples, 1))], axis=1)
    targets = (level == 2).astype(np.int32) if classes else (100.0 * level).astype(np.float32)
    task = "classification" if classes else "regression"
    return nf.Dataset.from_arrays(inputs, targets, inputs, targets, task=task)


GROUPS = [[0], [1, 2, 3], [4]]


@pytest.fixture(scope="module")
def trained():
    dataset = make_table()
    return dataset, nf.fit(CONFIG, dataset)


def test_the_column_that_decides_leads_and_one_that_says_nothing_has_exactly_none(trained):
    dataset, result = trained
    found = measure_changes(result.model, result.params, dataset.test, GROUPS)
    assert (found.shape, found.dtype) == ((3, 5), np.float64)
    assert found[1].min() > 10 * np.abs(found[0]).max()
    assert (found[2] == 0).all()
    falls = measure_changes(result.model, result.params, dataset.test, GROUPS, "accuracy", repeats=2)
    # Two thirds are of one class: of shuffled labels 2 · 1/3 · 2/3 are wrong.
    assert falls[1] == pytest.approx(4 / 9, abs=0.08)


def test_it_is_the_loss_on_a_shuffled_copy_less_that_on_the_data(trained, monkeypatch):
    """Against copies made here and evaluated; odd sizes, two chunks, samples by their weights."""
    monkeypatch.setattr("neuroforge_jax.job.importance.CHUNK", 128)
    dataset, result = trained
    split = replace(dataset.test[:203], weights=np.arange(203, dtype=np.float32) % 5)
    plain = nf.evaluate(result.model, result.params, split).loss
    expected = []
    for key in jax.random.split(jax.random.key(3), 2):
        donors = np.asarray(sample_order(key, 0, 203, jnp.arange(203), order_bits(bucket(203))))
        assert sorted(donors) == list(range(203)), "every value is given to one sample"
        mixed = split.inputs.copy()
        mixed[:, 1:4] = split.inputs[donors, 1:4]
        shuffled = replace(split, inputs=mixed)
        expected.append(nf.evaluate(result.model, result.params, shuffled).loss - plain)
    found = measure_changes(result.model, result.params, split, [[1, 2, 3]], repeats=2, seed=3)
    np.testing.assert_allclose(found, [expected], rtol=1e-4)


def test_another_table_of_the_bucket_compiles_nothing(trained, compilations):
    dataset, result = trained
    measure_changes(result.model, result.params, dataset.test, GROUPS)
    compilations.clear()
    measure_changes(result.model, result.params, dataset.test[:298], GROUPS, seed=5)
    assert compilations == []


def test_a_regression_has_no_accuracy_to_lose():
    dataset = make_table(classes=False)
    model, state = nf.init(replace(CONFIG, loss="mse"), dataset)
    with pytest.raises(ConfigError, match="importance by 'accuracy': this model has loss"):
        measure_changes(model, state.params, dataset.test, [[0]], "accuracy")


def test_positions_beyond_a_sample_are_named(trained):
    dataset, result = trained
    with pytest.raises(ValueError, match=r"column 1 has positions \[3, 5\], and a sample 5 numbers"):
        measure_changes(result.model, result.params, dataset.test, [[0], [3, 5]])


def test_columns_of_a_table_are_ranked_by_their_names():
    rng = np.random.default_rng(1)
    town = rng.choice(["Rome", "Oslo", "Kyiv"], 300)
    columns = {"noise": rng.normal(size=300), "town": town, "seaside": np.where(town == "Oslo", "yes", "no")}
    dataset = nf.load_dataset(columns, target="seaside")
    result = nf.fit(CONFIG, dataset)
    found = nf.permutation_importance(result.model, result.params, dataset.test, metric="accuracy")
    assert list(found) == ["town", "noise"]
    assert found["town"] == pytest.approx(4 / 9, abs=0.15)
    assert abs(found["noise"]) < 0.05
