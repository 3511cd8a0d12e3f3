"""Kernels for NVIDIA GPUs of compute capability 9.0, in Pallas for Mosaic: tensor cores by the warpgroup.

A product is cut into tiles that the multiprocessors take in turn, each as many as there are. A warpgroup multiplies
from shared memory (wgmma) while the copy engine brings the tiles of the steps ahead, and the float32 sum is in its
registers, where bias and activation are applied before it is written:

    forward     y  = φ(x·W + b)                                                         (`layer.py`, `product.py`)
    gradient    dz = dy ⊙ φ′, and its sums over the rows of a group, in one pass over dy and what is kept
                                                                                        (`elementwise.py`)
    inputs      dx = dz·Wᵀ
    weights     dW = xᵀ·dz
    mlp         all layers of a tile of the batch, with the weights in shared memory; backward they are computed
                again, down to every dz, which leaves the products dW                   (`narrow_mlp.py`)

dz is written, in the compute dtype, and not made in the prologue of both products: wgmma takes its operands from
shared memory in 16 bits, and dy is float32. Operands are padded with zeros to whole tiles. A padded row of y is
φ(b), and is cut off; one of dy is 0, and so is its part of every gradient. No sum depends on who is first.
"""

from neuroforge_jax.kernels.hopper.layer import (
    bias_activation,
    bias_activation_gradient,
    forward,
    gradients,
    input_gradient,
    weight_gradient,
)
from neuroforge_jax.kernels.hopper.narrow_mlp import mlp, mlp_gradient

__all__ = [
    "bias_activation",
    "bias_activation_gradient",
    "forward",
    "gradients",
    "input_gradient",
    "mlp",
    "mlp_gradient",
    "weight_gradient",
]
