"""The dense layer and its derivative rule against float64, for each policy and odd sizes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.kernels.xla import SMALL_BATCH, dense, product
from neuroforge_jax.precision.policy import POLICIES
from tests.tiers import with_further

pytestmark = pytest.mark.full_effort

F32 = POLICIES["f32"]
RNG = np.random.default_rng(0)
# In norm, relative: float32 sums of up to 784 terms; bf16 has 8 bits, so each operand is off by up to 2⁻⁹.
# fp16 has 11. A CPU computes tf32 as float32.
BOUND = {"f32": 2e-6, "tf32": 2e-6, "bf16": 8e-3, "fp16": 1e-3}


def error(found, expected):
    return np.linalg.norm(np.float64(found) - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs"), with_further([(1, 7, 3), (129, 65, 31)], [(8, 784, 10), (16, 33, 17)])
)
def test_values_and_gradients(name, batch, inputs, outputs):
    x, w = RNG.normal(size=(batch, inputs)), RNG.normal(size=(inputs, outputs))
    b, dy = RNG.normal(size=outputs), RNG.normal(size=(batch, outputs))
    single = [jnp.asarray(value, jnp.float32) for value in (x, w, b)]

    @jax.jit
    def value_and_gradients(x, w, b, dy):
        y, pull = jax.vjp(lambda x, w, b: dense(x, w, b, "identity", POLICIES[name]), x, w, b)
        return y, *pull(dy)

    y, dx, dw, db = value_and_gradients(*single, jnp.asarray(dy, jnp.float32))
    assert y.dtype == dx.dtype == dw.dtype == db.dtype == jnp.float32
    assert error(y, x @ w + b) < BOUND[name]
    assert error(dx, dy @ w.T) < BOUND[name]
    assert error(dw, x.T @ dy) < BOUND[name]
    # The bias gradient is a float32 sum whatever the policy.
    assert error(db, dy.sum(axis=0)) < BOUND["f32"]


@pytest.mark.parametrize("batch", [8, 64])
def test_a_bf16_weight_gradient_accumulates_in_float32(batch):
    """One large term and many small ones: a bf16 accumulator would lose every small one."""
    x = jnp.concatenate([jnp.full((1, 1), 256.0), jnp.full((batch - 1, 1), 1.0)])
    dw = jax.grad(lambda w: product(x, w, POLICIES["bf16"]).sum())(jnp.zeros((1, 1)))
    exact = jnp.asarray(256.0 + batch - 1)
    in_bf16 = POLICIES["bf16"].multiplied_in("cpu") == jnp.bfloat16 and batch > SMALL_BATCH
    assert dw[0, 0] == exact.astype(jnp.bfloat16 if in_bf16 else jnp.float32)


@pytest.mark.parametrize("batch", [8, 64])
def test_a_small_batch_updates_its_weights_without_a_product(batch):
    """On a CPU the outer products of the samples are summed in the loop of the update."""

    def updated(w, x):
        return w - 0.1 * jax.grad(lambda w: (product(x, w, POLICIES["f32"]) ** 2).sum())(w)

    text = jax.jit(updated).lower(jnp.ones((24, 20)), jnp.ones((batch, 24))).compile().as_text()
    assert text.count(" dot(") == (1 if batch <= SMALL_BATCH else 2)


@pytest.mark.skipif(jax.__version_info__ < (0, 12), reason="XLA copies them all the same before jax 0.12")
def test_a_small_batch_updates_its_weights_where_they_are():
    """Left free, XLA schedules the update before the last use of the weights, and copies them first: 1.2 times as
    slow at batch 8, 1.7 at batch 1.
    """

    def step(index, weights):
        def loss(weights):
            return (product(product(jnp.ones((4, 24)) * index, weights[0], F32), weights[1], F32) ** 2).sum()

        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, jax.grad(loss)(weights))

    weights = jnp.ones((24, 40)), jnp.ones((40, 20))
    trained = jax.jit(lambda weights: jax.lax.fori_loop(0, 9, step, weights), donate_argnums=0)
    text = trained.lower(weights).compile().as_text()
    assert not [line for line in text.splitlines() if " copy(" in line and "f32[40,20]" in line]


def test_the_weight_gradient_of_a_narrow_layer_is_multiplied_as_it_is_written():
    """XLA would undo the transposition, and its product takes four times as long."""

    def gradient(w, x):
        return jax.grad(lambda w: (product(x, w, F32) ** 2).sum())(w)

    text = jax.jit(gradient).lower(jnp.ones((512, 10)), jnp.ones((64, 512))).compile().as_text()
    assert "f32[10,512]{1,0} dot(" in text


def test_it_works_under_vmap_and_is_the_same_as_a_loop():
    x = jnp.asarray(RNG.normal(size=(3, 20, 6)), jnp.float32)
    w = jnp.asarray(RNG.normal(size=(3, 6, 5)), jnp.float32)

    def gradient(x, w):
        return jax.grad(lambda w: (product(x, w, POLICIES["bf16"]) ** 2).sum())(w)

    together = jax.vmap(gradient)(x, w)
    apart = jnp.stack([gradient(x[i], w[i]) for i in range(3)])
    np.testing.assert_allclose(together, apart, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("outputs", "turned"), [(96, 0), (10, 1)])
def test_the_gradient_of_a_wide_layer_is_laid_out_as_its_weights(outputs, turned):
    """Turned around, it was read across its rows by every loop of an optimizer that remembers gradients, and bf16
    with Adam took twice as long.
    """

    def gradient(w, x):
        return jax.grad(lambda w: (product(x, w, F32) ** 2).sum())(w)

    text = jax.jit(gradient).lower(jnp.ones((80, outputs)), jnp.ones((64, 80))).as_text()
    assert text.count("stablehlo.transpose") == turned


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_where_devices_sum_its_terms_a_product_is_not_rounded(name):
    """Of operands that the compute dtype holds: products and gradients are those of float32."""
    short, wide = POLICIES[name], replace(POLICIES[name], rounds_products=False)
    x, w, dy = (
        jnp.asarray(RNG.normal(size=size), short.compute).astype(jnp.float32)
        for size in ((64, 33), (33, 17), (64, 17))
    )

    @partial(jax.jit, static_argnums=0)
    def products(policy):
        y, pull = jax.vjp(lambda x, w: product(x, w, policy), x, w)
        return y, *pull(dy)

    for found, wanted in zip(products(wide), products(F32), strict=True):
        assert error(found, np.float64(wanted)) < BOUND["f32"]
