"""Data as plain arrays: bytes in, checked datasets out. Importing it imports nothing heavy."""

from neuroforge_jax.data.datasets import DATASETS, data_folder, load_dataset
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.schema import Column, Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.types import Dataset, Split

__all__ = [
    "DATASETS",
    "Column",
    "Dataset",
    "Fitted",
    "Schema",
    "Split",
    "Target",
    "data_folder",
    "load_dataset",
]
