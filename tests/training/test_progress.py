"""How far a run has come; the best epoch, and when it is time to stop."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.callbacks.early_stopping import EarlyStopping
from neuroforge_jax.training.best import BestEpoch, Selection
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.monitor import LOSS, MONITORS, Monitor
from neuroforge_jax.training.progress import EpochSums, Throughput, TrainProgress

ACCURACY = MONITORS["accuracy"]


def best_of(*numbers, monitor=LOSS, **rules):
    """Of epochs whose monitored number is this."""
    selection, best = Selection(monitor, **rules), BestEpoch()
    for epoch, number in enumerate(numbers):
        evaluation = Evaluation({"loss": 1.0, "accuracy": 0.0, monitor.name: number}, 10)
        best = selection.better_of(best, evaluation, epoch, None)
    return best


def test_the_best_epoch_is_the_last_of_equals_and_nothing_better_came_since_the_first():
    best = best_of(0.5, 0.7, 0.7, 0.6, monitor=ACCURACY)
    assert (best.epoch, best.since, best.evaluation.accuracy) == (2, 1, 0.7)
    best = best_of(3.0, 1.0, 2.0, 1.0)
    assert (best.epoch, best.since, best.evaluation.loss) == (3, 1, 1.0)


@pytest.mark.parametrize("monitor", [LOSS, ACCURACY, Monitor("macro-f1", higher_is_better=True)])
def test_an_epoch_whose_number_is_none_is_never_the_best(monitor):
    assert best_of(math.nan, monitor=monitor).evaluation is None
    assert best_of(0.5, math.nan, monitor=monitor).epoch == 0
    assert best_of(math.nan, 0.5, monitor=monitor).epoch == 1


def test_a_loss_that_is_infinite_is_no_best_one():
    assert best_of(math.inf).evaluation is None


@pytest.mark.parametrize(
    ("epoch", "patience", "enough"), [(3, 3, False), (4, 3, True), (99, None, False), (4, 9, False)]
)
def test_it_is_enough_after_so_many_epochs_without_a_better_one(epoch, patience, enough):
    """Equals do not start the count again: a network that says nothing always says the same."""
    best = best_of(0.5, 0.7, 0.6, 0.7, monitor=ACCURACY)
    assert Selection(ACCURACY, patience).is_enough(best, epoch) is enough


def test_the_epoch_that_reaches_the_target_accuracy_is_the_best_whatever_is_monitored():
    selection, best = Selection(LOSS, patience=9, target_accuracy=0.7), BestEpoch()
    for epoch, (loss, accuracy) in enumerate([(1.0, 0.6), (0.5, 0.69), (0.8, 0.7)]):
        assert not selection.is_enough(best, epoch)
        best = selection.better_of(best, Evaluation({"loss": loss, "accuracy": accuracy}, 10), epoch, None)
    assert best.epoch == 2
    assert selection.is_enough(best, 2)
    assert selection.reason(best) == "target-accuracy"
    assert not Selection(LOSS, patience=9, target_accuracy=0.8).is_enough(best, 2)


def test_what_was_not_monitored_before_is_worse_than_anything():
    """As where a run goes on with another --monitor."""
    best = best_of(0.5)
    f1 = Selection(Monitor("macro-f1", higher_is_better=True))
    assert f1.better_of(best, Evaluation({"loss": 9.0, "macro-f1": 0.01}, 10), 1, None).epoch == 1


def test_the_weights_of_the_best_epoch_are_a_copy():
    """The state goes on to the next step, which uses its buffers again."""
    params = {"output": {"kernel": jnp.ones((2, 2))}}
    best = Selection().better_of(BestEpoch(), Evaluation({"loss": 1.0, "accuracy": 0.5}, 10), 0, params)
    params["output"]["kernel"].delete()
    np.testing.assert_array_equal(best.params["output"]["kernel"], 1)


@pytest.mark.parametrize("shape", ["of version 0.2", "of now"])
def test_early_stopping_goes_on_from_what_was_saved(shape):
    stopping, weights = EarlyStopping(Selection(patience=2)), {"output": {"bias": jnp.ones(2)}}
    values = {"epoch": 4, "evaluation": {"numbers": {"loss": 0.5, "accuracy": 0.75}, "samples": 9}}
    values |= {"score": 0.75} if shape == "of version 0.2" else {"since": 3}
    stopping.load_state(values, weights)
    assert (stopping.best.epoch, stopping.best.since) == (4, 4 if shape == "of version 0.2" else 3)
    assert stopping.state()[0]["evaluation"] == values["evaluation"]
    again = EarlyStopping(Selection())
    again.load_state(*stopping.state())
    assert again.state() == stopping.state()


def test_the_best_epoch_by_test_data_that_version_0_2_saved_selects_nothing():
    stopping = EarlyStopping(Selection(patience=1))
    values = {"score": 0.75, "epoch": 0, "evaluation": {"numbers": {"loss": 0.5}, "samples": 9}}
    stopping.load_state(values, None)
    assert stopping.best.evaluation is None
    assert not stopping.should_stop(TrainProgress(history=[{"epoch": 1}] * 9))


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
