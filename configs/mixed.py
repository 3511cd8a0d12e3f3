"""The flagship: mixed precision, bf16 products under float32 master weights, in one program on the device."""

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
