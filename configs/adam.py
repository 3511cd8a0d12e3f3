"""Early stopping: Adam with decoupled decay, dropout, and the best weights by held-out data.

    python -m neuroforge_jax.train --config configs/adam.py

MNIST: 98.52 % in 16 s of training; 28 of 30 epochs, the weights of epoch 23.
On two cores of an AMD EPYC (Zen 4), Python 3.13, jax 0.12.
"""

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
    monitor="accuracy",
    patience=5,
)
