"""A program that is compiled in a thread of its own, while others are traced and compiled."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax


class Compiling:
    """To be called as the compiled program is; the first call waits for the compiler, and raises what it raised.

    It is traced before: what a caller has set for its own thread (jax's context managers) is in the program.
    """

    def __init__(self, traced: jax.stages.Lowered) -> None:
        thread = ThreadPoolExecutor(1)
        self._compiled = thread.submit(traced.compile)
        thread.shutdown(wait=False)

    def __call__(self, *args: Any) -> Any:
        """Run the program on arguments of the shapes that it was traced for."""
        return self._compiled.result()(*args)
