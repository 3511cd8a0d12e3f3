"""MNIST to 98 % as fast as can be on two CPU cores: one hidden layer, three epochs, one cycle."""

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
