"""Programs compiled ahead of their first call, in a thread of its own, and found again by what they are made
for.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
from jax.sharding import NamedSharding

from neuroforge_jax.system.program_cache import by_structure


class Compiling:
    """To be called as the compiled program is; the first call waits for the compiler, and raises what it raised.

    It is traced before: what a caller has set for its own thread (jax's context managers) is in the program.
    """

    def __init__(self, traced: jax.stages.Lowered) -> None:
        thread = ThreadPoolExecutor(1)
        self.out_info = traced.out_info
        self._compiled = thread.submit(traced.compile)
        thread.shutdown(wait=False)

    def __call__(self, *args: Any) -> Any:
        """Run the program on arguments of the shapes that it was traced for."""
        return self._compiled.result()(*args)

    def result(self) -> jax.stages.Compiled:
        """The compiled program, once it is there."""
        return self._compiled.result()

    @property
    def has_failed(self) -> bool:
        """Whether the compiler is done, and has given an error."""
        return self._compiled.done() and self._compiled.exception() is not None


SETTINGS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_threefry_partitionable", "jax_numpy_dtype_promotion",
    "jax_debug_nans", "jax_disable_jit", "jax_default_prng_impl",
)  # fmt: skip
"""Of jax, those that a program is traced with."""


def start_compiling(program: jax.stages.Wrapped, device: jax.Device, *args: Any) -> Compiling:
    """Trace a jitted function for arguments like these (arrays, or their shapes and dtypes), and compile it.

    A second call for the same function, device, shapes and dtypes gives the same program back.
    """
    leaves, tree = jax.tree.flatten(args)
    kinds = tuple(map(_kind, leaves))
    settings = tuple(str(getattr(jax.config, name, None)) for name in SETTINGS)
    pending = _compile_once(program, device, tree, (kinds, settings))
    if not pending or pending[0].has_failed:
        pending.clear()
        with jax.default_device(device):
            pending.append(Compiling(program.lower(*args)))
    return pending[0]


def _kind(leaf: Any) -> tuple[Any, ...]:
    """All that a program depends on of an argument: where it lies too, if that is a mesh."""
    sharding = getattr(leaf, "sharding", None)
    mesh = sharding if isinstance(sharding, NamedSharding) else None
    return leaf.shape, str(leaf.dtype), getattr(leaf, "weak_type", False), mesh


@partial(by_structure, most=256)
def _compile_once(
    program: Callable[..., Any], device: jax.Device, tree: Any, kinds: tuple[Any, ...]
) -> list[Compiling]:
    """A place for the program of these arguments, to be filled by who finds it empty."""
    return []
