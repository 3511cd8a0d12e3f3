"""Cases of one test in two tiers: those that plain pytest runs, and others like them."""

import pytest


def with_slow(plain, slow):
    """For `pytest.mark.parametrize`: the cases of both, of which the second ones are slow tests."""
    return [*plain, *(pytest.param(*_values(case), marks=pytest.mark.slow) for case in slow)]


def _values(case):
    return case if isinstance(case, tuple) else (case,)
