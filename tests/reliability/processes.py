"""Real processes that train, with a fault planted where a test wants one."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]

START = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
{plant}
from neuroforge_jax.commands.outcome import leave
from neuroforge_jax.train import main
leave(main(sys.argv[1:]))
"""
"""A shell's background job ignores Ctrl-C, and so would all that it starts."""

BARE_END = """
from neuroforge_jax.job import summary
from neuroforge_jax.report.callback import Report
summary.peak_of_this_process, Report.finish = lambda *_: 1e12, lambda *_: None
"""
"""To plant in what trains to its end: without pictures and without measuring the machine, a third of its time."""

CACHE = tempfile.TemporaryDirectory(prefix="neuroforge-cache-")
"""Of compiled programs, as a user has one: written by processes that are killed, read by those that go on."""

QUICK = ["--dataset", "data.npz", "--hidden", "16", "--batch-size", "32", "--optimizer", "adam"]
"""Steps of 0.1 ms, 50 an epoch, whose program can be kept; scikit-learn, a second of import, is not needed."""


def write_data(folder, samples=1600, inputs=12, classes=3):
    """data.npz: classes that can be told apart."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(classes, inputs))
    y = rng.integers(0, classes, samples + 80)
    x = (centres[y] + 0.3 * rng.normal(size=(samples + 80, inputs))).astype(np.float32)
    np.savez(
        folder / "data.npz", x_train=x[:samples], y_train=y[:samples], x_test=x[samples:], y_test=y[samples:]
    )


def start(args, cwd, plant="", stdout=subprocess.DEVNULL):
    """A training process that is running; nobody would read what it prints, and a full pipe would stop it."""
    return subprocess.Popen(
        [sys.executable, "-c", START.format(plant=plant), *args],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "NO_PROXY": "*",
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "XDG_CACHE_HOME": CACHE.name,
        },
    )


def run(args, cwd, plant="", timeout=120):
    """Exit code, standard output and standard error."""
    process = start(args, cwd, plant, subprocess.PIPE)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def wait_for(condition, process, seconds=60):
    """Until the condition is met; fails where the process ends before."""
    end = time.monotonic() + seconds
    while not (met := condition()):
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {process.stderr.read()}")
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)
    return met


def stop(process, signum, seconds=20):
    """Send a signal; exit code, standard error and the seconds until it ended."""
    begun = time.monotonic()
    process.send_signal(signum)
    try:
        _, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, err, time.monotonic() - begun


def kill(process):
    """As the machine's power switch would."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


def steps(folder):
    """The saved steps of a run's folder, the latest first."""
    checkpoints = folder / "checkpoints"
    names = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def epochs(folder):
    """The epochs in the log of a run's folder, in its order."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]
