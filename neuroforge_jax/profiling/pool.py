"""The memory that jax takes of a GPU, set before jax starts: afterwards it is too late."""

import os

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import ConfigError

FRACTION, PREALLOCATE = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"
VARIABLES = {
    FRACTION: ("0.75", "the share of the memory that the pool may take; --memory-fraction"),
    PREALLOCATE: ("true", "taken at once, which leaves no holes, or as it is needed; --preallocate"),
    "XLA_PYTHON_CLIENT_ALLOCATOR": (
        "default",
        "default is a pool; platform asks the driver every time: slow, exact",
    ),
}
"""By name: what holds where it is unset, and what it does."""


def set_pool(options: RunOptions) -> bool:
    """Set the variables that the options ask for; whether there are any.

    Raises ConfigError where the environment says something else.
    """
    wanted = {}
    if options.memory_fraction is not None:
        wanted[FRACTION] = f"{options.memory_fraction:g}"
    if options.preallocate is not None:
        wanted[PREALLOCATE] = "true" if options.preallocate else "false"
    for variable, value in wanted.items():
        flag = "--memory-fraction" if variable == FRACTION else "--preallocate"
        if os.environ.get(variable, value).lower() != value:
            raise ConfigError(
                f"{flag} says {value}, and {variable} in the environment {os.environ[variable]}; leave one out"
            )
    os.environ.update(wanted)
    return bool(wanted)
