"""Programs compiled in threads: they give what others give, and raise what the compiler raises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.job.pieces import make_training, state_maker
from neuroforge_jax.training.compiling import Compiling
from neuroforge_jax.training.evaluate import prepare_evaluation


def test_what_was_set_when_it_was_traced_is_in_the_program():
    with jax.enable_x64(True):
        compiling = Compiling(jax.jit(lambda: jnp.arange(3) / 3).lower())
    assert compiling().dtype == np.float64


def test_what_the_compiler_refuses_is_raised_by_the_call():
    compiling = Compiling(jax.jit(lambda x: x, compiler_options={"xla_no_such_option": 1}).lower(1.0))
    with pytest.raises(Exception, match="No such compile option"):
        compiling(1.0)


def test_an_evaluation_compiled_ahead_is_the_same(blobs, small_config):
    model, state = nf.init(small_config, blobs)
    device = state.step.device
    _, state_like = state_maker(small_config, model, make_training(small_config, blobs))
    ahead = prepare_evaluation(model, blobs.test, device, (), state_like.params)(state.params)
    assert ahead == prepare_evaluation(model, blobs.test, device)(state.params)
