"""A suite from beginning to end: the peaks, group by group, the extras, one record."""

import datetime
import fnmatch
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax

from neuroforge_jax.backends.table import BACKENDS, Backend
from neuroforge_jax.benchmarking import fits, speedrun, startup
from neuroforge_jax.benchmarking.claims import claims_of, published_cases
from neuroforge_jax.benchmarking.harness import measure
from neuroforge_jax.benchmarking.peaks import Peaks, measure_peaks, reference_of
from neuroforge_jax.benchmarking.peers.process import (
    COMPARED_STEPS,
    PEERS,
    PeerProcess,
    absence,
    make_task,
    our_losses,
    our_peak_resident_bytes,
)
from neuroforge_jax.benchmarking.records import FORMAT, KIND
from neuroforge_jax.benchmarking.suites import SUITES, Group, Suite
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.system.cpu import busy_cores

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NPROC",
    "PJRT_NPROC",
    "XLA_FLAGS",
    "ONEDNN_MAX_CPU_ISA",
)
PROBLEM_STEPS = 500
"""That a peer is given; it begins again behind them."""

BUSY_CORES = 0.3
"""Work of others from which on a record carries a warning."""


@dataclass(frozen=True)
class BenchOptions:
    """How a suite is run. only: a pattern of names of cases. peer_python: an interpreter that has the peers.
    data_dir, seeds: of the speedrun. repetitions, turn_seconds: in the place of the suite's own.
    """

    only: str = "*"
    repetitions: int | None = None
    turn_seconds: float | None = None
    peer_python: Path | None = None
    data_dir: Path | None = None
    seeds: int = 30


@dataclass(frozen=True)
class BenchProgress:
    """Whom a run of a suite tells. begins: of a part; row: a case as the record has it, measured or skipped;
    record: after each case, with those so far.
    """

    begins: Callable[[str], None] = field(default=lambda text: None)
    row: Callable[[dict[str, Any]], None] = field(default=lambda case: None)
    record: Callable[[dict[str, Any]], None] = field(default=lambda record: None)


def run_suite(name: str, options: BenchOptions, progress: BenchProgress) -> dict[str, Any]:
    """Measure, and return the record. Raises ConfigError where no case has the name that is asked for."""
    begun, busy = time.perf_counter(), busy_cores() or 0.0
    notes = [f"{busy:.1f} cores were busy with other work when this began"] if busy > BUSY_CORES else []
    suite = resolve_suite(SUITES[name], options)
    groups = [kept for group in suite.groups() if (kept := _only(group, options.only)).cases]
    extras = [extra for extra in suite.extras if options.only == "*" or fnmatch.fnmatch(extra, options.only)]
    if not groups and not extras:
        names = [case.name for group in SUITES[name].groups() for case in group.cases]
        raise ConfigError(
            f"--only {options.only}: no case of suite {name} has such a name: {', '.join(names)}"
        )
    device = device_of(name)
    progress.begins("the peaks of this machine")
    peaks = measure_peaks(_backends_of(groups))
    reference = cache(lambda small: reference_of(device, small=small))
    record = _begin_record(name, peaks, notes)

    def keep(case: dict[str, Any]) -> None:
        record["cases"].append(case)
        record["seconds"] = time.perf_counter() - begun
        record["claims"] = claims_of(record["cases"]) if any(group.peers for group in groups) else []
        progress.row(case)
        progress.record(record)

    for group in groups:
        progress.begins(f"{group.cases[0].name.rpartition('/')[0]}: {len(group.cases)} contenders")
        for case in measure_group(group, peaks, reference, suite, options):
            keep(case)
    for extra in extras:
        progress.begins(extra)
        EXTRAS[extra](options, reference(False), keep)
    return record


def _begin_record(name: str, peaks: Peaks, notes: list[str]) -> dict[str, Any]:
    """Of a suite of which no case is measured yet."""
    return {
        "format": FORMAT,
        "kind": KIND,
        "suite": name,
        "command": f"python -m neuroforge_jax.bench --suite {name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": 0.0,
        "environment": {**BACKENDS["optimized"].environment(batch_size=512), "threads": threads()},
        "ceiling": peaks.to_json(),
        "cases": [],
        "claims": [],
        "notes": notes,
    }


def _keep_each(cases: list[dict[str, Any]], keep: Callable[[dict[str, Any]], None]) -> None:
    for case in cases:
        keep(case)


Extra = Callable[[BenchOptions, Callable[[], float], Callable[[dict[str, Any]], None]], None]
"""Given the options, the reference for large steps, and whom to tell of each case."""

