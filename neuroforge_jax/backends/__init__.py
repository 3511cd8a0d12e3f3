"""Backends: the table, how a name becomes one, and what a plugin needs."""

from neuroforge_jax.backends.table import BACKENDS, Backend

__all__ = ["BACKENDS", "Backend"]
