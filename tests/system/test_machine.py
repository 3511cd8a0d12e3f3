"""What the machine has, read from files as Linux writes them."""

import os
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroforge_jax.system import accelerators, cpu, memory, provenance

pytestmark = pytest.mark.smoke


@pytest.fixture
def system(tmp_path):
    """A folder to be taken for the root; files are given by their paths."""

    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


MEMORY = (
    "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    9000000 kB\nHugePages: 0\n"
)


def test_a_system_that_tells_nothing_is_not_guessed_about(system):
    root = system({})
    assert memory.memory(root) == memory.Memory(None, None, None)
    assert cpu.cpu_quota(root) is None
    assert cpu.busy_cores(root, 0) is None
    assert accelerators.accelerators(root) == ()


def test_memory_is_in_bytes(system):
    assert memory.memory(system({"proc/meminfo": MEMORY})) == memory.Memory(16384000000, 9216000000, None)


GROUPS = {
    "version 2, own group": {
        "proc/self/cgroup": "0::/user.slice/run.scope\n",
        "sys/fs/cgroup/user.slice/run.scope/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/user.slice/run.scope/memory.max": "2000000000\n",
    },
    "version 2, the group around it is stricter": {
        "proc/self/cgroup": "0::/user.slice/run.scope\n",
        "sys/fs/cgroup/user.slice/run.scope/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/user.slice/run.scope/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/user.slice/memory.max": "2000000000\n",
    },
    "version 2, in a container": {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/memory.max": "2000000000\n",
    },
    "version 1, controllers joined": {
        "proc/self/cgroup": "5:memory:/docker/a\n4:cpu,cpuacct:/docker/a\n1:name=systemd:/\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes": "2000000000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    },
    "version 1, the host's path in a container": {
        "proc/self/cgroup": "5:memory:/docker/a\n4:cpu:/docker/a\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "2000000000\n",
    },
}


@pytest.mark.parametrize("files", GROUPS.values(), ids=GROUPS)
def test_the_strictest_limit_of_the_control_groups_counts(files, system):
    root = system({"proc/meminfo": MEMORY, **files})
    assert cpu.cpu_quota(root) == 1.5
    assert memory.memory(root).limit_bytes == 2000000000


def test_no_limit_is_none(system):
    root = system(
        {
            "proc/meminfo": MEMORY,
            "proc/self/cgroup": "5:memory:/\n4:cpu:/\n0::/\n",
            "sys/fs/cgroup/cpu.max": "max 100000\n",
            "sys/fs/cgroup/memory.max": "max\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        }
    )
    assert cpu.cpu_quota(root) is None
    assert memory.memory(root).limit_bytes is None


DRIVERS = {
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023": "535.104.05",
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build": "580.65.06",
    "unreadable": None,
}


@pytest.mark.parametrize(("text", "version"), DRIVERS.items())
def test_a_gpu_is_seen_with_its_driver(text, version, system):
    root = system({"proc/driver/nvidia/version": text, "dev/nvidia0": "", "dev/kfd": ""})
    assert accelerators.accelerators(root) == (
        accelerators.Accelerator("NVIDIA", version),
        accelerators.Accelerator("AMD", None),
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat")
def test_the_work_of_others_is_counted_and_ones_own_is_not(system, monkeypatch):
    """In a second of watching, three cores' time went by in work, of which this process did one."""
    tick = os.sysconf("SC_CLK_TCK")
    root = system({"proc/stat": f"cpu  {10 * tick} 0 0 {50 * tick} 7 0 0 0 0 0\ncpu0 1 2 3\n"})
    clock = iter([0.0, 1.0])

    def sleep(seconds):
        system({"proc/stat": f"cpu  {12 * tick} 0 0 {51 * tick} 9 0 0 {tick} 5 5\ncpu0 1 2 3\n"})

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", iter([4.0, 5.0]).__next__)
    assert cpu.busy_cores(root, 1) == 2.0


FILES = (
    "proc/meminfo", "proc/self/cgroup", "proc/stat", "proc/driver/nvidia/version", "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max", "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "sys/fs/cgroup/cpu/cpu.cfs_period_us",
)  # fmt: skip
WORDS = (
    "cpu",
    "max",
    "-1",
    "0",
    "100000",
    "0::/",
    "1:cpu:/",
    "memory",
    ":",
    " ",
    "\n",
    "MemTotal: 5 kB",
    "²",
    "\xff",
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.lists(st.sampled_from(WORDS)).map("".join), min_size=8, max_size=8))
def test_no_file_however_odd_stops_the_doctor(contents, system):
    root = system(dict(zip(FILES, contents, strict=True)))
    quota, limit = cpu.cpu_quota(root), memory.memory(root).limit_bytes
    assert quota is None or quota >= 0
    assert limit is None or limit >= 0
    cpu.busy_cores(root, 0)
    accelerators.accelerators(root)


def test_this_machine_is_read_without_an_error():
    cores = cpu.cores()
    assert 1 <= cores.allowed <= cores.machine
    assert memory.memory().total_bytes is None or memory.memory().total_bytes > 2**27


def test_the_memory_of_this_process_grows_with_what_it_holds():
    before = memory.resident_bytes()
    block = np.ones(10_000_000)
    after, peak = memory.resident_bytes(), memory.peak_resident_bytes()
    assert before + 0.9 * block.nbytes < after <= peak


def test_where_the_system_tells_nothing_of_the_process_its_own_count_is_taken(tmp_path):
    assert memory.resident_bytes(tmp_path) is None
    assert memory.peak_resident_bytes(tmp_path) > 1e7


@pytest.mark.parametrize(
    ("machine", "allowed", "quota", "said"),
    [
        (64, 64, None, "64 cores"),
        (64, 8, None, "8 of 64 cores"),
        (64, 8, 1.5, "1.5 of 64 cores"),
        (1, 1, None, "1 core"),
    ],
)
def test_the_cores_of_the_header_are_those_that_the_process_may_use(
    machine, allowed, quota, said, monkeypatch
):
    import jax

    monkeypatch.setattr(os, "cpu_count", lambda: machine)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(allowed)), raising=False)
    monkeypatch.setattr(cpu, "cpu_quota", lambda _: quota)
    assert provenance.device_name(jax.devices("cpu")[0]).endswith(f", {said})")
