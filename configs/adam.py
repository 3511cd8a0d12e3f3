"""Early stopping: Adam with decoupled decay, dropout, and the best weights by held-out data."""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    backend="auto",
    hidden=(256, 128),
    activation="gelu",
    dropout=0.1,
    batch_size=128,
    epochs=30,
    optimizer="adamw",
    learning_rate=0.002,
    weight_decay=0.01,
    schedule="warmup-cosine",
    clip_norm=1.0,
    patience=5,
)
