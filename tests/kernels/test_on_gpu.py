"""The kernels for the GPU that is here, on it: `JAX_PLATFORMS=cuda python -m pytest -m gpu -n 0`."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax import kernels
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.kernels.kernel_sets import kernels_for
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import POLICIES
from neuroforge_jax.verification.checks import verify_backend

pytestmark = [pytest.mark.full_effort, pytest.mark.gpu]

RNG = np.random.default_rng(3)
BOUND = {"f32": 2e-5, "bf16": 1.2e-2, "fp16": 2e-3}


@pytest.fixture(scope="module")
def target():
    device = jax.devices()[0]
    if device.platform != "gpu":
        pytest.skip("needs an NVIDIA GPU, and JAX_PLATFORMS=cuda")
    found = kernels_for(device)
    if found is None:
        pytest.skip(f"there are no kernels for {device.device_kind}")
    return found


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def agree(target, function, operands, dy, bound):
    """Value and gradients by the target's kernels against those by the reference."""

    def both(how):
        value, pull = jax.jit(lambda *o: jax.vjp(lambda *o: function(how, *o), *o))(*operands)
        return value, *jax.tree.leaves(pull(dy.astype(value.dtype)))

    for found, wanted in zip(both(target.name), both("reference"), strict=True):
        found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
        assert np.linalg.norm(found - wanted) <= bound * np.linalg.norm(wanted)


LAYERS = [
    *((activation, "bf16", (129, 784, 127)) for activation in ACTIVATIONS),
    *((activation, "fp16", (1, 7, 10)) for activation in ("relu", "gelu")),
    *((activation, "fp16", (512, 1024, 512)) for activation in ("relu", "gelu")),
    ("relu", "bf16", (8192, 784, 1024)),
    ("gelu", "f32", (129, 784, 127)),
]


@pytest.mark.parametrize(("activation", "precision", "sizes"), LAYERS)
def test_a_layer(target, activation, precision, sizes):
    if not target.multiplies(POLICIES[precision].compute):
        pytest.skip(f"the {target.name} kernels multiply no {precision}")
    batch, inputs, outputs = sizes
    operands = normal(batch, inputs), normal(inputs, outputs) / inputs**0.5, 0.1 * normal(outputs)
    form = FORMS[activation]
    agree(
        target,
        lambda how, *o: kernels.dense(*o, activation, POLICIES[precision], how),
        operands,
        normal(batch, outputs),
        BOUND[precision] + 3 * (form.off + form.slope_off),
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 7), (129, 127), (8192, 1024)])
def test_bias_and_activation(target, activation, shape):
    form = FORMS[activation]
    agree(
        target,
        lambda how, *o: kernels.bias_activation(*o, activation, how),
        (normal(*shape).astype(jnp.bfloat16), normal(shape[1])),
        normal(*shape),
        BOUND["bf16"] + 3 * (form.off + form.slope_off),
    )


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("batch", [1, 1000, 2**14])
def test_a_narrow_mlp(target, width, batch):
    if "mlp" not in target.parts:
        pytest.skip(f"the {target.name} kernels have no fused mlp")
    widths = (61, width, width, 10)
    layers = [(normal(i, o) / i**0.5, 0.1 * normal(o)) for i, o in pairwise(widths)]
    agree(
        target,
        lambda how, *o: kernels.mlp(*o, "tanh", POLICIES["bf16"], how),
        (normal(batch, 61), layers),
        normal(batch, 10),
        4 * BOUND["bf16"],
    )


@pytest.mark.parametrize("name", ["cuda-optimized", "cuda-async", "cuda-mixed-precision", "pallas"])
def test_a_backend_computes_what_the_oracle_does(target, name):
    verdict = verify_backend(BACKENDS[name])
    assert verdict.passed, [check for check in verdict.checks if not check.passed]


def test_a_training_with_kernels_learns(target):
    config = nf.TrainConfig(
        dataset="digits",
        hidden=(256, 128),
        batch_size=64,
        optimizer="adam",
        learning_rate=0.002,
        backend="pallas",
    )
    assert nf.fit(config).test_accuracy > 0.93
