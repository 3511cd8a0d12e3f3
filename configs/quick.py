"""The smallest run worth looking at: scikit-learn's digits."""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    dataset="digits",
    hidden=(128,),
    batch_size=64,
    epochs=20,
    optimizer="adam",
    learning_rate=0.005,
    schedule="cosine",
)
