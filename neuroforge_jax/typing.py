"""The few types that every room shares.

Axis letters in signatures: B batch, I inputs, O outputs, C classes, P population; N samples of a dataset,
S steps of a segment.
"""

from collections.abc import Mapping

from jaxtyping import Array, Bool, Float, Integer, Key, Num, UInt8, UInt32

PRNGKey = Key[Array, ""]
"""One random key, made by `jax.random.key`."""

Params = Mapping[str, Mapping[str, Array]]
"""Layer name → leaf name → array: `params["layer0"]["kernel"]` is f32 [I, O]."""

CompileOptions = tuple[tuple[str, bool | int | str], ...]
"""XLA compile options as sorted pairs, which can be hashed; `dict(options)` is what `jax.jit` takes."""

__all__ = [
    "Array",
    "Bool",
    "CompileOptions",
    "Float",
    "Integer",
    "Key",
    "Num",
    "PRNGKey",
    "Params",
    "UInt8",
    "UInt32",
]
