import numpy as np
import pytest

import neuroforge_jax as nf

rng = np.random.default_rng(0)
X = rng.normal(size=(120, 4))
Y = X @ [1.0, -2.0, 0.5, 0.0]


class Epochs(nf.Callback):
    """Counts what it is told of."""

    def __init__(self):
        self.told = []

    def start(self, job, progress):
        self.told.append("start")

    def epoch(self, trainer, record):
        self.told.append(record["epoch"])

    def finish(self, trainer, result):
        self.told.append("finish")


def regressor(**given):
    return nf.MLPRegressor(
        hidden_layer_sizes=(8,), batch_size=32, random_state=0, **{"max_iter": 5, "tol": 0, **given}
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_looks_at_every_epoch_changes_none_of_their_bits():
    looked, alone = regressor(callbacks=[Epochs()]).fit(X, Y), regressor().fit(X, Y)
    np.testing.assert_array_equal(looked.coefs_[0], alone.coefs_[0])
    assert looked.loss_curve_ == pytest.approx(alone.loss_curve_, rel=1e-12)


def test_a_pass_more_is_one_pass_whatever_looks_at_it_and_the_order_of_rows_goes_on():
    callback = Epochs()
    looked, alone = regressor(callbacks=[callback]), regressor()
    for _ in range(3):
        looked.partial_fit(X, Y)
        alone.partial_fit(X, Y)
    assert callback.told == ["start", 1, "finish"] * 3
    assert len(looked.loss_curve_) == 3
    np.testing.assert_array_equal(looked.coefs_[0], alone.coefs_[0])


def test_however_little_time_there_is_one_epoch_is_trained():
    assert regressor(max_time=1e-9).fit(X, Y).n_iter_ == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "given",
    [{}, {"tol": 1e9, "n_iter_no_change": 2}, {"precision": "fp16"}, {"n_ensemble": 2}],
    ids=["f32", "stops", "fp16", "ensemble"],
)
def test_blocks_record_of_each_epoch_what_a_look_at_every_epoch_records(given):
    # of so large rows fp16 overflows, until its scale is small
    looked, alone = (regressor(**given, **other).fit(64 * X, Y) for other in ({"callbacks": [Epochs()]}, {}))
    pairs = list(zip(looked._run[0], alone._run[0], strict=True))
    for with_callback, in_block in pairs:
        assert list(with_callback) == list(in_block)
        differ = {name for name, value in in_block.items() if value != with_callback[name]}
        assert differ <= {"train_seconds", "samples_per_second", "memory_bytes"}
    assert ("skipped_steps" in pairs[0][0]) == ("precision" in given)
    if "precision" in given:
        assert pairs[0][0]["skipped_steps"] > 0
        assert pairs[0][0]["loss_scale"] < 2**15
