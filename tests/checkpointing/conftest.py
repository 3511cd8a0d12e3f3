"""Runs that are many and short."""

import pytest


@pytest.fixture(autouse=True)
def peak_of_another_day(monkeypatch):
    """The machine's peak is measured at the end of every run, and is not what these tests are about."""
    monkeypatch.setattr("neuroforge_jax.summary.matmul_peak_flops", lambda *_: 1e12)
