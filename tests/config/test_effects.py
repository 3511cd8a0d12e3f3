"""A field that has no effect with the others given is told, and has none; one that is not told has an effect."""

from dataclasses import fields, replace
from functools import cache

import jax
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.eager import batch_of_step
from neuroforge_jax.config.effects import (
    CONFIG,
    DATA,
    OPTIONS,
    Circumstances,
    describe_idle_fields,
    find_idle_fields,
)
from neuroforge_jax.job.job import Job
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.training.state import params_key, state_around
from neuroforge_jax.training.step import make_step
from tests.conftest import make_blobs
from tests.tiers import with_slow

BASE = nf.TrainConfig(hidden=(8,), batch_size=32, epochs=2, learning_rate=0.1, backend="optimized")
LINEAR, NUMBERS = replace(BASE, hidden=()), replace(BASE, loss="mse")
SQUARE = replace(BASE, hidden=(8, 8))

CASES = {
    # field: its value, a config with which it has no effect, and one with which it has
    "activation": ("tanh", LINEAR, BASE),
    "normalization": ("layer", LINEAR, BASE),
    "dropout": (0.3, LINEAR, BASE),
    "initializer": ("orthogonal", LINEAR, BASE),
    "residual": (True, BASE, SQUARE),
    "rate_factors": ("norms=3", BASE, replace(BASE, normalization="layer")),
    "momentum": (0.5, BASE, replace(BASE, optimizer="nesterov")),
    "warmup": (0.5, replace(BASE, schedule="cosine"), replace(BASE, schedule="warmup-cosine")),
}


def dataset_of(config):
    blobs = make_blobs()
    if config.loss != "mse":
        return blobs
    return nf.Dataset.from_arrays(blobs.train.inputs, np.linspace(0, 1, len(blobs.train)))


@cache
def trained(config):
    """The bits that the first steps of a training come to."""
    dataset = dataset_of(config)
    job = Job.build(config, dataset)
    key, training = jax.random.key(0), job.training
    params = nn.init(params_key(key), job.model.mlp)
    state = state_around(params, key, training.optimizer, training.hyper, training.loss_scale)
    with jax.disable_jit():  # the operations are the same for all, and compiled once
        for step in range(2):
            batch = batch_of_step(dataset.train, state, step, config.batch_size)
            state, metrics = make_step(job.parts)(state, job.model.fitted, batch)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((state.params, metrics.loss))]


def idle_fields(config):
    dataset = dataset_of(config)
    return find_idle_fields(config, nf.RunOptions(), Circumstances(dataset.inputs, bool(dataset.classes)))


def test_every_row_of_the_table_is_tried_here():
    assert {*CASES, "target_accuracy"} == set(CONFIG)
    assert set(CONFIG) <= {field.name for field in fields(nf.TrainConfig)}
    assert set(OPTIONS) <= {field.name for field in fields(nf.RunOptions)}


