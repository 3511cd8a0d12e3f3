"""Two hosts, one of which is cut off in the middle of a step: each ends with a line, and the run goes on on one."""

import os
import shutil
import sys

import pytest

from tests.distributed.hosts import ADDRESSES, two_hosts
from tests.distributed.processes import LONG, Team, resume_alone

pytestmark = pytest.mark.distributed


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="hosts are made of namespaces, by root on Linux"
)
def test_a_host_that_is_cut_off_ends_both_sides_and_the_run_goes_on_on_one(tmp_path):
    assert shutil.which("ip"), "the check needs iproute2"
    with two_hosts(tmp_path) as hosts, Team(tmp_path) as team:
        for host in (0, 1):
            by_hand = (
                "--coordinator",
                f"{ADDRESSES[0]}:7654",
                "--num-processes",
                "2",
                "--process-id",
                str(host),
            )
            train = [sys.executable, "-m", "neuroforge_jax.train", *by_hand, *LONG]
            team.start(hosts.run_on(host, train))
        team.wait_for_steps(20)
        hosts.cut(1)
        first, second = team.ends(60)
    assert (first.code, second.code) == (5, 5), first.err + second.err
    assert "process 1 of 2 is gone: no sign of life for 5 s; go on with --resume" in first.error
    assert "process 0 of 2, which coordinates them, is gone, or cannot be reached" in second.error
    resume_alone(tmp_path, epochs=2)
