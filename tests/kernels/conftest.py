"""Every test draws the numbers that it draws alone, whatever ran before it."""

import sys

import numpy as np
import pytest


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order(request, monkeypatch):
    for name in (request.module.__name__, "tests.kernels.test_fused"):
        if hasattr(sys.modules.get(name), "RNG"):
            monkeypatch.setattr(sys.modules[name], "RNG", np.random.default_rng(7))
