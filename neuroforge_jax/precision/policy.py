"""A precision policy: the dtypes of parameters, of products, and of everything else.

Mixed precision (Micikevicius et al., 2018, arXiv:1710.03740) keeps float32 master weights, multiplies in a
shorter type, and leaves losses and reductions in float32. A cast happens only at the doors of a policy:
`to_compute` before a product, `to_output` after it.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from neuroforge_jax.errors import NotYetError, lookup


@dataclass(frozen=True)
class Policy:
    """The dtypes of a training, printed as `p=f32,c=bf16,o=f32`.

    param: of the master weights, their gradients and the optimizer's state.
    compute: of the operands of matrix products; they accumulate in float32.
    output: of biases, activations, losses and reductions.
    """

    name: str
    param: DTypeLike
    compute: DTypeLike
    output: DTypeLike

    def to_compute(self, x: Array) -> Array:
        """The operand of a product."""
        return x.astype(self.compute)

    def to_output(self, x: Array) -> Array:
        """The result of a product."""
        return x.astype(self.output)

    def __str__(self) -> str:
        short = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
        doors = {"p": self.param, "c": self.compute, "o": self.output}
        return ",".join(f"{door}={short[jnp.dtype(dtype).name]}" for door, dtype in doors.items())


POLICIES = {
    "f32": Policy("f32", jnp.float32, jnp.float32, jnp.float32),
    "bf16": Policy("bf16", jnp.float32, jnp.bfloat16, jnp.float32),
}


def policy(name: str) -> Policy:
    """The policy of this name.

    Raises ConfigError for an unknown one, NotYetError for fp16, which needs loss scaling.
    """
    if name == "fp16":
        raise NotYetError("--precision fp16 is not built yet: it needs loss scaling; use bf16 or f32")
    return lookup(POLICIES, name, "precision")
