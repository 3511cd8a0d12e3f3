"""Programs found again within a process: what needs a new one, and what does not."""

import dataclasses

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.batch import bucket
from neuroforge_jax.system.program_cache import by_structure, forget_programs
from tests.conftest import make_blobs
from tests.tiers import with_further

CONFIG = nf.TrainConfig(hidden=(18,), batch_size=32, epochs=5, optimizer="adam", learning_rate=0.01)


@pytest.fixture
def compiled_by(compilations):
    """The programs that XLA compiles for a training of these changes, after one of CONFIG."""
    blobs = make_blobs()
    nf.fit(CONFIG, blobs)

    def programs(dataset=blobs, **changes):
        compilations.clear()
        result = nf.fit(dataclasses.replace(CONFIG, **changes), dataset)
        return list(compilations), result

    return programs


@pytest.mark.smoke
def test_a_second_training_compiles_nothing_and_another_seed_or_a_few_epochs_neither(compiled_by):
    for changes in ({}, {"seed": 7}, {"epochs": 6}):
        programs, result = compiled_by(**changes)
        assert programs == []
        assert result.test_accuracy > 0.9


def test_another_value_is_no_other_program_and_gives_its_own_result(compiled_by):
    _, first = compiled_by()
    programs, slow = compiled_by(learning_rate=0.0001)
    assert programs == []
    assert slow.test_loss > 2 * first.test_loss


def test_what_is_another_program_is_compiled_and_gives_its_own_result(compiled_by):
    _, first = compiled_by()
    programs, other = compiled_by(optimizer="sgd", learning_rate=0.0001)
    assert any("program" in name for name in programs)
    assert other.test_loss > 2 * first.test_loss
    # The first weights are drawn by the program that is there: they know nothing of the optimizer.
    assert not any("draw" in name for name in programs)


FITS = range(5)
BUCKET = range(1857, 1921)
"""Numbers of rows of one bucket."""


@pytest.mark.parametrize("backend", with_further(["optimized"], ["stepped", "async"]))
def test_fits_of_one_structure_compile_one_training_program(backend, compilations):
    """5 fits with other data, rows of one bucket (59 or 60 steps an epoch), seeds and learning rates."""
    assert {bucket(rows) for rows in BUCKET} == {BUCKET[-1]}
    rng = np.random.default_rng(0)
    config = dataclasses.replace(CONFIG, backend=backend, hidden=(21,), epochs=5)
    rows_of_fits = [BUCKET[0], BUCKET[-1], *rng.choice(BUCKET, len(FITS) - 2).tolist()]
    results = []
    forget_programs()
    for fit, rows in zip(FITS, rows_of_fits, strict=True):
        changes = {"seed": fit, "learning_rate": float(rng.uniform(0.005, 0.05))}
        results.append(nf.fit(dataclasses.replace(config, **changes), make_blobs(rows, seed=fit)))
    assert len([name for name in compilations if "program" in name]) == 2, "a training and an evaluation"
    compilations.clear()
    for fit, rows in zip(FITS[:3], rows_of_fits, strict=False):  # the ends of the bucket, and one between
        nf.fit(dataclasses.replace(config, seed=fit), make_blobs(rows, seed=fit))
    assert compilations == []
    assert len({result.test_loss for result in results}) == len(FITS)
    assert min(result.test_accuracy for result in results) > 0.9


def test_values_of_every_kind_are_arguments(compiled_by):
    """Whether there is any is structure; how much is a value."""
    base = {
        "optimizer": "momentum",
        "schedule": "one-cycle",
        "dropout": 0.1,
        "label_smoothing": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }
    check_values(
        compiled_by, base, momentum=0.5, warmup=0.4, dropout=0.4, label_smoothing=0.4, weight_decay=0.3,
        clip_norm=0.01,
    )  # fmt: skip
    by_group = {"optimizer": "adam", "rate_factors": "biases=0.5"}
    check_values(
        compiled_by, by_group, beta1=0.5, beta2=0.9, epsilon=0.01, rate_factors="kernels=0.5,biases=3"
    )


def check_values(compiled_by, base, **others):
    """Each of the other values compiles nothing, and makes a difference."""
    assert compiled_by(**base)[0]
    first = compiled_by(**base)[1]
    for name, value in others.items():
        programs, other = compiled_by(**{**base, name: value})
        assert programs == []
        assert other.test_loss != first.test_loss, name


def test_what_is_forgotten_is_made_anew():
    made = []

    @by_structure
    def make(name):
        made.append(name)
        return jax.jit(lambda x: x)

    assert make("a") is make("a")
    forget_programs()
    make("a")
    assert made == ["a", "a"]
