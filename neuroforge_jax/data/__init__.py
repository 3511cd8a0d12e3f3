"""Data as plain arrays: bytes in, checked datasets out. Importing it imports nothing heavy."""

from neuroforge_jax.data.datasets import DATASETS, data_folder, load_dataset
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.readers.table import Table, encode, read_csv
from neuroforge_jax.data.types import Column, Dataset, Split

__all__ = [
    "DATASETS",
    "Column",
    "Dataset",
    "Fitted",
    "Split",
    "Table",
    "data_folder",
    "encode",
    "load_dataset",
    "read_csv",
]
