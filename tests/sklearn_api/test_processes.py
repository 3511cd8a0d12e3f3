"""Estimators that fit at the same time, in threads and in processes: they end, and each is what it is alone."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

import neuroforge_jax as nf
from neuroforge_jax.system.cpu import usable_cores

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

SECONDS = 120
ROOT = Path(__file__).parents[2]
X, y = load_iris(return_X_y=True)
SETTINGS = {"hidden_layer_sizes": 8, "max_iter": 30, "learning_rate_init": 0.02, "batch_size": 50}
MODELS = [
    nf.MLPClassifier(random_state=0, **SETTINGS),
    nf.MLPClassifier(random_state=1, early_stopping=True, **SETTINGS),
    nf.MLPRegressor(random_state=2, **SETTINGS),
    nf.MLPClassifier(random_state=3, **SETTINGS),
]

on_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by /proc")


def fit_and_predict(model):
    return clone(model).fit(X, y).predict(X)


def count_threads_of_xla(model):
    """After a fit: XLA's threads of this process, by the names that it gives them."""
    fit_and_predict(model)
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    return os.getpid(), Counter(name for name in names if name.startswith("tf_XLA"))


def in_parallel(backend, function):
    """Of each model by two workers. Raises TimeoutError where they do not end."""
    with joblib.parallel_config(backend, n_jobs=2):
        return joblib.Parallel(timeout=SECONDS)(joblib.delayed(function)(model) for model in MODELS)


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_fits_at_the_same_time_end_and_are_what_each_is_alone(backend):
    for found, model in zip(in_parallel(backend, fit_and_predict), MODELS, strict=True):
        # Another number of threads, and in these tests another effort of the compiler, rounds otherwise.
        np.testing.assert_allclose(found, fit_and_predict(model), atol=1e-4)


def in_a_process_of_one_device(function):
    """What a function of this file returns, as JSON has it: the tests' own process has eight devices, and as many
    threads for each.
    """
    command = f"import json, {__name__} as tests; print(json.dumps(tests.{function.__name__}()))"
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def count_in_processes():
    return os.getpid(), in_parallel("loky", count_threads_of_xla)


def count_around_threads():
    before = count_threads_of_xla(MODELS[0])
    in_parallel("threading", fit_and_predict)
    return before, count_threads_of_xla(MODELS[0])


@on_linux
def test_processes_share_the_cores():
    """None has more threads of one kind (XLA compiles and computes in several) than its part of the cores."""
    granted = max(1, usable_cores() // 2)
    parent, counted = in_a_process_of_one_device(count_in_processes)
    assert parent not in {process for process, _ in counted}
    for _, threads in counted:
        assert threads["tf_XLAEigen"] >= 1
        assert max(threads.values()) <= granted, threads


@on_linux
def test_threads_share_the_threads_of_one_process():
    before, after = in_a_process_of_one_device(count_around_threads)
    assert after == before
    assert 1 <= before[1]["tf_XLAEigen"] <= usable_cores()


FIT = """
import jax.monitoring, sys
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition("/")[2]))
from neuroforge_jax.backends import compilation_cache
compilation_cache.MIN_SECONDS = 0
import neuroforge_jax as nf
from sklearn.datasets import load_iris
X, y = load_iris(return_X_y=True)
rows = slice(0, int(sys.argv[1]))
nf.MLPClassifier(8, batch_size=50, tol=1, n_iter_no_change=2, random_state=0).fit(X[rows], y[rows]).predict(X)
print(events.count("cache_hits"), events.count("cache_misses"))
"""


def test_a_new_process_takes_the_programs_that_an_earlier_one_kept(tmp_path):
    """Other rows, nearly as many, are the same programs."""
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "true", "XDG_CACHE_HOME": str(tmp_path)}

    def fit(rows):
        command = [sys.executable, "-c", FIT, str(rows)]
        out = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=SECONDS
        )
        return [int(count) for count in out.stdout.split()]

    found, missed = fit(150)
    if not list(tmp_path.rglob("*-cache")):
        pytest.skip("XLA complains of programs that it loads on this CPU")
    assert (found, missed > 0) == (0, True)
    assert fit(149) == [missed, 0]