@pytest.mark.parametrize("name", with_slow([*CASES][::2], [*CASES][1::2]))
def test_what_is_told_to_have_no_effect_changes_no_bit(name):
    value, config, _ = CASES[name]
    given = replace(config, **{name: value})
    assert idle_fields(config) == {}
    assert idle_fields(given) == {name: CONFIG[name][1]}
    assert trained(given) == trained(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_is_not_told_has_an_effect(name):
    value, _, config = CASES[name]
    given = replace(config, **{name: value})
    assert idle_fields(given) == {}
    assert trained(given) != trained(config)


def test_a_run_says_it_in_a_note_and_a_regression_has_no_accuracy_to_reach(blobs):
    class Notes(nf.Callback):
        def note(self, text):
            notes.append(text)

    notes: list[str] = []
    config = replace(BASE, loss="mse", target_accuracy=0.5, momentum=0.5)
    numbers = nf.Dataset.from_arrays(blobs.train.inputs, blobs.train.targets / 3)
    result = nf.fit(config, numbers, callbacks=[Notes()])
    assert notes == [
        "note      --target-accuracy without effect: the targets are numbers, which have no accuracy; --momentum "
        "without effect: it is for --optimizer momentum, nesterov or muon"
    ]
    assert len(result.history) == config.epochs


def test_all_are_named_in_one_line_by_their_reason():
    config = replace(LINEAR, dropout=0.5, activation="gelu", momentum=0.5)
    line = describe_idle_fields(config, nf.RunOptions(read_ahead=4), Circumstances(inputs=13, classes=True))
    assert line == (
        "--activation, --dropout without effect: there is no hidden layer; --momentum without effect: it is for "
        "--optimizer momentum, nesterov or muon; --read-ahead without effect: it is for --async-ops or --backend "
        "async"
    )


@pytest.mark.parametrize(
    ("options", "about", "idle"),
    [
        ({"chunk_steps": 5}, {"pipelined": True}, set()),
        ({"chunk_steps": 5, "read_ahead": 3}, {}, {"chunk_steps", "read_ahead"}),
        ({"checkpoint_every": "1 epoch", "log_every": 5}, {}, {"checkpoint_every", "log_every"}),
        ({"checkpoint_every": "1 epoch", "log_every": 5, "keep_latest": 3}, {"saved": True}, set()),
        ({"checkpoint_every": "never", "keep_latest": 3}, {"saved": True}, {"keep_latest"}),
        ({"keep_best": 2}, {"saved": True}, {"keep_best"}),
        ({"keep_best": 2}, {"saved": True, "held_out": True}, set()),
        ({"on_save_error": "continue"}, {}, {"on_save_error"}),
    ],
)
def test_options_too(options, about, idle):
    circumstances = Circumstances(inputs=13, classes=True, **about)
    assert set(find_idle_fields(BASE, nf.RunOptions(**options), circumstances)) == idle


DATA_CASES = {
    # field: its value, and how it is said
    "task": "classification",
    "scaling": "robust",
    "target_transform": "log",
    "delimiter": ";",
    "encoding": "utf-16",
    "header": "no",
}


def test_fields_of_data_that_cannot_act_are_told_and_change_nothing(tmp_path):
    """A Parquet file of categories: nothing is delimited, encoded or scaled."""
    assert {*DATA_CASES, "missing"} == set(DATA) <= {field.name for field in fields(nf.DataConfig)}
    path = tmp_path / "t.parquet"
    towns = ["Rome", "Oslo", "unknown"] * 20
    parquet.write_table(pa.table({"town": towns, "y": ["a", "b"] * 30}), path)
    plain = nf.load_dataset(str(path))
    about = Circumstances(plain.inputs, classes=True, scaling=None, task="regression")
    for name, value in DATA_CASES.items():
        config = nf.TrainConfig(dataset=str(path), **{name: value})
        assert find_idle_fields(config, nf.RunOptions(), about) == {name: DATA[name][1]}
        np.testing.assert_array_equal(nf.load_dataset(config).train.inputs, plain.train.inputs)


def test_a_mark_of_missing_values_acts_on_tables_of_every_kind_and_not_on_arrays(tmp_path):
    columns = {"a": [-999, 1, 2, 3] * 10, "t": ["no", "p", "q", "p"] * 10, "y": ["a", "b"] * 20}
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    for source in (str(tmp_path / "t.parquet"), pl.DataFrame(columns)):
        data = nf.load_dataset(source, missing=("-999.0", "no"))
        assert [column.missing > 0 for column in data.schema.inputs] == [True, True]
        assert "--missing -999.0 no: 20 cells count as missing, in 'a', 't'" in data.notes
    config = nf.TrainConfig(missing="no")
    assert not any("--missing without" in note for note in notes_of(config, data))
    on_arrays = find_idle_fields(config, nf.RunOptions(), Circumstances(2, classes=True))
    assert on_arrays == {"missing": "no table and no .npz file is read"}


def test_fields_of_data_that_act_are_not_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,y\n" + "".join(f"{index * index},{index / 7 + 1}\n" for index in range(40)))
    config = nf.TrainConfig(
        dataset=str(path), scaling="quantile", target_transform="log", header="yes", missing=("25",)
    )
    notes = notes_of(config)
    assert not any("without effect" in note for note in notes)
    assert any("--scaling" in note for note in notes_of(config, nf.load_dataset(str(path))))


def notes_of(config, dataset=None) -> list[str]:
    class Notes(nf.Callback):
        def note(self, text):
            notes.append(text)

    notes: list[str] = []
    nf.fit(replace(config, hidden=(), epochs=1, backend="optimized"), dataset, callbacks=[Notes()])
    return notes


def test_a_residual_connection_counts_the_inputs_as_a_width():
    config = replace(BASE, residual=True)
    assert "residual" in find_idle_fields(config, nf.RunOptions(), Circumstances(13, classes=True))
    assert not find_idle_fields(config, nf.RunOptions(), Circumstances(8, classes=True))
