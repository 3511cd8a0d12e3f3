"""When a training is over: scikit-learn's rule, epoch by epoch."""

import math

import pytest

from neuroforge_jax.estimators.stopping import Curve, StoppingRule


def make_rule(curve=None, **changes):
    usual = {"tol": 0.1, "patience": 2, "rows": 10, "scale": 1.0, "rate": 0.1}
    return StoppingRule(curve or Curve(), **{**usual, **changes})


def see(rule, losses):
    """How many of the losses the rule wants to see."""
    for count, loss in enumerate(losses, 1):
        rule.see(loss)
        if rule.over:
            return count
    return None


def test_it_stops_after_more_than_n_epochs_without_progress_by_tol():
    assert see(make_rule(), [1.0, 0.95, 0.94, 0.93, 0.5]) == 4
    assert see(make_rule(), [1.0, 0.95, 0.94, 0.8, 0.75, 0.74]) is None
    assert see(make_rule(patience=math.inf), [1.0] * 50) is None


def test_a_loss_that_is_no_number_is_no_progress():
    assert see(make_rule(), [math.nan] * 9) == 3


def test_it_goes_on_where_the_call_before_ended():
    curve = Curve()
    see(make_rule(curve), [1.0, 1.0])

    assert see(make_rule(curve), [1.0, 1.0, 1.0]) == 2
    assert curve.rows == 40
    assert curve.losses == [1.0] * 4


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_it_never_stops_within_the_epochs_that_it_calls_sure(patience):
    rule = make_rule(patience=patience)
    for _ in range(12):
        sure = rule.epochs_until_it_can_stop
        stops = see(rule, [1.0] * (sure - 1))
        assert stops is None
        rule.see(0.0 if rule.epochs % 3 else 1.0)
        if rule.over:
            break


def test_an_adaptive_rate_is_divided_by_5_until_it_is_tiny(capsys):
    rule = make_rule(policy="adaptive", patience=1, rate=1e-5, verbose=True)

    assert see(rule, [1.0] * 20) is not None
    assert rule.rate == pytest.approx(1e-5 / 25)
    said = capsys.readouterr().out
    assert "Setting learning rate to 0.000002" in said
    assert "Learning rate too small. Stopping." in said


def test_an_inversely_scaled_rate_falls_with_the_rows_that_were_seen():
    rule = make_rule(policy="invscaling", power=0.5)

    rule.see(1.0)
    assert rule.rate == pytest.approx(0.1 / 11**0.5)
    rule.see(0.5)
    assert rule.rate == pytest.approx(0.1 / 21**0.5)


@pytest.mark.parametrize("policy", ["adaptive", "invscaling"])
def test_a_pass_more_goes_on_with_the_rate_of_the_last_and_a_fit_begins_anew(policy):
    curve = Curve()
    first = make_rule(curve, policy=policy)
    see(first, [1.0] * 5)

    assert first.rate < 0.05
    assert make_rule(curve, policy=policy, continues=True).rate == pytest.approx(first.rate)
    assert make_rule(curve, policy=policy).rate == 0.1
