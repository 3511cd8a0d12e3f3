"""MNIST to an accuracy, over many seeds: seconds of training and test accuracy of each recipe.

The programs are compiled once, since the seed is data: a state with the key of its seed is all that differs.
"""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from neuroforge_jax.assembly import evaluate, init, prepare, steps_per_epoch
from neuroforge_jax.benchmarking.statistics import Spread
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import load_dataset

RECIPES = {
    0.98: TrainConfig(
        backend="mixed", hidden=(192,), batch_size=512, epochs=3, optimizer="adam", learning_rate=0.012,
        schedule="one-cycle", warmup=0.4, label_smoothing=0.05,
    ),
    0.985: TrainConfig(
        backend="mixed", hidden=(512,), batch_size=1024, epochs=5, optimizer="adam", learning_rate=0.008,
        schedule="one-cycle", warmup=0.3, label_smoothing=0.05,
    ),
}  # fmt: skip
"""By the mean test accuracy that each is to reach. The first is configs/speedrun.py."""


def cases(seeds: int, data_dir: Path | None) -> list[dict[str, Any]]:
    """A case a recipe. Raises DataError where MNIST is not there and cannot be downloaded."""
    dataset = load_dataset("mnist", data_dir=data_dir)
    found = []
    for wanted, config in RECIPES.items():
        steps = config.epochs * steps_per_epoch(config, dataset)
        model, state = init(config, dataset)
        run = prepare(config, model, dataset)
        seconds, accuracies = [], []
        for seed in range(-1, seeds):  # the first warms up
            _, state = init(replace(config, seed=max(seed, 0)), dataset)
            jax.block_until_ready(state.params)
            begun = time.perf_counter()
            state, _ = run(state, 0, steps)
            jax.block_until_ready(state.params)
            if seed >= 0:
                seconds.append(time.perf_counter() - begun)
                accuracies.append(evaluate(model, state.params, dataset.test).accuracy or 0.0)
        found.append(
            {
                "name": f"speedrun/{100 * wanted:g} %/training",
                "group": "speedrun",
                "contender": f"{100 * wanted:g} %",
                "axis": {},
                "config": asdict(config),
                "seconds": {**Spread.of(seconds).to_json(), "mean": float(np.mean(seconds))},
                "accuracy": {**Spread.of(accuracies).to_json(), "mean": float(np.mean(accuracies))},
                "reached": float(np.mean(accuracies)) >= wanted,
            }
        )
    return found
