"""The best epoch, and when it is time to stop."""

import pytest

from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.progress import Best


def best_of(*accuracies):
    best = Best()
    for epoch, accuracy in enumerate(accuracies):
        best = best.updated(Evaluation(1.0, accuracy, 10), epoch, None)
    return best


def test_the_first_of_the_best_epochs_is_the_best():
    best = best_of(0.5, 0.7, 0.7, 0.6)
    assert (best.score, best.epoch) == (0.7, 1)


def test_a_regression_is_judged_by_its_loss():
    best = Best()
    for epoch, loss in enumerate((3.0, 1.0, 2.0)):
        best = best.updated(Evaluation(loss, None, 10), epoch, None)
    assert (best.score, best.epoch) == (-1.0, 1)


@pytest.mark.parametrize(
    ("epoch", "patience", "target", "enough"),
    [
        (3, 3, None, False),
        (4, 3, None, True),
        (99, None, None, False),
        (1, None, 0.7, True),
        (1, None, 0.71, False),
        (4, 9, 0.71, False),
    ],
)
def test_it_is_enough_after_so_many_epochs_without_a_better_one_or_at_the_target(
    epoch, patience, target, enough
):
    assert best_of(0.5, 0.7, 0.6).is_enough(epoch, patience, target) is enough
