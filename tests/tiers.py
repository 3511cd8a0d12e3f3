"""For `pytest.mark.parametrize`: the cases of a test as it is marked, and with them cases of another tier."""

import pytest


def with_slow(cases, slow):
    """slow: run by every check, not by plain pytest."""
    return [*cases, *(_marked(case, pytest.mark.slow) for case in slow)]


def with_further(cases, further):
    """further: more of the same, run before a release."""
    return [*cases, *(_marked(case, pytest.mark.further) for case in further)]


def _marked(case, mark):
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark)
