"""What a GPU computes, on it: `JAX_PLATFORMS=cuda,cpu python -m pytest tests/kernels/test_on_gpu.py -m gpu -n 0`.

Those that are called small are rehearsed without one, with interpreted kernels: `benchmarks/gpu.py --rehearse`.
"""

from dataclasses import replace
from itertools import pairwise, product

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
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.checks import verify_backend
from tests.kernels.pool_use import calls_of_segments, check_arrays, check_pool, counts, use_of_segments

pytestmark = [pytest.mark.full_effort, pytest.mark.gpu]

RNG = np.random.default_rng(3)
SEGMENTS = (10, 10, 100, 1000)
BOUND = {"f32": 2e-5, "bf16": 1.2e-2, "fp16": 2e-3}


@pytest.fixture(scope="module")
def target():
    device = jax.devices()[0]
    found = None if device.platform == "tpu" else kernels_for(device)
    if found is None:
        pytest.skip(
            f"needs an NVIDIA GPU with kernels, and JAX_PLATFORMS=cuda,cpu; here is {device.device_kind}"
        )
    return found


def by_size(*cases):
    """Parameters of a test; the first is the small one."""
    return [pytest.param(*case, id="small" if at == 0 else None) for at, case in enumerate(cases)]


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
    ("gelu", "bf16", (70, 129, 40)),
    *((activation, "bf16", (129, 784, 127)) for activation in ACTIVATIONS),
    *((activation, "fp16", (1, 7, 10)) for activation in ("relu", "gelu")),
    *((activation, "fp16", (512, 1024, 512)) for activation in ("relu", "gelu")),
    ("relu", "bf16", (8192, 784, 1024)),
    ("gelu", "f32", (129, 784, 127)),
]


@pytest.mark.parametrize(("activation", "precision", "sizes"), by_size(*LAYERS))
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


@pytest.mark.parametrize(
    ("shape", "activation"), by_size(*product([(1, 7), (129, 127), (8192, 1024)], ACTIVATIONS))
)
def test_bias_and_activation(target, activation, shape):
    form = FORMS[activation]
    agree(
        target,
        lambda how, *o: kernels.bias_activation(*o, activation, how),
        (normal(*shape).astype(jnp.bfloat16), normal(shape[1])),
        normal(*shape),
        BOUND["bf16"] + 3 * (form.off + form.slope_off),
    )


@pytest.mark.parametrize(("batch", "width"), by_size(*product([1, 1000, 2**14], [64, 128])))
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


CASES = {case.name: case for case in standard_cases()}
VERIFIED = by_size(
    ("cuda-optimized", "sgd"),
    *product(
        ("cuda-optimized", "cuda-async", "cuda-mixed-precision", "pallas"),
        ("sgd", "adamw", "784-512-256-10 silu", "784-512-256-10 momentum", "overflowing"),
    ),
)


@pytest.mark.parametrize(("name", "case"), VERIFIED)
def test_a_backend_computes_what_the_oracle_does(target, name, case):
    verdict = verify_backend(BACKENDS[name], cases=[CASES[case]])
    assert verdict.passed, [check for check in verdict.checks if not check.passed]


DIGITS = nf.TrainConfig(dataset="digits", batch_size=64)
SMALL, LARGE = (16,), (256, 128)


@pytest.mark.parametrize(
    ("name", "hidden"), by_size(("cuda-async", SMALL), ("cuda-naive", SMALL), ("pallas", LARGE))
)
def test_a_backend_learns(target, name, hidden):
    config = replace(DIGITS, backend=name, hidden=hidden, optimizer="adam", learning_rate=0.002)
    assert nf.fit(config).test_accuracy > 0.9


LONG, SHORT = 60, 10
"""Epochs: of a run in which 1,000 steps are one program call, and of one in which they are four."""


@pytest.mark.parametrize(
    ("name", "hidden", "epochs"),
    by_size(
        ("cuda-optimized", SMALL, LONG),
        ("cuda-optimized", SMALL, SHORT),
        ("cuda-mixed-precision", LARGE, LONG),
        ("pallas", LARGE, LONG),
    ),
)
def test_a_step_allocates_nothing(target, name, hidden, epochs):
    """A call of 1,000 steps asks the pool no more often than one of 10, and as much is held after it."""
    config, dataset = replace(DIGITS, backend=name, hidden=hidden, epochs=epochs), nf.load_dataset("digits")
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset)
    uses = use_of_segments(run, state, BACKENDS[name].device, SEGMENTS)
    check_arrays(uses, calls_of_segments(config, dataset, SEGMENTS))
    if not counts(uses[-1]):
        pytest.skip("calls and arrays are right; the pool of this device does not count what it is asked for")
    check_pool(uses)
