"""What jax's log says of a lost process, in one line: the words of jax 0.10.2 and 0.12."""

import pytest

from neuroforge_jax.config import RunOptions
from neuroforge_jax.system.loss import FATAL, _foreign_lines, describe_end
from neuroforge_jax.system.peers import Peers

HEARTBEATS = """\
E1128 07:16:54.944393 3069 coordination_service.cc:1518] [113] Use error polling to propagate the following \
error to all tasks: UNAVAILABLE: The following tasks are unhealthy (stopped sending heartbeats):
1
The tasks have crashed. Check the task logs for an earlier error. [type.googleapis.com/x='']
=== Source Location Trace: ===
external/xla+/xla/pjrt/distributed/coordination/coordination_service.cc:232
"""
GONE = "E1128 07:16:58.976212 3120 coordination_service_agent.cc:288] Polled an error from coordination service\n"
SILENT = "DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.coordination.CoordinationService/RegisterTask\n"
TWICE = "ABORTED: 1 unexpectedly tried to connect with a different incarnation. It has likely restarted.\n"
NEWER = "ALREADY_EXISTS: Aborted connect attempt as there is a request from a newer incarnation.\n"


@pytest.mark.parametrize(
    ("text", "process", "sentence"),
    [
        (
            HEARTBEATS,
            0,
            "process 1 of 2 is gone: no sign of life for 30 s; go on with --resume r on the processes",
        ),
        (
            GONE,
            1,
            "process 0 of 2, which coordinates them, is gone, or cannot be reached any more; go on with",
        ),
        (GONE, 0, "a process of the 2 is gone"),
        (SILENT, 1, "the coordinator at n1:7654 did not answer process 1 within 60 s"),
        (SILENT, 0, "not all of the 2 processes came within 60 s"),
        (TWICE, 0, "two processes have the id 1; give each of the 2 its own, from 0 to 1"),
        (NEWER, 0, "two processes have the id 0; give each of the 2 its own, from 0 to 1"),
    ],
)
def test_why_jax_ends_a_process_is_said_in_one_line(text, process, sentence):
    options = RunOptions(coordinator="n1:7654", num_processes=2, process_id=process)
    told = describe_end(f"{text}F1128 {FATAL}", Peers(), options, "go on with --resume r")
    assert sentence in told
    assert "\n" not in told


def test_a_proxy_that_may_be_in_the_way_is_named(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    options = RunOptions(coordinator="n1:7654", num_processes=2, process_id=1)
    assert "reached there without the proxy of https_proxy" in describe_end(SILENT, Peers(), options, "")


def test_of_what_compiled_code_says_only_the_service_and_its_greetings_are_kept_from_people():
    greeting = "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1\n"
    greeting += "[Gloo] Rank [Gloo] Rank 0 is connected to 11 is connected to 1 peer ranks. Expected\n 1\n"
    warning = "W1128 07:00:00.0 12 slow_operation_alarm.cc:73] a very slow compilation\nof many lines\n"
    assert "".join(_foreign_lines(greeting + HEARTBEATS + warning)) == warning
