"""The Hopper kernels, interpreted at small sizes, against the reference; and lowered for their GPU."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

from neuroforge_jax import kernels
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.kernels import hopper, reference
from neuroforge_jax.kernels.hopper import division, narrow_mlp, product
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.portability.compiled import lower_function
from neuroforge_jax.precision.policy import POLICIES
from tests.kernels.test_fused import agree, both, bound, layer, normal

pytestmark = pytest.mark.kernels

interpreted = pytest.mark.skipif(
    not hasattr(plgpu, "InterpretGPUParams"), reason="this jax has no interpreter of kernels for NVIDIA GPUs"
)
SMALL = Tiles(64, 64, 64)


@interpreted
@pytest.mark.parametrize(
    ("sizes", "precision", "activation"),
    [((1, 7, 10), "bf16", "tanh"), ((70, 129, 40), "bf16", "gelu"), ((65, 10, 66), "fp16", "relu")],
)
def test_a_layer_and_its_gradients_are_those_of_the_reference(sizes, precision, activation):
    chosen = POLICIES[precision]
    x, kernel, bias = layer(*sizes)
    dy = normal(sizes[0], sizes[2])
    wanted = both(lambda *o: reference.dense(*o, activation, chosen), (x, kernel, bias), dy)
    x, kernel = chosen.to_compute(x), chosen.to_compute(kernel)
    how = {"tiles": SMALL, "interpret": True}
    y, z = hopper.forward(x, kernel, bias, activation, jnp.float32, **how)
    kept = y if z is None else z
    how["tiles"] = SMALL, SMALL
    dx, dkernel, dbias = hopper.gradients(x, kernel, dy, kept, activation, **how)
    assert dx.dtype == x.dtype
    agree((y, dx.astype(jnp.float32), dkernel, dbias), wanted, bound(precision, activation))


@interpreted
@pytest.mark.parametrize(("shape", "activation"), [((1, 7), "gelu"), ((130, 129), "elu")])
def test_bias_and_activation_in_one_pass_each_way(shape, activation):
    z, bias, dy = normal(*shape), normal(shape[1]), normal(*shape)
    wanted = both(lambda *o: reference.bias_activation(*o, activation), (z, bias), dy)
    y = hopper.bias_activation(z, bias, activation, interpret=True)
    gradients = hopper.bias_activation_gradient(z, bias, dy, activation, interpret=True)
    agree((y, *gradients), wanted, bound("f32", activation))


@interpreted
@pytest.mark.parametrize("steps", [4, 5])
def test_a_sum_over_the_batch_is_divided_where_processors_would_be_idle(steps, monkeypatch):
    """In two parts, of which the last may be shorter; the elementwise kernel's rows too."""
    monkeypatch.setattr(division, "processors", lambda: 2)
    monkeypatch.setattr(product, "LEAST_STEPS", 1)
    x, dy, y = normal(64 * steps, 10), normal(64 * steps, 7), normal(64 * steps, 7)
    x = x.astype(jnp.bfloat16)
    dkernel, dbias = hopper.weight_gradient(x, dy, y, "relu", tiles=SMALL, interpret=True)
    dz = jnp.where(y > 0, dy, 0)
    agree((dkernel, dbias), (x.astype(jnp.float32).T @ dz, dz.sum(0)), bound("bf16", "relu"))


@interpreted
@pytest.mark.parametrize("held", [True, False])
def test_a_narrow_mlp_and_its_gradients(held, monkeypatch):
    monkeypatch.setattr(division, "processors", lambda: 2)
    monkeypatch.setattr(narrow_mlp, "WEIGHT_BYTES", narrow_mlp.WEIGHT_BYTES if held else 0)
    chosen = POLICIES["bf16"]
    layers = [layer(1, *pair)[1:] for pair in ((50, 30), (30, 10))]
    x, dy = normal(150, 50), normal(150, 10)  # three tiles for two processors
    wanted = both(lambda *o: reference.mlp(*o, "tanh", chosen), (x, layers), dy)
    kernels_hat, biases = [chosen.to_compute(kernel) for kernel, _ in layers], [bias for _, bias in layers]
    operands = chosen.to_compute(x), kernels_hat, biases
    logits = hopper.mlp(*operands, "tanh", jnp.float32, interpret=True)
    dx, dkernels, dbiases = hopper.mlp_gradient(*operands, dy, "tanh", jnp.float32, interpret=True)
    found = [dx.astype(jnp.float32)]
    for gradients in zip(dkernels, dbiases, strict=True):
        found += gradients
    agree((logits, *found), wanted, 3 * bound("bf16", "tanh"))


@interpreted
def test_members_of_a_population_take_turns():
    x, kernel, bias = normal(2, 5, 6).astype(jnp.bfloat16), normal(2, 6, 4).astype(jnp.bfloat16), normal(2, 4)

    def y(x, kernel, bias):
        return hopper.forward(x, kernel, bias, "relu", jnp.float32, tiles=SMALL, interpret=True)[0]

    together = jax.vmap(y)(x, kernel, bias)
    assert jnp.array_equal(
        together, jnp.stack([y(*operands) for operands in zip(x, kernel, bias, strict=True)])
    )


@pytest.mark.skipif(hasattr(plgpu, "InterpretGPUParams"), reason="this jax has an interpreter")
def test_without_an_interpreter_one_line_says_so():
    with pytest.raises(DeviceError, match=r"cannot interpret kernels of NVIDIA GPUs; jax 0.11 can"):
        hopper.bias_activation(normal(3, 4), normal(4), "relu", interpret=True)


def lowered(function, *operands):
    """How many kernels of ours are in the program."""
    return lower_function("cuda", function, *operands).mlir_module().count("@mosaic_gpu_v2")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("sizes", [(1, 7, 10), (8192, 784, 1024), (4096, 4096, 4096)])
def test_a_layer_lowers_with_its_gradients(sizes, activation, precision):
    batch, inputs, outputs = sizes
    operands = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((batch, inputs), (inputs, outputs), (outputs,))
    ]

    def loss(*operands):
        return kernels.dense(*operands, activation, POLICIES[precision], "hopper").sum()

    # Forward; dz for dx and for dW, which XLA makes once; dx and dW.
    assert lowered(jax.grad(loss, argnums=(0, 1, 2)), *operands) >= 4


@pytest.mark.parametrize("width", [64, 128])
def test_an_mlp_on_two_million_samples_lowers_as_one_kernel(width):
    operands = [
        jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2**21, width), (width, width), (width,))
    ]

    def logits(x, kernel, bias):
        return kernels.mlp(x, [(kernel, bias)] * 4, "relu", POLICIES["bf16"], "hopper")

    assert lowered(logits, *operands) == 1


def test_an_mlp_whose_weights_do_not_fit_fetches_them_layer_by_layer():
    operands = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((512, 128), (128, 128), (128,))]

    def logits(x, kernel, bias):
        return kernels.mlp(x, [(kernel, bias)] * 9, "relu", POLICIES["bf16"], "hopper")

    assert lowered(logits, *operands) == 1


def test_float32_runs_xla():
    operands = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((64, 7), (7, 10), (10,))]
    assert lowered(lambda *o: kernels.dense(*o, "relu", POLICIES["f32"], "hopper"), *operands) == 0
