"""Where a signal is raised, and where it waits: what cannot be seen from outside of the process."""

import gc
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import pytest
from jax._src import xla_bridge

from neuroforge_jax.system import signals
from neuroforge_jax.system.signals import SignalWatch, Stopped

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals arrive in the main thread"
)


def send(signum=signal.SIGINT):
    """Send a signal to this process, and give Python the instructions in which it is raised."""
    os.kill(os.getpid(), signum)
    for _ in range(1000):
        pass


def wait(seconds=10.0, until=lambda: False):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not until():
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def no_signal_is_ignored():
    """A shell's background job ignores Ctrl-C, and under nohup a closed terminal: these tests may be either."""
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {signum: signal.signal(signum, handler) for signum, handler in defaults.items()}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.fixture
def ended(monkeypatch):
    """Signals with which the process would have been ended at once; a second of patience."""
    signums = []
    monkeypatch.setattr(signals, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(signals, "_end", signums.append)
    return signums


def test_a_signal_within_a_callback_of_the_collector_is_raised_after_it(capsys):
    """jax has such a callback, and what it raises is ignored by Python."""
    calls = []

    def callback(phase, info):
        if not calls:
            calls.append(phase)
            send()

    gc.callbacks.append(callback)
    try:
        with pytest.raises(Stopped, match="interrupted"), SignalWatch():
            gc.collect()
            wait()
    finally:
        gc.callbacks.remove(callback)
    assert calls == ["start"]
    assert capsys.readouterr().err == ""


def test_what_compiled_code_makes_of_a_signal_is_the_signal():
    """A callback of C++ that raises becomes a SystemError, say."""
    with pytest.raises(Stopped, match="terminated"), SignalWatch():
        try:
            send(signal.SIGTERM)
        except Stopped as stop:
            raise SystemError("error return without exception set") from stop


def test_other_ignored_exceptions_are_still_told(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Wrong:
        def __del__(self):
            raise ValueError("in __del__")

    with SignalWatch():
        Wrong()
    assert [str(unraisable.exc_value) for unraisable in told] == ["in __del__"]
    assert sys.unraisablehook == told.append


def test_a_signal_within_the_import_of_a_compiled_module_is_raised_after_it():
    """jaxlib's modules would end the process with SIGSEGV."""
    import math

    events = []

    class Spec(ModuleSpec):
        """Its name is asked for by C code, within the loader."""

        @property
        def name(self):
            if not events:
                send()
                events.append("went on")
            return "math"

        @name.setter
        def name(self, _):
            pass

    loader = ExtensionFileLoader("math", str(Path(getattr(math, "__file__", "absent.so"))))
    spec = Spec("math", loader, origin=loader.path)
    with pytest.raises(Stopped, match="interrupted"), SignalWatch():
        with suppress(ImportError):  # where math is part of the interpreter
            loader.create_module(spec)
        events.append("imported")
        wait()
    assert events == ["went on", "imported"]


def test_a_signal_while_jax_loads_a_plugin_is_raised_after_it():
    """jax swallows whatever a plugin raises there, and the plugin for CUDA calls Python for seconds."""
    went_on = []

    class Plugin:
        def initialize(self):
            send(signal.SIGTERM)
            went_on.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.metadata.entry_points", lambda group: [SimpleNamespace(value="a_plugin")])
        patch.setitem(sys.modules, "a_plugin", Plugin())
        with pytest.raises(Stopped, match="terminated"), SignalWatch():
            xla_bridge.discover_pjrt_plugins()
            wait()
    assert went_on


def test_a_first_signal_that_nobody_answers_ends_the_process_after_a_while(ended):
    with SignalWatch():
        try:
            send(signal.SIGTERM)
        except Stopped:
            wait(0.3)
            assert ended == []
            wait(until=lambda: ended)
            assert set(ended) == {signal.SIGTERM}


def test_what_is_saved_is_waited_for_and_its_end_gets_the_whole_patience(ended):
    with SignalWatch() as watch:
        with watch.deferred():
            send()
            wait(1.3)
        assert watch.received == signal.SIGINT
        wait(0.3)
        assert ended == []


def test_a_second_signal_ends_the_process_at_once(ended):
    with SignalWatch() as watch, watch.deferred():
        send()
        send(signal.SIGTERM)
        wait(until=lambda: ended)
        assert ended[0] == signal.SIGTERM


def test_all_is_as_it_was_after_the_watch():
    before = [*map(signal.getsignal, signals.SIGNALS), sys.unraisablehook]
    with SignalWatch():
        assert [*map(signal.getsignal, signals.SIGNALS), sys.unraisablehook] != before
    assert [*map(signal.getsignal, signals.SIGNALS), sys.unraisablehook] == before
    assert "signals" not in [thread.name for thread in threading.enumerate()]


def test_a_terminal_that_is_closed_stops_a_run_as_sigterm_does():
    with pytest.raises(Stopped, match="the terminal was closed: go on") as stop, SignalWatch() as watch:
        watch.hint = "go on"
        send(signal.SIGHUP)
    assert stop.value.exit_code == 129


def test_the_second_word_of_a_closed_terminal_is_no_haste_and_another_signal_is(ended):
    """The system sends one, and so does the shell that it was running in."""
    with SignalWatch() as watch, watch.deferred():
        send(signal.SIGHUP)
        wait(0.2)
        send(signal.SIGHUP)
        wait(0.3)
        assert ended == []
        send(signal.SIGTERM)
        wait(until=lambda: ended)
        assert ended[0] == signal.SIGTERM


def test_a_job_that_was_told_to_outlive_its_terminal_does():
    """nohup ignores the signal for what it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with SignalWatch() as watch:
            send(signal.SIGHUP)
            assert watch.received is None
    finally:
        signal.signal(signal.SIGHUP, before)
