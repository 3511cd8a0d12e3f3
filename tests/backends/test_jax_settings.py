"""What is set in jax for other code changes no bit of a training, and is told."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.jax_settings import NEEDED, OwnSettings
from neuroforge_jax.errors import DivergedError
from tests.conftest import SMALL_CONFIG, make_blobs

OTHERS = {
    "debug_nans": True,
    "debug_infs": True,
    "enable_x64": True,
    "disable_jit": True,
    "numpy_rank_promotion": "raise",
    "numpy_dtype_promotion": "strict",
    "default_prng_impl": "rbg",
    "threefry_partitionable": False,
    "transfer_guard": "disallow",
}
CONFIG = replace(SMALL_CONFIG, epochs=1, dropout=0.1, optimizer="adam", backend="mixed")


class Notes(nf.Callback):
    def __init__(self):
        self.all = []

    def note(self, text):
        self.all.append(text)


@pytest.fixture(scope="module")
def plain():
    return nf.fit(CONFIG, make_blobs()).params


def test_every_setting_that_is_looked_after_is_tried_here():
    assert set(OTHERS) == set(NEEDED)
    assert OwnSettings().note == ""


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_of_jax_changes_no_bit_and_is_told(name, plain, blobs):
    notes = Notes()
    with getattr(jax, name)(OTHERS[name]):
        result = nf.fit(CONFIG, blobs, callbacks=[notes])
        assert getattr(jax.config, f"jax_{name}") == OTHERS[name]
    for ours, theirs in zip(jax.tree.leaves(result.params), jax.tree.leaves(plain), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert [f"JAX_{name.upper()}: not followed in a training" in note for note in notes.all] == [True]


def test_a_run_that_diverges_under_debug_nans_is_told_by_us(blobs):
    with jax.debug_nans(True), pytest.raises(DivergedError, match="the loss became"):
        nf.fit(replace(CONFIG, learning_rate=1e6, loss="mse", optimizer="sgd"), blobs)


def test_the_overflows_that_fp16_wants_are_no_alarm(blobs):
    config = replace(SMALL_CONFIG, precision="fp16", loss_scale=str(2**24), epochs=1)
    with (
        jax.debug_nans(True),
        jax.debug_infs(True),
        pytest.raises(DivergedError, match="set --loss-scale dynamic"),
    ):
        nf.fit(config, make_blobs(1000))


@pytest.mark.slow
def test_a_population_too(blobs):
    config = replace(SMALL_CONFIG, epochs=1)
    plain = nf.fit_population(config, blobs, seeds=[3])
    with jax.enable_x64(True), jax.default_prng_impl("rbg"):
        other = nf.fit_population(config, blobs, seeds=[3])
    np.testing.assert_array_equal(plain.losses, other.losses)
