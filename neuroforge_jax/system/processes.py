"""Several processes that train as one: which of them writes files and speaks to people."""

import jax


def is_main_process() -> bool:
    """The one gate: of several processes the first, and the only one where there is one."""
    return jax.process_index() == 0
