"""Operations with a derivative rule of their own, and their hand-written kernels: `dense(x, W, b, "relu")`."""

from neuroforge_jax.kernels.fused import IMPLEMENTATIONS, bias_activation, dense, mlp

__all__ = ["IMPLEMENTATIONS", "bias_activation", "dense", "mlp"]
