"""The flagship in float32, to be set beside `mixed.py`: same network, same optimizer, same seed.

    python -m neuroforge_jax.train --config configs/float32.py

MNIST: 98.55 % in 23 s of training. Digits: 96.67 % in 0.3 s.
On two cores of an AMD EPYC (Zen 4), Python 3.13, jax 0.12.
"""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    backend="optimized",
    hidden=(1024, 512),
    batch_size=512,
    epochs=10,
    optimizer="adam",
    learning_rate=0.002,
    schedule="cosine",
)
