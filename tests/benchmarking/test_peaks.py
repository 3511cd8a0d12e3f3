"""Ceilings that are measured, and rooflines that are counted by hand."""

import jax
import pytest

from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.benchmarking import peaks as module
from neuroforge_jax.benchmarking.peaks import (
    Peaks,
    measure_peaks,
    reference_of,
    step_bytes,
    working_set_bytes,
)
from neuroforge_jax.nn.mlp import MLP

SMALL = MLP(inputs=3, hidden=(4,), outputs=2)
PARAMETERS = 3 * 4 + 4 + 4 * 2 + 2


def test_what_is_measured_is_possible(monkeypatch):
    """Between what a slow machine does and what none can."""
    monkeypatch.setattr(module, "WORKING_SETS", (1 << 18, 1 << 22))
    measured = measure_peaks([BACKENDS["optimized"]])
    assert measured.matmul_flops_per_second.keys() == {"f32"}
    assert 1e8 < measured.matmul_flops_per_second["f32"] < 1e16
    assert all(1e8 < rate < 1e14 for rate in measured.bytes_per_second.values())
    assert 1e-7 < measured.dispatch_seconds < 1e-2
    assert all(reference_of(jax.devices("cpu")[0], small=small)() > 0 for small in (False, True))


def test_the_bytes_of_a_step_counted_by_hand():
    # Read once by the forward pass, once more below the second layer; read and written by the update.
    weights = 4 * (PARAMETERS + PARAMETERS - 12) + 8 * PARAMETERS
    assert step_bytes(SMALL, 5, input_bytes=1, slots=0, compute_bytes=4) == weights + 5 * (
        3 + 4 * 4 * (4 + 2)
    )
    slots = 2 * 8 * PARAMETERS
    with_adam = step_bytes(SMALL, 5, input_bytes=1, slots=2, compute_bytes=4)
    assert with_adam == weights + slots + 5 * (3 + 4 * 4 * (4 + 2))
    assert working_set_bytes(SMALL, 5, slots=2, compute_bytes=2) == 4 * 4 * PARAMETERS + 5 * 2 * 2 * (
        3 + 4 + 2
    )


def test_a_roofline_is_the_lower_of_peak_and_memory():
    peaks = Peaks({"f32": 1e12}, {1000: 1e11, 10_000: 1e10}, 1e-5)
    assert peaks.roofline("f32", flops=1e6, moved_bytes=10, working_set_bytes=500) == 1e12
    assert peaks.roofline("f32", flops=2e6, moved_bytes=1e6, working_set_bytes=500) == pytest.approx(2e11)
    # What no cache holds moves at the speed of the memory behind them all.
    assert peaks.roofline("f32", flops=2e6, moved_bytes=1e6, working_set_bytes=1e9) == pytest.approx(2e10)
