"""The pool of an accelerator's memory is set before jax starts, or the command ends."""

import os

import pytest

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.system import memory_pool
from neuroforge_jax.system.memory_pool import FRACTION, PREALLOCATE, describe_pool, set_pool


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """As it was, whatever a test sets."""
    for name in (FRACTION, PREALLOCATE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("started", [False, True])
def test_what_is_asked_for_is_set_and_in_time_before_jax_starts(started, monkeypatch):
    monkeypatch.setattr(memory_pool, "_jax_has_started", lambda: started)
    assert set_pool(RunOptions(memory_fraction=0.5, preallocate=False)) is not started
    assert (os.environ[FRACTION], os.environ[PREALLOCATE]) == ("0.5", "false")
    # What the environment said all along was in time.
    assert set_pool(RunOptions(memory_fraction=0.5))


def test_nothing_is_set_where_nothing_is_asked_for():
    options = RunOptions()
    assert set_pool(options)
    assert FRACTION not in os.environ
    assert describe_pool(options, "gpu", in_time=False) == ""


def test_too_late_is_a_line_on_a_gpu_and_a_note_on_a_cpu():
    options = RunOptions(memory_fraction=0.5, preallocate=False)
    assert describe_pool(options, "gpu", in_time=True) == ""
    with pytest.raises(ConfigError, match="--memory-fraction, --preallocate: jax has its memory already"):
        describe_pool(options, "gpu", in_time=False)
    assert "change nothing on a CPU" in describe_pool(options, "cpu", in_time=False)


@pytest.mark.parametrize(
    ("variable", "value", "options", "sentence"),
    [
        (FRACTION, "0.9", RunOptions(memory_fraction=0.5), "--memory-fraction says 0.5, and XLA_PYTHON"),
        (PREALLOCATE, "True", RunOptions(preallocate=False), "--preallocate says false, and XLA_PYTHON"),
    ],
)
def test_an_environment_that_says_something_else_is_a_line(variable, value, options, sentence, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=sentence):
        set_pool(options)
    assert os.environ[variable] == value


def test_the_same_in_both_is_no_contradiction(monkeypatch):
    monkeypatch.setenv(PREALLOCATE, "True")
    assert set_pool(RunOptions(preallocate=True))


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_lies_between_0_and_1(share):
    with pytest.raises(ConfigError, match="--memory-fraction"):
        RunOptions(memory_fraction=share)