EXTRAS: dict[str, Extra] = {
    "published": lambda options, reference, keep: _keep_each(published_cases(), keep),
    "fits": lambda options, reference, keep: _keep_each(fits.cases(reference), keep),
    "startup": lambda options, reference, keep: _keep_each(startup.cases(reference), keep),
    "speedrun": lambda options, reference, keep: speedrun.cases(
        options.seeds, options.data_dir, options.peer_python, threads()["cores"], reference, keep
    ),
    "speedrun-command": lambda options, reference, keep: speedrun.command_cases(
        options.seeds, options.data_dir, options.peer_python, threads()["cores"], reference, keep
    ),
}


def device_of(suite_name: str) -> jax.Device:
    """What a suite runs on, and its yardstick with it."""
    return BACKENDS["cuda-optimized" if suite_name == "gpu" else "optimized"].device


def resolve_suite(suite: Suite, options: BenchOptions) -> Suite:
    """The suite with what the options change of it."""
    return replace(
        suite,
        repetitions=options.repetitions or suite.repetitions,
        turn_seconds=options.turn_seconds or suite.turn_seconds,
    )


def measure_group(
    group: Group,
    peaks: Peaks,
    reference: Callable[[bool], Callable[[], float]],
    suite: Suite,
    options: BenchOptions,
) -> list[dict[str, Any]]:
    """Start the candidates of a group, measure them side by side, and describe each, the absent peers too."""
    repetitions = min(suite.repetitions, group.most_repetitions or suite.repetitions)
    with ExitStack() as stack:
        processes, absent = _peers(group, options, stack)
        started = {case.name: case.start() for case in group.cases}
        started |= {name: process.started() for name, process in processes.items()}
        small = {case.name: case.is_small for case in group.cases}
        measured = measure(
            started,
            lambda name: reference(small.get(name, group.cases[0].is_small)),
            repetitions=repetitions,
            turn_seconds=suite.turn_seconds,
        )
        described = [
            case.record(measured[case.name], peaks, measured[case.baseline] if case.baseline else None)
            for case in group.cases
        ]
        if group.peers:
            for case, told in zip(group.cases, described, strict=True):
                if case.backend.device.platform == "cpu":
                    told["peak_resident_bytes"] = our_peak_resident_bytes(case.config, case.dataset)
        ours = group.cases[0]
        for name, process in processes.items():
            dtype = "bf16" if "bf16" in process.peer.mode else "f32"
            theirs = replace(ours, name=name, baseline=ours.name, multiplied_in=dtype)
            told = theirs.record(measured[name], peaks, measured[ours.name])
            told |= {
                "backend": None,
                "precision": dtype,
                "compile_options": None,
                "version": process.version,
                "loss_difference": process.difference,
                "peak_resident_bytes": process.peak_resident_bytes(),
            }
            described.append(told)
    return [*described, *absent]


def _peers(
    group: Group, options: BenchOptions, stack: ExitStack
) -> tuple[dict[str, PeerProcess], list[dict[str, Any]]]:
    """By the names of their cases, the peers whose losses are ours; and a row for each that cannot be measured."""
    found: dict[str, PeerProcess] = {}
    absent: list[dict[str, Any]] = []
    if not group.peers:
        return found, absent
    ours = group.cases[0]
    config, dataset = ours.config, ours.dataset
    problem = make_task(config, dataset, min(PROBLEM_STEPS, len(dataset.train) // config.batch_size))
    losses = our_losses(config, dataset, min(COMPARED_STEPS, len(problem.order)))
    for peer in (PEERS[name] for name in group.peers):
        name = f"{ours.name.rpartition('/')[0]}/{peer.name}"
        if not fnmatch.fnmatch(name, options.only):
            continue
        python = options.peer_python if peer.foreign and options.peer_python else Path(sys.executable)
        reason = absence(peer.needs, python)
        if not reason:
            try:
                process = PeerProcess(peer, python, problem, threads()["cores"])
                stack.callback(process.close)
                process.compare(losses)
                found[name] = process
                if process.difference > peer.tolerance:
                    reason = f"its losses are not ours: they differ by {process.difference:.1e} on average"
            except DeviceError as error:
                reason = str(error)
        if reason:
            found.pop(name, None)
            absent.append({"name": name, "group": ours.group, "contender": peer.name, "skipped": reason})
    return found, absent


def threads() -> dict[str, Any]:
    """How many threads this process may use, and what of the environment says otherwise."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    variables = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    return {"cores": cores, "variables": variables}


def _only(group: Group, pattern: str) -> Group:
    """The cases of these names, with the baselines that they need."""
    chosen = {case.name for case in group.cases if fnmatch.fnmatch(case.name, pattern)}
    chosen |= {case.baseline for case in group.cases if case.name in chosen and case.baseline}
    return replace(group, cases=tuple(case for case in group.cases if case.name in chosen))


def _backends_of(groups: Sequence[Group]) -> list[Backend]:
    """A backend for each dtype that is multiplied; of a suite without trainings, the two of a table."""
    backends = {case.dtype: case.backend for group in groups for case in group.cases}
    return list(backends.values()) or [BACKENDS["optimized"], BACKENDS["mixed"]]
