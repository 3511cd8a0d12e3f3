"""What a record begins with: the command, the day, the machine, and what else the machine was doing."""

import datetime
import os
import shlex
from collections.abc import Sequence
from typing import Any

from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.benchmarking.records import FORMAT
from neuroforge_jax.system.cpu import busy_cores

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
    "PJRT_NPROC",
    "XLA_FLAGS",
    "ONEDNN_MAX_CPU_ISA",
)

BUSY_CORES = 0.3
"""Work of others from which on a record carries a warning."""


def begin_record(kind: str, suite: str, words: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """Of a suite of which nothing is measured yet. words: of the command, besides its suite."""
    return {
        "format": FORMAT,
        "kind": kind,
        "suite": suite,
        "command": shlex.join(["python", "-m", "neuroforge_jax.bench", "--suite", suite, *words]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": 0.0,
        "environment": {**BACKENDS["optimized"].environment(batch_size=512), "threads": threads()},
        "cases": [],
        "notes": [*notes],
    }


def note_other_work() -> list[str]:
    """A note where other work keeps cores busy, which is looked at before anything is measured."""
    busy = busy_cores() or 0.0
    return [f"{busy:.1f} cores were busy with other work when this began"] if busy > BUSY_CORES else []


def threads() -> dict[str, Any]:
    """How many threads this process may use, and what of the environment says otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    variables = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {"cores": cores, "variables": variables}
