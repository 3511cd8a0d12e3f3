"""Saved steps that survive anything, and the folder of a run."""
