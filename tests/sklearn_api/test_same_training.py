"""Where the order of the rows is the same, a training is scikit-learn's: each epoch's loss, and what is predicted.

The settings are drawn, one set a seed: of the solvers and all that they read, of the data, of the weights of rows.
"""

import numpy as np
import pytest
import sklearn
from sklearn import neural_network

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

THEY_TAKE_WEIGHTS = tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 7)
"""scikit-learn's networks, and a Poisson loss."""

CHOICES = {
    "activation": ["relu", "tanh", "logistic", "identity"],
    "hidden_layer_sizes": [(1,), (9,), (9, 4)],
    "solver": ["adam", "sgd", "lbfgs"],
    "alpha": [0.0, 1e-4, 0.1, 3.0],
    "learning_rate": ["constant", "invscaling", "adaptive"],
    "learning_rate_init": [1e-3, 1e-2],
    "power_t": [0.5, 0.2],
    "momentum": [0.0, 0.5, 0.9],
    "nesterovs_momentum": [True, False],
    "beta_1": [0.9, 0.5],
    "beta_2": [0.999, 0.9],
    "epsilon": [1e-8, 1e-3],
    "max_iter": [1, 5, 15],
    "tol": [1e-4, 0.05],
    "n_iter_no_change": [1, 3, 10],
    "random_state": list(range(100)),
}
"""Parameter → values to draw from."""

TASKS = {
    "two classes": lambda x: (x[:, 0] > 0).astype(int),
    "three classes": lambda x: np.digitize(x[:, 0], [-0.5, 0.5]),
    "labels": lambda x: np.stack([x[:, 0] > 0, x.sum(axis=1) > 0], axis=1).astype(int),
    "numbers": lambda x: 2 * x[:, 0] + 1,
    "counts": lambda x: np.round(np.exp(x[:, 0])),
}
"""What is to be learnt of rows [N, 3] → targets."""


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("batches", ["one batch", "stored order"])
def test_a_training_without_an_order_of_its_own_is_theirs(seed, batches):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(60, 3))
    rows[40:] = rows[:20]  # equal rows are merged where all are one batch
    task = list(TASKS)[seed % len(TASKS)]
    settings = {name: values[rng.integers(len(values))] for name, values in CHOICES.items()}
    weights = None
    if batches == "stored order":
        settings |= {"shuffle": False, "batch_size": 20}
    elif THEY_TAKE_WEIGHTS and seed % 2:
        weights = rng.choice([0.0, 0.5, 1.0, 2.0], 60)
    if task == "counts" and THEY_TAKE_WEIGHTS:
        settings["loss"] = "poisson"
    name = "MLPRegressor" if task in ("numbers", "counts") else "MLPClassifier"
    given = [rows, TASKS[task](rows)] if weights is None else [rows, TASKS[task](rows), weights]

    theirs, ours = (getattr(kind, name)(**settings).fit(*given) for kind in (neural_network, nf))

    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    curves = (getattr(each, "loss_curve_", [each.loss_]) for each in (ours, theirs))
    np.testing.assert_allclose(*curves, rtol=1e-3, atol=1e-5, err_msg=str(settings))
    ask = "predict" if name == "MLPRegressor" else "predict_proba"
    said = (getattr(each, ask)(rows) for each in (ours, theirs))
    np.testing.assert_allclose(*said, rtol=1e-3, atol=1e-3, err_msg=str(settings))
