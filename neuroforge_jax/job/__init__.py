"""A training with every name looked up, once."""
