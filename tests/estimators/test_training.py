"""The training of an estimator: many epochs in a dispatch are the epochs one by one, and programs are few."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

import neuroforge_jax as nf
from neuroforge_jax.estimators.blocks import BlockTrainer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_digits(return_X_y=True)
X = X / 16


class Watcher(nf.Callback):
    """Makes the loop stop after each epoch."""

    def __init__(self):
        self.epochs = 0

    def epoch(self, trainer, record):
        self.epochs += 1


@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "batch_size": 50}])
def test_epochs_in_blocks_are_the_same_bits_as_one_by_one(settings):
    """The last epoch lies within a block, from whose beginning the training is repeated."""
    usual = {"hidden_layer_sizes": (16,), "tol": 0.02, "n_iter_no_change": 3, "random_state": 3} | settings
    watcher = Watcher()

    one_by_one = nf.MLPClassifier(**usual, callbacks=[watcher]).fit(X[:600], y[:600])
    in_blocks = nf.MLPClassifier(**usual).fit(X[:600], y[:600])

    assert watcher.epochs == in_blocks.n_iter_ == one_by_one.n_iter_ < 200
    assert in_blocks.loss_curve_ == pytest.approx(one_by_one.loss_curve_, rel=1e-12)
    for one, other in zip(in_blocks.coefs_, one_by_one.coefs_, strict=True):
        assert np.array_equal(one, other)


def test_blocks_are_many_epochs(monkeypatch):
    calls = []
    see = BlockTrainer._see
    monkeypatch.setattr(BlockTrainer, "_see", lambda self, *a: calls.append(a[2]) or see(self, *a))

    model = nf.MLPClassifier(hidden_layer_sizes=(16,), max_iter=100, random_state=0).fit(X[:100], y[:100])

    assert sum(calls) >= model.n_iter_ == 100
    assert [record["step"] for record in model.result_.history] == list(range(1, 101))
    assert len(calls) < 30


def test_folds_and_refits_of_one_width_make_three_programs(compilations):
    """One for the rows of 20 folds, one for all rows with other values, seed, length and labels, and one
    that predicts; and one that begins a training, which is the same for all.
    """
    model = nf.MLPClassifier(hidden_layer_sizes=(24,), max_iter=4, learning_rate_init=0.01)

    scores = cross_val_score(model, X, y, cv=20)
    model.set_params(learning_rate_init=0.02, alpha=0.1, epsilon=1e-6, random_state=7, max_iter=6).fit(
        X, y[::-1]
    )

    assert scores.mean() > 0.5
    assert compilations.count("jit(program)") == 3
    assert compilations.count("jit(complete)") == 1


def test_a_fit_that_ends_too_early_says_so():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\) reached"):
        nf.MLPClassifier(hidden_layer_sizes=(16,), max_iter=2).fit(X[:100], y[:100])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nf.MLPClassifier(hidden_layer_sizes=(16,), max_iter=9, tol=9, n_iter_no_change=1).fit(
            X[:100], y[:100]
        )
