"""Settings of jax that would change what a training computes, or end it with an error of jax's own.

They come from the environment (JAX_ENABLE_X64=1) or from who calls, and are meant for other code: two equal configs
are the same bits, whatever else is set. What they are for has a flag here.
"""

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import jax

NEEDED: dict[str, tuple[tuple[Any, ...], str]] = {
    "debug_nans": ((False,), "--debug-nans names the operation that made the first NaN"),
    "debug_infs": ((False,), "--debug-nans names the operation that made the first NaN"),
    "enable_x64": ((False,), "--precision says in which dtypes is computed"),
    "disable_jit": ((False,), "--backend cpu computes operation by operation"),
    "numpy_rank_promotion": (("allow",), ""),
    "numpy_dtype_promotion": (("standard",), ""),
    "default_prng_impl": (("threefry2x32",), "equal configs draw equal numbers"),
    "threefry_partitionable": ((True,), "equal configs draw equal numbers"),
    "transfer_guard": (("allow", None), ""),
}
"""Setting of jax, which is also the name of its context manager → the values that are right, the first of which is
set where it has another; and what is to be said about that.
"""


class OwnSettings:
    """Within its block, jax has the settings that a training needs; after it, those from before.

    note: a sentence that names those that were others; empty where none was.
    """

    def __init__(self) -> None:
        changed = [name for name in NEEDED if getattr(jax.config, f"jax_{name}") not in NEEDED[name][0]]
        names = ", ".join(f"JAX_{name.upper()}" for name in changed)
        hints = dict.fromkeys(NEEDED[name][1] for name in changed if NEEDED[name][1])
        self.note = "; ".join([f"note      {names}: not followed in a training", *hints]) if changed else ""
        self._changed = changed
        self._stack = ExitStack()

    def __enter__(self) -> "OwnSettings":
        for name in self._changed:
            self._stack.enter_context(getattr(jax, name)(NEEDED[name][0][0]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()
