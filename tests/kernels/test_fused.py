"""Every kernel, interpreted, against the reference and its derivative by jax."""

import os
import subprocess
import sys
from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from neuroforge_jax import kernels
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.kernels import reference, tpu
from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import POLICIES

pytestmark = pytest.mark.kernels

RNG = np.random.default_rng(7)
# Relative, in norm: operands are rounded by 2⁻⁹ (bf16) or 2⁻¹² (fp16), float32 sums have up to 784 terms.
BOUND = {"f32": 2e-6, "bf16": 8e-3, "fp16": 1e-3}
SIZES = [(1, 7, 10), (7, 10, 1), (127, 129, 10), (129, 61, 127), (10, 784, 129)]
SMALL = Tiles(16, 24, 40)
"""So small that every axis of the sizes above has several tiles, the last of which hangs over."""


def every_pair(first, second, third):
    """Nine combinations of three values each, in which every two values of different lists meet."""
    return [(a, b, third[(i + j) % 3]) for i, a in enumerate(first) for j, b in enumerate(second)]


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def error(found, wanted):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape
    return np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30)


def layer(batch, inputs, outputs):
    return normal(batch, inputs), normal(inputs, outputs) / np.sqrt(inputs), 0.1 * normal(outputs)


def both(function, operands, dy):
    """The value and the gradients of all operands."""
    value, pull = jax.vjp(function, *operands)
    return value, *jax.tree.leaves(pull(dy.astype(value.dtype)))


def agree(found, wanted, bound):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert error(one, other) < bound


def bound(precision, activation):
    form = FORMS[activation]
    return BOUND[precision] + 3 * (form.off + form.slope_off)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("precision", BOUND)
def test_a_layer_and_its_gradients_are_those_of_the_reference(activation, precision):
    operands, dy = layer(33, 50, 21), normal(33, 21)
    found, wanted = (
        both(lambda *o, how=how: kernels.dense(*o, activation, POLICIES[precision], how), operands, dy)
        for how in ("interpret", "reference")
    )
    agree(found, wanted, bound(precision, activation))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("precision", BOUND)
def test_odd_sizes_in_many_tiles(sizes, precision):
    """Past the edges of an array the interpreter, as the device, has anything, NaN too."""
    chosen = POLICIES[precision]
    x, kernel, bias = layer(*sizes)
    dy = normal(sizes[0], sizes[2])
    wanted = both(lambda *o: reference.dense(*o, "tanh", chosen), (x, kernel, bias), dy)
    x, kernel = chosen.to_compute(x), chosen.to_compute(kernel)
    how = {"tiles": SMALL, "interpret": True}
    y, _ = tpu.forward(x, kernel, bias, "tanh", jnp.float32, **how)
    dx = tpu.input_gradient(dy, y, kernel, "tanh", **how)
    dkernel, dbias = tpu.weight_gradient(x, dy, y, "tanh", **how)
    assert dx.dtype == x.dtype
    agree((y, dx.astype(jnp.float32), dkernel, dbias), wanted, BOUND[precision])


@pytest.mark.parametrize(
    ("activation", "shape"), [*product(ACTIVATIONS, [(600, 129)]), *product(["gelu"], [(1, 7), (130, 3)])]
)
def test_bias_and_activation_in_one_pass_each_way(activation, shape):
    operands, dy = (normal(*shape), normal(shape[1])), normal(*shape)
    found, wanted = (
        both(lambda *o, how=how: kernels.bias_activation(*o, activation, how), operands, dy)
        for how in ("interpret", "reference")
    )
    agree(found, wanted, bound("f32", activation))


