"""Pictures of clothes: Fashion-MNIST, with dropout, smoothed labels and decoupled decay against memorising them.

    python -m neuroforge_jax.train --config configs/fashion.py

Fashion-MNIST: 90.38 % after 12 epochs and 3.8 s of training, means of five seeds (90.30 to 90.48 %).
On two cores of an AMD EPYC (Zen 5), Python 3.13, jax 0.12; again: `bench --suite tables --only fashion-mnist`. By a
held-out sixth of the training data it was the second of seven settings, 0.1 points behind one with muon.
"""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    dataset="fashion-mnist",
    backend="mixed",
    hidden=(512, 256),
    activation="silu",
    dropout=0.2,
    batch_size=256,
    epochs=12,
    optimizer="adamw",
    learning_rate=0.002,
    weight_decay=0.1,
    schedule="cosine",
    label_smoothing=0.05,
)
