"""The flagship in float32, to be set beside `mixed.py`: same network, same optimizer, same seed."""

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
