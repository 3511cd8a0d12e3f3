"""The Triton kernels, interpreted, against the reference; and lowered for the GPUs that they are for."""

import jax
import jax.numpy as jnp
import pytest

from neuroforge_jax.kernels import reference, triton
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.portability.compiled import lower_function
from neuroforge_jax.precision.policy import POLICIES
from tests.kernels.test_fused import BOUND, agree, both, bound, every_pair, layer, normal

pytestmark = pytest.mark.kernels

SMALL = Tiles(16, 32, 16)


@pytest.mark.parametrize(
    ("sizes", "precision", "activation"),
    every_pair([(1, 7, 10), (33, 50, 21), (129, 61, 127)], BOUND, ("relu", "gelu", "tanh")),
)
def test_a_layer_and_its_gradients_are_those_of_the_reference(sizes, precision, activation):
    chosen = POLICIES[precision]
    x, kernel, bias = layer(*sizes)
    dy = normal(sizes[0], sizes[2])
    wanted = both(lambda *o: reference.dense(*o, activation, chosen), (x, kernel, bias), dy)
    x, kernel = chosen.to_compute(x), chosen.to_compute(kernel)
    how = {"tiles": SMALL, "interpret": True}
    y, z = triton.forward(x, kernel, bias, activation, jnp.float32, **how)
    kept = y if z is None else z
    dx = triton.input_gradient(dy, kept, kernel, activation, **how)
    dkernel, dbias = triton.weight_gradient(x, dy, kept, activation, **how)
    assert dx.dtype == x.dtype
    agree((y, dx.astype(jnp.float32), dkernel, dbias), wanted, bound(precision, activation))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 7), (130, 129)])
def test_bias_and_activation_in_one_pass_each_way(activation, shape):
    z, bias, dy = normal(*shape), normal(shape[1]), normal(*shape)
    y, dz, dbias = both(lambda *o: reference.bias_activation(*o, activation), (z, bias), dy)
    found = triton.bias_activation(z, bias, activation, interpret=True)
    gradients = triton.bias_activation_gradient(z, bias, dy, activation, interpret=True)
    agree((found, *gradients), (y, dz, dbias), bound("f32", activation))


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_every_kernel_lowers_for_a_gpu(dtype):
    """Which need not be here."""
    x, kernel = (jax.ShapeDtypeStruct(shape, dtype) for shape in ((128, 784), (784, 1024)))
    y, single = jax.ShapeDtypeStruct((128, 1024), jnp.float32), jax.ShapeDtypeStruct((1024,), jnp.float32)

    def all_of_them(x, kernel, bias, dy):
        y, z = triton.forward(x, kernel, bias, "gelu", jnp.float32)
        gradients = triton.input_gradient(dy, z, kernel, "gelu"), triton.weight_gradient(x, dy, z, "gelu")
        return y, gradients, triton.bias_activation_gradient(y, bias, dy, "relu")

    exported = lower_function("cuda", all_of_them, x, kernel, single, y)
    assert exported.mlir_module().count("__gpu$xla.gpu.triton") == 4
