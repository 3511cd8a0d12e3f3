"""The flagship: mixed precision, bf16 products under float32 master weights, in one program on the device.

    python -m neuroforge_jax.train --config configs/mixed.py

MNIST: 98.52 % in 12 s of training. Digits: 96.67 % in 0.3 s.
On two cores of an AMD EPYC (Zen 4), Python 3.13, jax 0.12.
"""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    backend="mixed",
    hidden=(1024, 512),
    batch_size=512,
    epochs=10,
    optimizer="adam",
    learning_rate=0.002,
    schedule="cosine",
)
