"""Functions measured one by one; the example of the original README among them."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.profiling import profiler as module


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "MEASURED_SECONDS", 0.02)


def test_the_example_of_the_original(blobs, small_config):
    """measure(name, work), then analyze() printed."""
    model, state = nf.init(small_config, blobs)
    parts = nf.parts(small_config, model, blobs)
    x = jnp.asarray(blobs.train.inputs[:32])
    profiler = nf.PerformanceProfiler()
    logits = profiler.measure("forward_pass", jax.jit(parts.forward), state.params, model.fitted, x, None)
    np.testing.assert_allclose(
        logits, parts.forward(state.params, model.fitted, x, None), rtol=1e-5, atol=1e-6
    )
    told = profiler.analyze().splitlines()
    assert told[1].startswith("forward_pass")
    assert told[1].endswith("100%")
    assert all(len(line) <= 79 for line in told)
    measured = profiler.measurements["forward_pass"]
    # 13-16-4: two products and what is done to their results.
    assert 2 * 32 * (13 * 16 + 16 * 4) <= measured.flops < 4 * 32 * (13 * 16 + 16 * 4)
    assert measured.first_seconds > measured.median, "the first call compiles"


@pytest.mark.smoke
def test_a_function_of_python_is_measured_too():
    profiler = nf.PerformanceProfiler()
    assert profiler.measure("sleep", lambda seconds: time.sleep(seconds) or 7, 0.002) == 7
    measured = profiler.measurements["sleep"]
    assert measured.median >= 0.002
    assert len(measured.seconds) >= 5
    assert measured.flops is None
    assert "–" in profiler.analyze()


def test_shares_are_of_the_sum_of_medians():
    profiler = nf.PerformanceProfiler()
    profiler.measure("short", time.sleep, 0.002)
    profiler.measure("long", time.sleep, 0.006)
    shares = [int(line.rpartition(" ")[2].rstrip("%")) for line in profiler.analyze().splitlines()[1:]]
    assert sum(shares) == pytest.approx(100, abs=1)
    assert shares[1] > 2 * shares[0]
