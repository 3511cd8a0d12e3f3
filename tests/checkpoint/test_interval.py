"""When a run is saved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.errors import ConfigError

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize(
    ("text", "count", "unit"),
    [
        ("500 steps", 500, "steps"),
        ("500steps", 500, "steps"),
        ("step", 1, "steps"),
        ("epoch", 1, "epochs"),
        ("2 Epochs", 2, "epochs"),
        ("10 minutes", 10, "minutes"),
        ("0.5min", 0.5, "minutes"),
        ("minute", 1, "minutes"),
    ],
)
def test_an_interval_is_read_as_people_write_it(text, count, unit):
    assert Interval.parse(text) == Interval(count, unit)


@pytest.mark.parametrize(
    "text", ["", "500", "0 steps", "-1 steps", "1.5 epochs", "2 hours", "steps 5", "nan min"]
)
def test_what_is_no_interval_is_refused_with_what_is_one(text):
    with pytest.raises(ConfigError, match="such as '500 steps', 'epoch' or '10 minutes', or never"):
        Interval.parse(text)


@given(st.text(max_size=20))
def test_any_text_is_an_interval_or_a_sentence(text):
    try:
        assert Interval.parse(text).count > 0
    except ConfigError as error:
        assert "--checkpoint-every" in str(error)


@given(st.integers(1, 1000), st.integers(0, 10_000))
def test_a_count_of_steps_is_met_exactly(count, step):
    interval = Interval(count, "steps")
    left = interval.steps_left(step)
    assert 1 <= left <= count
    assert interval.is_due(step + left, 0, 0, ends_epoch=False)
    assert all(not interval.is_due(step + at, 0, 0, ends_epoch=False) for at in range(1, min(left, 50)))


def test_epochs_fall_due_when_they_are_evaluated_and_minutes_when_they_are_over():
    assert Interval(2, "epochs").is_due(70, 4, 0, ends_epoch=True)
    assert not Interval(2, "epochs").is_due(70, 4, 0, ends_epoch=False)
    assert not Interval(2, "epochs").is_due(70, 5, 0, ends_epoch=True)
    assert Interval(0.5, "minutes").is_due(3, 0, 30.1, ends_epoch=False)
    assert not Interval(0.5, "minutes").is_due(3, 0, 29.9, ends_epoch=True)
    assert not Interval.parse("never").is_due(10, 1, 1e9, ends_epoch=True)
    assert Interval.parse("epoch").steps_left(5) is None
