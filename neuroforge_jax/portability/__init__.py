"""Trainings compiled for accelerators that are not here: for which they compile, and what they would need."""
