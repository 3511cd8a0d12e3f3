"""One training of a table, by ours or by scikit-learn's network, and what it scores on the test data: accuracy, or
RMSE in the task's unit.
"""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.harness import time_call
from neuroforge_jax.benchmarking.sides import Outcome
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.splits import choose_share
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.types import Dataset, Split


def split_anew(config: TrainConfig, seed: int) -> Dataset:
    """The table with a fifth of every class, chosen by a seed, as test data."""
    # Only who reads a table needs Arrow.
    from neuroforge_jax.data.tables import TEST_SHARE, make_dataset, read_table

    path = Path(config.dataset)
    table = read_table(path, config)
    column = table.columns[config.target[0] if config.target else list(table.columns)[-1]]
    labels = np.array([str(value) for value in column.to_pylist()])
    train, test = (
        Table(table.name, {name: values.take(rows) for name, values in table.columns.items()})
        for rows in choose_share(len(table), TEST_SHARE, seed, labels)
    )
    return make_dataset(train, config, {"test": test}, path.name)


def train_ours(config: TrainConfig, dataset: Dataset, unit: float) -> Outcome:
    """Train as the command does."""
    result = nf.fit(config, dataset)
    test = _test_of(dataset)
    outputs = nf.predict(result.model, result.params, test)
    predicted = outputs.argmax(axis=1) if dataset.classes else outputs
    score = _score(dataset, predicted, unit)
    return Outcome(result.figures["train_seconds"], score, result.figures["epochs"])


def train_scikit_learn(config: TrainConfig, dataset: Dataset, epochs: int, unit: float) -> Outcome:
    """Train its network of the config's widths for so many epochs."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    train, held_out = _rows_and_share(config, dataset)
    prepare = make_preparation(dataset)
    x = prepare.fit_transform(train.inputs).astype(np.float32)
    settings = {
        "hidden_layer_sizes": config.hidden,
        "batch_size": min(config.batch_size, len(train)),
        "max_iter": epochs,
        "n_iter_no_change": epochs,
        "early_stopping": held_out > 0,
        "validation_fraction": held_out or 0.1,
        "random_state": config.seed,
    }
    if dataset.classes:
        network, y, shift, scale = MLPClassifier(**settings), train.targets, 0.0, 1.0
    else:
        network, shift, scale = MLPRegressor(**settings), train.targets.mean(), train.targets.std()
        y = ((train.targets - shift) / scale).ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it has as many epochs as ours
        seconds = time_call(partial(network.fit, x, y))
    predicted = network.predict(prepare.transform(_test_of(dataset).inputs).astype(np.float32))
    if not dataset.classes:
        predicted = dataset.target.read_outputs((predicted * scale + shift)[:, None])
    return Outcome(seconds, _score(dataset, predicted, unit), network.n_iter_)


def _rows_and_share(config: TrainConfig, dataset: Dataset) -> tuple[Split, float]:
    """All rows that ours trains on or selects by, and the share that is held out."""
    train, validation = dataset.train, dataset.validation
    if validation is None:
        return train, config.held_out_fraction
    inputs = np.concatenate([train.inputs, validation.inputs])
    targets = np.concatenate([train.targets, validation.targets])
    return Split(inputs, targets), len(validation) / len(inputs)


def make_preparation(dataset: Dataset) -> Any:
    """Of records as they are stored: numbers with NaN, codes of categories behind them; or of pixels."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    plan, fitted = dataset.plan, dataset.fitted
    if plan.pixels:
        return FunctionTransformer(lambda pixels: (pixels - fitted.shift) * fitted.scale)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    parts = (
        ("numbers", numbers, range(plan.numbers)),
        ("categories", one_hot, range(plan.numbers, plan.record)),
    )
    return ColumnTransformer([(name, part, list(columns)) for name, part, columns in parts if columns])


def _test_of(dataset: Dataset) -> Split:
    assert dataset.test is not None
    return dataset.test


def _score(dataset: Dataset, predicted: np.ndarray, unit: float) -> float:
    """Accuracy of classes i [N]; RMSE of numbers f64 [N, 1], in this unit."""
    targets = _test_of(dataset).targets
    if dataset.classes:
        return float((predicted == targets).mean())
    errors = predicted - dataset.target.read_outputs(targets)
    return float(np.sqrt((errors**2).mean())) / unit
