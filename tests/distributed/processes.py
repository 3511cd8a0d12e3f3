"""Several processes that train as one on this machine, each started as a user would."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np

from tests.reliability.processes import BARE_END, CACHE, ROOT, START, write_data

QUICK = ("--dataset", "data.npz", "--hidden", "16", "--batch-size", "32", "--heartbeat-seconds", "5")
LONG = (*QUICK, "--epochs", "100000", "--run-dir", "run", "--checkpoint-every", "20 steps")
"""It does not end by itself."""


SHARDS = tuple("shards" if flag == "data.npz" else flag for flag in QUICK)
"""The same data in five files."""


def environment(**more):
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "NO_PROXY": "*",
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "XDG_CACHE_HOME": CACHE.name,
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
        "OMP_NUM_THREADS": "1",
        **more,
    }


def write_shards(folder):
    data = np.load(folder / "data.npz")
    for part, count in (("train", 4), ("test", 1)):
        (folder / "shards" / part).mkdir(parents=True)
        for name in "xy":
            for at, piece in enumerate(np.array_split(data[f"{name}_{part}"], count)):
                np.save(folder / "shards" / part / f"{name}-{at}.npy", piece)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Ended:
    code: int
    out: str
    err: str
    seconds: float

    @property
    def error(self):
        """The one line that it ended with."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


class Team:
    """Processes that are ended, by their ids, when the block is left."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        if not (folder / "data.npz").exists():
            write_data(folder, samples=320)
            write_shards(folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

    def start(self, command, **more):
        self.processes.append(
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=self.folder,
                env=environment(**more),
            )
        )
        return self.processes[-1]

    def train(self, flags, **more):
        return self.start([sys.executable, "-c", START.format(plant=BARE_END), *flags], **more)

    def train_two(self, *flags, others=None, port=None, **more):
        """Two of them; others: of process 1, where they are not the same. more: environment variables."""
        port = port or free_port()
        for process, own in enumerate((flags, flags if others is None else others)):
            by_hand = (
                "--coordinator",
                f"127.0.0.1:{port}",
                "--num-processes",
                "2",
                "--process-id",
                str(process),
            )
            self.train((*by_hand, *own), **more)

    def replace(self, process, command=None, folder=None):
        """Start it again another way, before it has joined."""
        old = self.processes.pop(process)
        old.kill()
        old.communicate()
        self.folder = folder or self.folder
        self.start(command(old.args) if command else old.args)

    def ends(self, seconds=60):
        """How each of them ended."""
        begun, ended = time.monotonic(), []
        for process in self.processes:
            out, err = process.communicate(timeout=seconds)
            ended.append(Ended(process.returncode, out, err, time.monotonic() - begun))
        return ended

    def wait_for_steps(self, steps, seconds=60):
        """Until a checkpoint has so many behind it."""
        end = time.monotonic() + seconds
        while (last := last_step(self.folder / "run")) < steps:
            for process in self.processes:
                assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, f"step {last} of {steps}"
            time.sleep(0.05)


def last_step(run):
    """Of its checkpoints; 0 where there is none."""
    checkpoints = run / "checkpoints"
    names = [path.name for path in checkpoints.iterdir()] if checkpoints.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def losses(run):
    """Of training and of evaluation, by epoch."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["train_loss"], line["test_loss"]) for line in lines]


def resume_alone(folder, *, epochs):
    """On one process, some epochs beyond where the run is; the finished one's result."""
    per_epoch = 10
    until = last_step(folder / "run") // per_epoch + epochs
    with Team(folder) as team:
        team.train(["--resume", "run", "--epochs", str(until), "--checkpoint-every", "never"])
        (ended,) = team.ends()
    assert ended.code == 0, ended.err
    assert re.search(r"resume +run at step [1-9]", ended.out), ended.out
    result = json.loads((folder / "run" / "result.json").read_text())
    assert result["epochs"] == until
    return result
