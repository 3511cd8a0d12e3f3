"""A table: 30 measurements of a tumour, malignant or benign."""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    dataset="breast-cancer",
    hidden=(32, 32),
    activation="silu",
    normalization="layer",
    residual=True,
    batch_size=32,
    epochs=40,
    optimizer="adamw",
    learning_rate=0.003,
    weight_decay=0.05,
    schedule="cosine",
)
