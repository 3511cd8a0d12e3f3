"""A case as it is started: how many networks take a step, and what its program holds."""

from dataclasses import replace

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.benchmarking import startup
from neuroforge_jax.benchmarking.cases import Case, random_pixels
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome
from neuroforge_jax.benchmarking.suites import population

DATA = random_pixels(2048, 64)
CONFIG = nf.TrainConfig(hidden=(32,), batch_size=32, backend="optimized")


def test_more_of_a_batch_and_more_networks_are_more_memory():
    one = Case("a/b/optimized", CONFIG, DATA)
    batch = replace(one, config=replace(CONFIG, batch_size=1024)).start()
    many = replace(one, networks=8).start()
    alone = one.start()
    weights = 4 * (64 * 32 + 32 + 32 * 10 + 10)
    assert (alone.networks, many.networks) == (1, 8)
    assert alone.program_bytes > DATA.train.inputs.nbytes + weights
    assert batch.program_bytes > alone.program_bytes + 900 * 32 * 4
    assert many.program_bytes > alone.program_bytes + 7 * weights
    assert many.turn(3) > 0


def test_the_suite_of_populations_compares_each_size_with_one_network():
    for group in population():
        first, *others = group.cases
        assert first.networks == 1
        assert first.baseline is None
        assert [case.baseline for case in others] == [first.name] * len(others)
        assert [case.axis["networks"] for case in group.cases] == [case.networks for case in group.cases]


def test_the_process_that_is_timed_trains_a_step():
    """It is a text to everything that reads the code: a name in it that is gone shows nowhere else."""
    names = {}
    exec(startup.FIRST_STEP, names)
    assert np.isfinite(names["metrics"].loss).all()
    assert int(names["state"].step) == 1


def test_a_process_is_timed_between_two_turns_of_the_reference(monkeypatch):
    monkeypatch.setattr(startup, "_run", lambda code, variables: Outcome(2.0))
    beside = iter(range(1, 1000))
    cases = list(startup.cases(BenchOptions(), lambda: float(next(beside))))
    assert {case["contender"] for case in cases} > {"import fit", "first step, cold"}
    for case in cases:
        assert len(case["reference_seconds"]) == startup.REPETITIONS
        assert case["seconds"]["median"] == pytest.approx(2.0)
    assert cases[0]["reference_seconds"][0] == pytest.approx(1.5)


def test_of_the_processes_those_are_started_that_are_asked_for(monkeypatch):
    started = []
    monkeypatch.setattr(startup, "_run", lambda code, variables: started.append(code) or Outcome(2.0))

    def measure(only):
        started.clear()
        return [case["contender"] for case in startup.cases(BenchOptions(only), lambda: 1.0)]

    assert measure("startup/process/import*") == ["import neuroforge_jax", "import fit"]
    assert startup.FIRST_STEP not in started
    assert measure("*, programs kept") == ["first step, programs kept"]
    assert started == [startup.FIRST_STEP] * 2 * startup.REPETITIONS  # the cold ones fill the cache
