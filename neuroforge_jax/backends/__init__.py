"""Backends: the table, and what a backend of one's own is made of.

The names are loaded where they are first used: who wants a compiler's options needs no executor.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuroforge_jax.backends.executors.base import Execution, ExecutorSpec, SegmentMetrics
    from neuroforge_jax.backends.table import BACKENDS, Backend

__all__ = ["BACKENDS", "Backend", "Execution", "ExecutorSpec", "SegmentMetrics"]

_HOMES = {
    "BACKENDS": "table",
    "Backend": "table",
    "Execution": "executors.base",
    "ExecutorSpec": "executors.base",
    "SegmentMetrics": "executors.base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
