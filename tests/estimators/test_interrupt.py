import signal
import subprocess
import sys
import threading

import pytest

from neuroforge_jax.estimators.interrupt import note_interrupts

SCRIPT = """
import signal, warnings
import numpy as np
import neuroforge_jax as nf
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

X = np.random.default_rng(0).normal(size=(64, 3))
model = nf.MLPRegressor(
    hidden_layer_sizes=(4,), max_iter=2**31 - 1, n_iter_no_change=np.inf, verbose=True, {settings}
)
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    model.fit(X, X[:, 0])
print("told", [str(warning.message) for warning in told])
print("fitted", model.predict(X).shape, model.n_iter_ == len(model.loss_curve_))
"""


@pytest.mark.sklearn
@pytest.mark.parametrize("settings", ["", "early_stopping=True", "n_ensemble=2"])
def test_ctrl_c_ends_a_fit_with_a_warning_and_what_was_trained_is_kept(settings):
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", SCRIPT.format(settings=settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout.readline().startswith("Iteration 1, loss = ")
        child.send_signal(signal.SIGINT)
        said, errors = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 0, errors
    *_, told, fitted = said.splitlines()
    assert told == "told ['Training interrupted by user.']"
    assert fitted == "fitted (64,) True"


@pytest.fixture
def _python_handles_ctrl_c():
    """As where a person starts it; a job in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_python_handles_ctrl_c")
def test_the_first_ctrl_c_is_noted_and_a_second_one_raised():
    with pytest.raises(KeyboardInterrupt), note_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_has_a_handler_keeps_it_and_other_threads_change_nothing():
    def own(signum, frame):
        pass

    before = signal.signal(signal.SIGINT, own)
    try:
        with note_interrupts():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)

    found = []

    def look():
        with note_interrupts() as interrupted:
            found.append((signal.getsignal(signal.SIGINT), interrupted()))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(before, False)]
