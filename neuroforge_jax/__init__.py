"""NeuroForge JAX: multilayer perceptrons as pure functions, compiled by XLA."""

__version__ = "0.1.0"
