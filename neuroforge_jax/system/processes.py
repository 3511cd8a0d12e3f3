"""Several processes that train as one: which of them writes files and speaks to people."""

import jax


def is_main_process() -> bool:
    """The one gate: of several processes the first, and the only one where there is one."""
    return jax.process_index() == 0


def are_several() -> bool:
    """Whether this process has joined others; asking starts nothing."""
    return jax.distributed.is_initialized() and jax.process_count() > 1
