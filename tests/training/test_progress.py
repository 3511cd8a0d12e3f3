"""How far a run has come; the best epoch, and when it is time to stop."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.training.best import BestEpoch
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.progress import EpochSums, Throughput, TrainProgress


def best_of(*accuracies):
    best = BestEpoch()
    for epoch, accuracy in enumerate(accuracies):
        best = best.better_of(Evaluation({"loss": 1.0, "accuracy": accuracy}, 10), epoch, None)
    return best


def test_the_first_of_the_best_epochs_is_the_best():
    best = best_of(0.5, 0.7, 0.7, 0.6)
    assert (best.score, best.epoch) == (0.7, 1)


def test_a_regression_is_judged_by_its_loss():
    best = BestEpoch()
    for epoch, loss in enumerate((3.0, 1.0, 2.0)):
        best = best.better_of(Evaluation({"loss": loss}, 10), epoch, None)
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


def test_the_weights_of_the_best_epoch_are_a_copy():
    """The state goes on to the next step, which uses its buffers again."""
    params = {"output": {"kernel": jnp.ones((2, 2))}}
    best = BestEpoch().better_of(Evaluation({"loss": 1.0, "accuracy": 0.5}, 10), 0, params)
    params["output"]["kernel"].delete()
    np.testing.assert_array_equal(best.params["output"]["kernel"], 1)


def test_progress_is_read_back_as_it_was_saved():
    progress = TrainProgress(
        step=9,
        sums=EpochSums(1.5, 64.0, 40.0, 1, 0.25),
        throughput=Throughput(2.0, 640.0, 20),
        last_loss=0.5,
        history=[{"epoch": 1, "train_loss": 0.75}],
    )
    assert TrainProgress.from_json(json.loads(json.dumps(progress.to_json()))) == progress
    begun = TrainProgress.from_json(json.loads(json.dumps(TrainProgress().to_json())))
    assert math.isnan(begun.last_loss)


def test_the_sums_of_an_epoch_are_the_same_wherever_it_was_cut():
    rng = np.random.default_rng(0)
    loss, correct = rng.normal(size=(2, 20)).astype(np.float32)
    loss[7] = np.inf
    samples = np.full(20, 32, np.float32)
    whole, cut = EpochSums(), EpochSums()
    whole.add(loss, correct, samples, 1, 0.5)
    for part in (slice(0, 3), slice(3, 3), slice(3, 20)):
        cut.add(
            loss[part], correct[part], samples[part], int(part.stop > 7), 0.5 / 2 * (part.start != part.stop)
        )
    assert (cut.loss, cut.counted, cut.skipped, cut.seconds) == (whole.loss, 19 * 32, 1, 0.5)
    assert whole.mean_loss == pytest.approx(np.delete(loss, 7).mean(), rel=1e-5)
    assert EpochSums().mean_loss is None
