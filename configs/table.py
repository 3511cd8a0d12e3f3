"""Any table of your own, classes or quantities: columns by their quantiles, small first weights, dropout and decay.

    python -m neuroforge_jax.train --config configs/table.py --dataset FILE --target COLUMN

Test data, means of five seeds: adult 85.29 %, bank_marketing 90.93 %, telco 80.99 %, letter 97.55 %; RMSE of
california 0.470 (in 100,000 $) and of cpu_act 2.50. A training takes 20 to 80 epochs: 0.6 s (telco) to 8 s
(bank_marketing), adult 6 s, without compiling; scikit-learn's network of these widths 2.4 to 2.8 times as long.
On two cores of an AMD EPYC (Zen 5), Python 3.13, jax 0.12; again: `bench --suite tables`. The settings were chosen
by a fifth of the training rows, held out for that; test data chose nothing.
"""

from neuroforge_jax import TrainConfig

config = TrainConfig(
    hidden=(256, 256, 256),
    initializer="glorot",
    dropout=0.15,
    batch_size=128,
    epochs=80,
    optimizer="adamw",
    learning_rate=0.003,
    weight_decay=0.3,
    schedule="one-cycle",
    warmup=0.2,
    scaling="quantile",
    patience=20,
)
