"""The memory that jax takes of an accelerator, set before jax starts: afterwards it is too late.

XLA_PYTHON_CLIENT_MEM_FRACTION   the share of the device's memory that the pool may take, 0.75 unless set
XLA_PYTHON_CLIENT_PREALLOCATE    whether it is taken at once, which leaves no holes, or as it is needed
"""

import os

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import ConfigError

FRACTION, PREALLOCATE = "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_PREALLOCATE"


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
