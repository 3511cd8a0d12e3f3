"""Memory over many steps, as the C library counts it in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.full_effort,
    pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc"),
]

TRAIN = """
import ctypes, json, sys
import jax
import neuroforge_jax as nf
from neuroforge_jax.system.memory import heap
from tests.conftest import make_blobs

counter = ctypes.CDLL(None)
counter.allocations.restype = ctypes.c_long
config = nf.TrainConfig(hidden=(256, 128), batch_size=64, optimizer="adam", backend=sys.argv[1])
data = make_blobs(samples=2000, inputs=100)
model, state = nf.init(config, data)
run, told, at = nf.prepare(config, model, data), [], 0
for steps in (1000, 1000, 1000):
    before = counter.allocations()
    state, metrics = run(state, at, at + steps)
    jax.block_until_ready(state)
    del metrics
    at += steps
    told.append([counter.allocations() - before, len(jax.live_arrays()), heap().in_use_bytes])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def counter(tmp_path_factory):
    source, library = (
        Path(__file__).with_name("count_allocations.c"),
        tmp_path_factory.mktemp("c") / "count.so",
    )
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


IN_FLIGHT = {"optimized": 0, "stepped": 0, "async": 12}
"""Arrays more that may be alive just then: of a stream four chunks of three arrays at most."""


@pytest.mark.parametrize("backend", IN_FLIGHT)
def test_a_thousand_steps_more_allocate_as_often_and_hold_as_much(backend, counter):
    """XLA asks for scratch memory within a step; what matters is that neither that nor what is held ever grows."""
    environ = {**os.environ, "LD_PRELOAD": str(counter), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, backend], env=environ, capture_output=True, text=True, check=True
    )
    _, before, after = json.loads(done.stdout.splitlines()[-1])
    assert after[0] < 1.1 * before[0]
    assert after[1] <= before[1] + IN_FLIGHT[backend]
    assert after[2] < before[2] + 1e6
