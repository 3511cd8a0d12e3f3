"""The memory that jax takes of a GPU, set before jax starts: afterwards it is too late."""

import os
import sys

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
    """Set the variables that the options ask for; whether that is in time, before jax has taken its memory.

    Raises ConfigError where the environment says something else.
    """
    wanted = _wanted_settings(options)
    for variable, value in wanted.items():
        if os.environ.get(variable, value).lower() != value:
            raise ConfigError(
                f"{_flag(variable)} says {value}, and {variable} in the environment {os.environ[variable]}; leave "
                "one out"
            )
    in_time = wanted.keys() <= os.environ.keys() or not _jax_has_started()
    os.environ.update(wanted)
    return in_time


def describe_pool(options: RunOptions, platform: str, *, in_time: bool) -> str:
    """A note on options that change nothing here; empty where there is nothing to say.

    Raises ConfigError where jax had taken its memory before they were set.
    """
    if not (wanted := _wanted_settings(options)):
        return ""
    if platform == "cpu":
        return "note      --memory-fraction and --preallocate change nothing on a CPU"
    if not in_time:
        raise ConfigError(
            f"{', '.join(map(_flag, wanted))}: jax has its memory already; ask before anything is computed, or set "
            f"{', '.join(wanted)} in the environment"
        )
    return ""


def _wanted_settings(options: RunOptions) -> dict[str, str]:
    wanted = {}
    if options.memory_fraction is not None:
        wanted[FRACTION] = f"{options.memory_fraction:g}"
    if options.preallocate is not None:
        wanted[PREALLOCATE] = "true" if options.preallocate else "false"
    return wanted


def _flag(variable: str) -> str:
    return "--memory-fraction" if variable == FRACTION else "--preallocate"


def _jax_has_started() -> bool:
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()