@pytest.mark.parametrize(
    ("batch", "precision", "activation"), every_pair((1, 129, 1100), BOUND, ("relu", "gelu", "tanh"))
)
def test_a_narrow_mlp_in_one_kernel(batch, precision, activation):
    widths = (61, 128, 17, 10)
    layers = [layer(1, i, o)[1:] for i, o in pairwise(widths)]
    x, dy = normal(batch, 61), normal(batch, 10)
    found, wanted = (
        both(lambda *o, how=how: kernels.mlp(*o, activation, POLICIES[precision], how), (x, layers), dy)
        for how in ("interpret", "reference")
    )
    # Each layer adds its error, and a relu whose sum is within rounding of 0 may open or stay shut.
    kinks = 4 if activation == "relu" and precision != "f32" else 1
    agree(found, wanted, 3 * kinks * bound(precision, activation))


def test_kernels_work_under_vmap_jit_and_remat():
    x, kernel, bias = normal(3, 20, 6), normal(3, 6, 5), normal(3, 5)

    def loss(how, x, kernel, bias):
        layered = jax.checkpoint(lambda *o: kernels.dense(*o, "silu", POLICIES["f32"], how))
        return (layered(x, kernel, bias) ** 2).sum()

    found, wanted = (
        jax.jit(jax.vmap(jax.grad(lambda *o, how=how: loss(how, *o), argnums=(0, 1, 2))))(x, kernel, bias)
        for how in ("interpret", "reference")
    )
    agree(found, wanted, 1e-5)


SHARDED = """
import jax, jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from neuroforge_jax import kernels

mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
x, kernel, bias = (jax.random.normal(jax.random.key(at), size) for at, size in enumerate([(32, 9), (9, 5), (5,)]))

def gradient(how):
    def loss(kernel, x, bias):
        return (kernels.dense(x, kernel, bias, "relu", implementation=how) ** 2).sum()
    return lambda x, kernel, bias: jax.grad(loss)(kernel, x, bias)

def of_a_shard(x, kernel, bias):
    return jax.lax.psum(gradient("interpret")(x, kernel, bias), "data")

sharded = jax.shard_map(of_a_shard, mesh=mesh, in_specs=(P("data"), P(), P()), out_specs=P(), check_vma=False)
wanted = gradient("reference")(x, kernel, bias)
print(float(jnp.abs(jax.jit(sharded)(x, kernel, bias) - wanted).max() / jnp.abs(wanted).max()))
"""


