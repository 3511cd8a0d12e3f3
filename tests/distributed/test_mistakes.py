"""What several processes must have in common is found out before they train: a line on each, and an exit code."""

import os
import socket
import sys

import pytest

from tests.distributed.processes import QUICK, Team, free_port
from tests.reliability.processes import write_data

pytestmark = pytest.mark.distributed


def both(team, code):
    """The sentence that both ended with."""
    first, second = team.ends()
    assert (first.code, second.code) == (code, code), first.err + second.err
    assert first.error == second.error
    assert first.out + second.out == ""
    return first.error


def test_other_flags_are_named(tmp_path):
    with Team(tmp_path) as team:
        team.train_two(*QUICK, others=(*QUICK, "--learning-rate", "0.02"))
        sentence = both(team, 2)
    assert "process 1 of 2 was started with --learning-rate 0.02, and process 0 with 0.01" in sentence


def test_other_data_of_the_same_name_are_named(tmp_path):
    (tmp_path / "other").mkdir()
    write_data(tmp_path / "other", samples=321)
    with Team(tmp_path) as team:
        team.train_two(*QUICK)
        team.replace(1, folder=tmp_path / "other")
        sentence = both(team, 3)
    assert "process 1 of 2 has data.npz, 321 samples, and process 0 data.npz, 320 samples" in sentence


def test_a_process_that_fails_ends_the_others_with_its_reason(tmp_path):
    with Team(tmp_path) as team:
        team.train_two(*QUICK, others=(*QUICK, "--benchmark-output", "nowhere/there.json"))
        first, second = team.ends()
    assert (first.code, second.code) == (5, 2), first.err + second.err
    assert "nowhere" in second.error
    assert "process 1 of 2 has ended" in first.error
    assert second.error in first.error


def test_two_processes_of_one_id_are_told_apart(tmp_path):
    with Team(tmp_path) as team:
        team.train_two(
            *QUICK, "--join-seconds", "3", others=(*QUICK, "--join-seconds", "3", "--process-id", "0")
        )
        ended = team.ends()
    assert [process.code for process in ended] == [5, 5]
    assert sum("another process 0 listens at 127.0.0.1" in process.error for process in ended) == 1


def test_a_second_process_1_ends_all(tmp_path):
    port = free_port()
    with Team(tmp_path) as team:
        team.train_two(*QUICK, "--join-seconds", "3", "--epochs", "100000", port=port)
        team.train(team.processes[1].args[3:])
        ended = team.ends()
    assert [process.code for process in ended] == [5, 5, 5], [process.err for process in ended]
    assert "two processes have the id 1; give each of the 2 its own, from 0 to 1" in ended[0].error


def test_a_coordinator_that_does_not_answer_is_not_waited_for_for_ever(tmp_path):
    with socket.socket() as silent, Team(tmp_path) as team:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        by_hand = (
            "--coordinator",
            address,
            "--num-processes",
            "2",
            "--process-id",
            "1",
            "--join-seconds",
            "3",
        )
        team.train((*by_hand, *QUICK))
        (ended,) = team.ends()
    assert ended.code == 5
    assert f"the coordinator at {address} did not answer process 1 within 3 s" in ended.error


def test_without_a_launcher_auto_says_what_to_give(tmp_path):
    with Team(tmp_path) as team:
        team.train((*QUICK, "--distributed", "auto"))
        (ended,) = team.ends()
    assert ended.code == 2
    assert "--distributed auto finds no launcher" in ended.error


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of a process's own are Linux's")
def test_a_folder_that_a_process_does_not_see_is_refused(tmp_path):
    """Process 1 has another file system there, in a mount namespace of its own."""
    assert os.geteuid() == 0, "it needs root"
    run = tmp_path / "run"
    run.mkdir()
    with Team(tmp_path) as team:
        team.train_two(*QUICK, "--run-dir", "run")
        script = f'mount -t tmpfs none "{run}" && exec "$@"'
        team.replace(1, lambda command: ["unshare", "--mount", "sh", "-c", script, "sh", *command])
        sentence = both(team, 4)
    assert f"process 1 of 2 does not see the run's folder {run} of process 0" in sentence


@pytest.mark.parametrize("flags", [["--verify"], ["--trace", "3"]], ids=lambda flags: flags[0])
def test_what_looks_at_one_process_is_refused(flags, tmp_path):
    with Team(tmp_path) as team:
        team.train_two(*QUICK, *flags)
        first, second = team.ends()
    assert (first.code, second.code) == (2, 2), first.err + second.err
    assert f"{flags[0]} looks at one process; leave it out" in first.error
