"""Checkpoints: when a run is saved, how its steps lie on disk, and what may be continued from them."""