def test_kernels_work_on_shards_of_a_batch():
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run(
        [sys.executable, "-c", SHARDED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_infinity_pass_as_in_the_reference(activation):
    values = jnp.asarray([jnp.nan, jnp.inf, -jnp.inf, 1e30, -1e30, 0.0, 1.5])
    x, kernel, bias = values[:, None], jnp.ones((1, 1)), jnp.zeros(1)
    for dy in (jnp.ones((7, 1)), jnp.full((7, 1), jnp.nan)):
        found, wanted = (
            jax.vjp(lambda x, how=how: kernels.dense(x, kernel, bias, activation, implementation=how), x)
            for how in ("interpret", "reference")
        )
        np.testing.assert_allclose(found[0], wanted[0], atol=6e-4)
        both_ways = np.asarray(found[1](dy)[0]), np.asarray(wanted[1](dy)[0])
        finite = np.isfinite(np.asarray(x))
        np.testing.assert_allclose(both_ways[0][finite], both_ways[1][finite], atol=1.2e-3)


def test_forms_are_as_near_to_the_table_as_they_say():
    z = jnp.linspace(-12, 12, 200_001)
    for name, form in FORMS.items():
        wanted, slope = jax.vmap(jax.value_and_grad(ACTIVATIONS[name].function))(z)
        y = form.value(z)
        found = form.gradient(jnp.ones_like(z), z if form.keeps_sum else y)
        rounding = 2e-7 * jnp.maximum(1, jnp.abs(z))
        assert (jnp.abs(y - wanted) <= form.off + rounding).all(), name
        assert (jnp.abs(found - slope) <= form.slope_off + 2 * rounding).all(), name
    assert list(FORMS) == list(ACTIVATIONS)


def races_of_two_cores(capfd):
    """Whether two cores that share the parallel axes of the grids collide, by a clock of every access."""
    pltpu.reset_tpu_interpret_mode_state()
    x, kernel, bias = layer(20, 30, 18)
    dy, how = normal(20, 18), pltpu.InterpretParams(detect_races=True, num_cores_or_threads=2)
    try:
        y, _ = tpu.forward(x, kernel, bias, "tanh", jnp.float32, tiles=Tiles(8, 16, 16), interpret=how)
        dx = tpu.input_gradient(dy, y, kernel, "tanh", tiles=Tiles(8, 16, 16), interpret=how)
        gradients = tpu.weight_gradient(x, dy, y, "tanh", tiles=Tiles(16, 32, 8), interpret=how)
        others = tpu.bias_activation_gradient(y, bias, dy, "relu", interpret=how)
        jax.block_until_ready((dx, gradients, others))
        told = ""
    except jax.errors.JaxRuntimeError as error:  # some versions of jax end the program at a race
        told = str(error)
    finally:
        pltpu.reset_tpu_interpret_mode_state()
    return "race" in (told + "".join(capfd.readouterr())).lower()


def test_no_tile_is_written_by_two_cores(capfd):
    assert not races_of_two_cores(capfd)


def test_a_race_would_be_seen(capfd, monkeypatch):
    """As if the sums over the batch were parallel: two cores then add to one bias gradient."""
    monkeypatch.setattr(tpu, "SEQUENTIAL", tpu.PARALLEL)
    assert races_of_two_cores(capfd)


def test_what_does_not_fit_together_is_named_before_tracing():
    x, kernel, bias = layer(4, 7, 3)
    with pytest.raises(ValueError, match=r"inputs \(4, 7\) and a kernel \(3, 7\) do not multiply"):
        kernels.dense(x, kernel.T, bias)
    with pytest.raises(ValueError, match=r"a bias \(7,\) does not fit a kernel \(7, 3\)"):
        kernels.dense(x, kernel, normal(7))
    with pytest.raises(ValueError, match="a kernel bfloat16 and a bias float32: both must have one dtype"):
        kernels.dense(x, kernel.astype(jnp.bfloat16), bias)
    with pytest.raises(ValueError, match="inputs int32 and a kernel float32: both must be floating-point"):
        kernels.dense(x.astype(jnp.int32), kernel, bias)
    with pytest.raises(ConfigError, match="unknown activation 'rleu': known are relu"):
        kernels.dense(x, kernel, bias, "rleu")
    with pytest.raises(ConfigError, match="unknown kernels 'tpus': known are auto, reference"):
        kernels.dense(x, kernel, bias, implementation="tpus")
    with pytest.raises(ValueError, match="an MLP of width 129 does not fit on chip"):
        kernels.mlp(normal(4, 129), [layer(1, 129, 3)[1:]], "relu", implementation="interpret")


@pytest.mark.parametrize(
    ("name", "needs"), [("tpu", "a TPU"), ("hopper", "an NVIDIA GPU of compute capability 9.0")]
)
def test_kernels_of_another_device_say_what_they_need_and_what_would_run(name, needs):
    told = f"the {name} kernels need {needs}, and this device is cpu .*; here xla would run"
    with pytest.raises(DeviceError, match=told):
        kernels.dense(*layer(4, 7, 3), implementation=name)


def test_a_policy_that_a_target_has_no_kernels_for_runs_xla():
    operands = layer(4, 7, 3)

    def traced(name):
        return str(jax.make_jaxpr(lambda *o: kernels.dense(*o, "relu", POLICIES[name], "tpu"))(*operands))

    assert "pallas_call" not in traced("fp16")
    assert "pallas_call" in traced("bf16")


def test_auto_is_xla_where_nothing_was_measured():
    operands = layer(40, 7, 3)
    found, wanted = (kernels.dense(*operands, "relu", implementation=how) for how in ("auto", "xla"))
    np.testing.assert_array_equal(found, wanted)
