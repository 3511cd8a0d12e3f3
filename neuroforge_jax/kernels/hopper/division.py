"""How work is divided among the multiprocessors."""

from typing import Any

import jax
import jax.numpy as jnp

from neuroforge_jax.kernels.tiling import blocks
from neuroforge_jax.typing import Array

ROWS, COLUMNS = 64, 128
"""The tile of elementwise kernels, and of the batch in an MLP."""


def processors() -> int:
    """Multiprocessors: of the abstract device of the mesh in force, else of the device that is here."""
    abstract = jax.sharding.get_abstract_mesh().abstract_device
    if abstract is not None and abstract.num_cores:
        return abstract.num_cores
    return getattr(jax.devices()[0], "core_count", None) or 1


def count_parts(length: int, wanted: int) -> int:
    """Into how many equal parts to divide, of which the last is the shortest and not empty."""
    return blocks(length, blocks(length, max(1, wanted)))


def locate_part(length: int, parts: int, part: Array) -> tuple[Any, Any]:
    """Where a part begins, and how long it is."""
    each = blocks(length, parts)
    first = part * each
    return first, each if each * parts == length else jnp.minimum(each, length - first)
