"""What defines a training, what is made of its data, and how one run of it is carried out: frozen values.

The sentence under each field is its help on the command line. Numbers are checked here; a name is checked
by the table that owns it, when it is looked up. Importing this package imports nothing heavy.
"""

from neuroforge_jax.config.data import DataConfig
from neuroforge_jax.config.options import RunOptions
from neuroforge_jax.config.training import TrainConfig

__all__ = ["DataConfig", "RunOptions", "TrainConfig"]
