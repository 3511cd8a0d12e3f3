"""A signal saves once for all, and a process that is lost ends the others; the run goes on with those left."""

import signal
import time

import pytest

from tests.distributed.processes import LONG, QUICK, Team, last_step, resume_alone

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("process", [0, 1])
def test_a_signal_to_one_saves_once_and_ends_all(process, tmp_path):
    with Team(tmp_path) as team:
        team.train_two(*LONG)
        team.wait_for_steps(20)
        team.processes[process].send_signal(signal.SIGTERM)
        first, second = team.ends(30)
    assert (first.code, second.code) == (143, 143), first.err + second.err
    assert (
        first.err == f"terminated: saved at step {last_step(tmp_path / 'run'):,}; go on with --resume run\n"
    )
    assert second.err == ""


@pytest.mark.parametrize("process", [0, 1])
def test_a_killed_process_ends_the_other_within_the_heartbeat(process, tmp_path):
    with Team(tmp_path) as team:
        team.train_two(*LONG)
        team.wait_for_steps(20)
        lost = team.processes.pop(process)
        lost.kill()
        lost.communicate()
        begun = time.monotonic()
        (left,) = team.ends(30)
    assert left.code == 5, left.err
    assert f"process {process} of 2" in left.error
    assert "gone" in left.error
    assert "go on with --resume" in left.error
    assert time.monotonic() - begun < 5 + 10
    resume_alone(tmp_path, epochs=2)


def test_a_loss_that_is_no_number_ends_all_alike(tmp_path):
    with Team(tmp_path) as team:
        team.train_two(*QUICK, "--learning-rate", "1e6", "--loss", "mse", "--run-dir", "run")
        first, second = team.ends()
    assert (first.code, second.code) == (6, 6), first.err + second.err
    assert first.error == second.error
    assert "one process alone can train its steps again and say where" in first.error
