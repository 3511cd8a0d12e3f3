"""Backends: the table, and what a backend of one's own is made of."""

from neuroforge_jax.backends.executors.base import Execution, ExecutorSpec, SegmentMetrics
from neuroforge_jax.backends.table import BACKENDS, Backend

__all__ = ["BACKENDS", "Backend", "Execution", "ExecutorSpec", "SegmentMetrics"]
