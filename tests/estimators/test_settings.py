"""The parameters that are this engine's own: each does what it says."""

import time

import numpy as np
import pytest

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.default_rng(4)
X = rng.normal(size=(100, 4))
Y = X @ [1.0, -2.0, 0.5, 0.0]


def regressor(**given):
    return nf.MLPRegressor(
        **{"hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 25, "max_iter": 6, "tol": 0, **given}
    )


class Steps(nf.Callback):
    """How far a weight moved in each epoch."""

    def __init__(self):
        self.moved = []

    def start(self, job, progress):
        self.total, self.last = float(job.training.hyper.total_steps), None
        self.steps = job.training.steps

    def epoch(self, trainer, record):
        now = np.asarray(next(iter(trainer.state.params.values()))["kernel"])
        if self.last is not None:
            self.moved.append(np.abs(now - self.last).max())
        self.last = now


def test_a_schedule_runs_over_all_epochs_of_this_training():
    falling, constant = Steps(), Steps()
    regressor(schedule="cosine", callbacks=[falling]).fit(X, Y)
    regressor(callbacks=[constant]).fit(X, Y)
    assert falling.total == constant.total == falling.steps == 24
    assert falling.moved[-1] < 0.3 * constant.moved[-1]
    assert falling.moved[0] > 0.5 * constant.moved[0]


def test_a_schedule_counts_the_rows_that_are_trained_on():
    held, doubled = Steps(), Steps()
    regressor(schedule="cosine", callbacks=[held], early_stopping=True).fit(X, Y)
    assert held.total == 6 * 4
    regressor(schedule="cosine", callbacks=[doubled], batch_size=100).fit(
        np.repeat(X, 2, axis=0), np.repeat(Y, 2)
    )
    assert doubled.total == 6 * 2


@pytest.mark.parametrize("optimizer", ["lion", "muon", "adamw"])
def test_an_optimizer_is_taken_in_the_place_of_the_solver(optimizer):
    usual = regressor(alpha=1).fit(X, Y)
    other = regressor(alpha=1, optimizer=optimizer, solver="lbfgs").fit(X, Y)
    assert len(other.loss_curve_) == 6
    assert not np.allclose(other.coefs_[0], usual.coefs_[0])
    assert other.loss_curve_[-1] < other.loss_curve_[0]


def test_dropout_is_of_the_training_alone():
    model = regressor(dropout=0.5, max_iter=1).fit(X, Y)
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    whole = hidden @ model.coefs_[1] + model.intercepts_[1]
    np.testing.assert_allclose(model.predict(X), whole[:, 0], rtol=1e-4, atol=1e-5)
    assert model.loss_curve_ != regressor(max_iter=1).fit(X, Y).loss_curve_


@pytest.mark.parametrize("normalization", ["layer", "rms"])
def test_a_normalization_makes_a_network_blind_to_the_scale_of_its_layers(normalization):
    model = regressor(normalization=normalization, max_iter=1).fit(X, Y)
    before = model.predict(X)
    model.coefs_ = [model.coefs_[0] * 100, model.coefs_[1]]
    model.intercepts_ = [model.intercepts_[0] * 100, model.intercepts_[1]]
    np.testing.assert_allclose(model.predict(X), before, rtol=0.01, atol=0.01)


def test_bf16_computes_more_coarsely_in_float32_weights():
    fine, coarse = regressor(max_iter=3).fit(X, Y), regressor(max_iter=3, precision="bf16").fit(X, Y)
    apart = np.abs(fine.predict(X) - coarse.predict(X)).max()
    assert 1e-5 < apart < 0.1
    assert all(
        leaf.dtype == np.float32 for layer in coarse.result_.params.values() for leaf in layer.values()
    )


def test_a_backend_is_another_way_to_the_same_network():
    usual, stepped = regressor().fit(X, Y), regressor(backend="stepped").fit(X, Y)
    np.testing.assert_allclose(stepped.coefs_[0], usual.coefs_[0], atol=1e-5)
    assert stepped.result_.figures["backend"] == "stepped"


def test_a_training_ends_when_its_time_is_over(recwarn):
    begun = time.monotonic()
    model = regressor(max_iter=2**31 - 1, n_iter_no_change=np.inf, max_time=0.5).fit(X, Y)
    assert time.monotonic() - begun < 10
    assert 1 < model.n_iter_ < 2**31 - 1
    assert not recwarn.list


def test_the_engines_console_can_look_on(capfd):
    regressor(callbacks=[nf.Console()]).fit(X, Y)
    shown = "".join(capfd.readouterr())
    assert "4-8-1" in shown
    assert "time to train" in shown


def test_what_a_search_has_no_use_for_is_told():
    for given in ({"dropout": 0.1}, {"schedule": "cosine"}, {"callbacks": [nf.Callback()]}, {"max_time": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(given))} would change nothing, for solver='lbfgs'"):
            regressor(solver="lbfgs", **given).fit(X, Y)
