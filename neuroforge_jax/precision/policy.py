"""A precision policy: the dtypes of parameters, of products, and of everything else.

Mixed precision (Micikevicius et al., 2018, arXiv:1710.03740) keeps float32 master weights, multiplies in a
shorter type, and leaves losses and reductions in float32. A cast happens in two places only:
`to_compute` before a product, `to_output` after it.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike

from neuroforge_jax.errors import ConfigError, unknown
from neuroforge_jax.system import cpu

DTYPES: dict[str, DTypeLike] = {"f32": jnp.float32, "bf16": jnp.bfloat16, "f16": jnp.float16}
"""By the names that a spec has for them."""

PRECISIONS = {"f32": lax.Precision.HIGHEST, "tf32": lax.Precision.HIGH}
"""How float32 operands are multiplied. Unset, a recent GPU would take TF32, so that float32 is asked for by
name. tf32: TF32 on such a GPU, three bf16 products on a TPU, float32 on a CPU."""


@dataclass(frozen=True)
class Policy:
    """The dtypes of a training, printed as `p=f32,c=bf16,o=f32`; `policy` makes one from its text.

    param: of the master weights, their gradients and the optimizer's state; always float32.
    compute: of the operands of matrix products; they accumulate in float32.
    output: of activations; losses, logits, normalization statistics and sums over a batch are float32.
    matmul: how float32 operands are multiplied, a name of PRECISIONS.
    rounds_products: whether a product is rounded to `compute` before it is float32 again, which can be faster. It
    must not be where devices sum its terms: XLA adds up what leaves the product, in that dtype.
    """

    name: str
    param: DTypeLike
    compute: DTypeLike
    output: DTypeLike
    matmul: str = "f32"
    rounds_products: bool = True

    def to_compute(self, x: Array) -> Array:
        """The operand of a product."""
        return x.astype(self.compute)

    def to_output(self, x: Array) -> Array:
        """The result of a layer, before its activation."""
        return x.astype(self.output)

    @property
    def precision(self) -> lax.Precision | None:
        """What a product asks of XLA; nothing where its operands say it all."""
        return PRECISIONS[self.matmul] if self.compute == jnp.float32 else None

    @property
    def has_fp16(self) -> bool:
        """Whether anything overflows above 65504 and vanishes below 6e-8, so that losses are to be scaled."""
        return jnp.float16 in (self.compute, self.output)

    def multiplied_in(self, platform: str) -> DTypeLike:
        """The dtype that XLA is given operands in on this platform, once they are rounded to `compute`.

        On CPUs XLA has no fast fp16 product, and before jax 0.11 no fast bf16 one; nor has a CPU without bf16
        units, or with such as are slower than its float32 ones. There the rounded operands are multiplied in
        float32, and the product is not rounded again.
        """
        if platform != "cpu":
            return self.compute
        bf16_is_slow = jax.__version_info__ < (0, 11) or not cpu.bf16_pays()
        slow = (jnp.float16, jnp.bfloat16) if bf16_is_slow else (jnp.float16,)
        return jnp.float32 if self.compute in slow else self.compute

    def path(self, platform: str) -> str:
        """How products are computed on this platform, in words.

        XLA's CPU compiler may leave out a rounding where it multiplies in float32: at batch 8 bf16 training with
        oneDNN is float32 training to the bit (jax 0.12).
        """
        if self.compute != self.multiplied_in(platform):
            return f"{short_name(self.compute)}-rounded operands multiplied in float32"
        if self.compute != jnp.float32:
            or_wider = ", float32 where XLA finds that faster" if platform == "cpu" else ""
            return f"{short_name(self.compute)} products{or_wider}"
        if self.matmul == "tf32" and platform != "cpu":
            return {"tpu": "float32 products in three bf16 passes"}.get(platform, "TF32 products")
        return "float32 products"

    def __str__(self) -> str:
        dtypes = {"p": self.param, "c": self.compute, "o": self.output}
        spec = ",".join(f"{letter}={short_name(dtype)}" for letter, dtype in dtypes.items())
        return spec if self.matmul == "f32" else f"{spec},m={self.matmul}"


POLICIES = {
    "f32": Policy("f32", jnp.float32, jnp.float32, jnp.float32),
    "tf32": Policy("tf32", jnp.float32, jnp.float32, jnp.float32, "tf32"),
    "bf16": Policy("bf16", jnp.float32, jnp.bfloat16, jnp.float32),
    "fp16": Policy("fp16", jnp.float32, jnp.float16, jnp.float32),
}


def policy(spec: str) -> Policy:
    """The policy of a name, or of a spec: its letters in any order, float32 where one is left out.

    `str` of a policy is a spec of it, and one that says what a name says is that policy. Raises ConfigError.
    """
    if "=" not in spec:
        if spec not in POLICIES:
            raise ConfigError(f"{unknown('precision', spec, POLICIES)}; or a spec such as p=f32,c=bf16,o=f32")
        return POLICIES[spec]
    dtypes = {"p": "f32", "c": "f32", "o": "f32", "m": "f32"}
    given: set[str] = set()
    for item in spec.split(","):
        letter, _, name = item.strip().partition("=")
        if letter not in dtypes or letter in given:
            raise _refusal(
                spec, f"{letter!r} is {'there twice' if letter in given else 'none of p, c, o, m'}"
            )
        if name not in (PRECISIONS if letter == "m" else DTYPES):
            raise _refusal(spec, f"{letter} cannot be {name!r}")
        given.add(letter)
        dtypes[letter] = name
    if dtypes["p"] != "f32":
        raise _refusal(spec, f"weights and optimizer state are float32, and p={dtypes['p']}")
    if "m" in given and dtypes["c"] != "f32":
        raise _refusal(spec, f"m says how float32 operands are multiplied, and c={dtypes['c']}")
    param, compute, output = (DTYPES[dtypes[letter]] for letter in "pco")
    made = Policy(spec, param, compute, output, dtypes["m"])
    same = (known for known in POLICIES.values() if str(known) == str(made))
    return next(same, replace(made, name=str(made)))


def _refusal(spec: str, why: str) -> ConfigError:
    return ConfigError(
        f"--precision {spec!r}: {why}; a spec is p=f32, c= and o= one of {', '.join(DTYPES)}, and beside c=f32 "
        f"m= one of {', '.join(PRECISIONS)}, such as p=f32,c=bf16,o=f32"
    )


def short_name(dtype: DTypeLike) -> str:
    """f32, bf16 or f16."""
    return next(name for name, known in DTYPES.items() if known == dtype)
