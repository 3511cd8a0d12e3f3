"""Programs compiled in threads: they give what others give, and raise what the compiler raises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.job.job import Job
from neuroforge_jax.training.compiling import Compiling, start_compiling
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
    job = Job.build(small_config, blobs)
    ahead = prepare_evaluation(model, blobs.test, job.placement, (), job.state_like.params)(state.params)
    assert ahead == prepare_evaluation(model, blobs.test, job.placement)(state.params)


def test_a_function_is_compiled_once_for_arguments_of_one_kind():
    device = jax.devices()[0]
    double = jax.jit(lambda x: 2 * x)
    three = start_compiling(double, device, jnp.ones(3))
    assert start_compiling(double, device, jax.ShapeDtypeStruct((3,), jnp.float32)) is three
    assert start_compiling(double, device, jnp.ones(4)) is not three
    assert start_compiling(double, device, jnp.ones(3, jnp.int32)) is not three
    assert start_compiling(jax.jit(lambda x: 3 * x), device, jnp.ones(3)) is not three
    np.testing.assert_array_equal(three(jnp.arange(3.0)), [0, 2, 4])
