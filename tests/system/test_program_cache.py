"""Programs found again within a process: what needs a new one, and what does not."""

import dataclasses

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.types import Scaling
from neuroforge_jax.system.program_cache import by_structure, forget_programs
from tests.conftest import make_blobs

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


def test_what_is_another_program_is_compiled_and_gives_its_own_result(compiled_by):
    _, first = compiled_by()
    programs, slow = compiled_by(learning_rate=0.0001)
    assert programs
    assert slow.test_loss > 2 * first.test_loss
    # The first weights are drawn by the program that is there: they know nothing of the optimizer.
    assert not any("draw" in name for name in programs)


def test_data_of_another_scaling_are_another_program(compiled_by):
    """The scaling of the inputs lies in the program: it would be wrong for others."""
    programs, result = compiled_by(dataset=make_blobs(seed=4))
    assert any("program" in name for name in programs)
    assert result.test_accuracy > 0.9


def test_two_scalings_are_equal_where_their_bits_are():
    one, same = (Scaling(np.float32([1, 2]), np.float32([3, 4])) for _ in range(2))
    other = Scaling(np.float32([1, 2]), np.float32([3, 5]))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "a scaling"


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
