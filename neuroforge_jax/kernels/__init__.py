"""Operations with a derivative rule of their own, and their hand-written kernels: `dense(x, W, b, "relu")`."""

from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.kernels.forms import activate
from neuroforge_jax.kernels.fused import IMPLEMENTATIONS, Implementation, bias_activation, dense, mlp

__all__ = ["IMPLEMENTATIONS", "DenseKernel", "Implementation", "activate", "bias_activation", "dense", "mlp"]
