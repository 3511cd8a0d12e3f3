"""Numbers as people read them."""

import pytest

from neuroforge_jax.report.formats import (
    format_bytes,
    format_duration,
    format_number,
    format_quantity,
    format_speed,
    format_speed_interval,
    format_ticks,
)

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (0.0794, "12.6 × slower"),
        (0.992, "1.01 × slower"),
        (0.999, "as fast"),
        (1.0, "as fast"),
        (1.004, "as fast"),
        (1.5712, "1.57 × faster"),
        (99.97, "100 × faster"),
        (1234.0, "1,230 × faster"),
    ],
)
def test_a_ratio_of_speeds_says_faster_or_slower(ratio, words):
    assert format_speed(ratio) == words


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(7.12, 10.32, "7.12 to 10.3"), (0.1, 0.5, "2 to 10"), (0.85, 1.43, "1.18 slower to 1.43 faster")],
)
def test_an_interval_of_speeds_goes_from_the_smaller_factor_to_the_larger(low, high, words):
    assert format_speed_interval(low, high) == words


def test_numbers_are_rounded_before_their_unit_is_chosen():
    assert [format_number(value) for value in (0.02, 999.4, 999.9, 1500, 999_960, 3e9)] == [
        "0.02",
        "999",
        "1 k",
        "1.5 k",
        "1 M",
        "3 G",
    ]
    assert [format_duration(value) for value in (1.5, 0.99996, 0.02, 350e-6, 1234.0)] == [
        "1.5 s",
        "1 s",
        "20 ms",
        "350 µs",
        "1,230 s",
    ]
    assert [format_bytes(value) for value in (0, 512, 1536, 454e6)] == ["0 B", "512 B", "1.54 kB", "454 MB"]
    assert format_quantity(1.93e11, "FLOP/s") == "193 GFLOP/s"


def test_ticks_have_as_many_digits_as_tell_them_apart():
    """The memory of a run that hardly grows was drawn with four ticks that all read 454 MB."""
    assert format_ticks([453.8e6, 453.9e6, 454e6], format_bytes) == ["453.8 MB", "453.9 MB", "454 MB"]
    assert format_ticks([1e8, 2e8], format_bytes) == ["100 MB", "200 MB"]
    assert format_ticks([5.0, 5.0], format_number) == ["5", "5"]
