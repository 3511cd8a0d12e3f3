"""A suite from beginning to end: the peaks, group by group, the extras, one record."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from neuroforge_jax.backends.table import BACKENDS, Backend
from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.claims import claims_of
from neuroforge_jax.benchmarking.conditions import begin_record, note_other_work, threads
from neuroforge_jax.benchmarking.extras import EXTRAS, select_extras
from neuroforge_jax.benchmarking.harness import measure
from neuroforge_jax.benchmarking.options import BenchOptions
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
from neuroforge_jax.benchmarking.records import KIND
from neuroforge_jax.benchmarking.suites import SUITES, Group, Suite
from neuroforge_jax.errors import ConfigError, DeviceError

PROBLEM_STEPS = 500
"""That a peer is given; it begins again behind them."""


@dataclass(frozen=True)
class BenchProgress:
    """Whom a run of a suite tells. begins: of a part; row: a case as the record has it, measured or skipped;
    record: after each case, with those so far.
    """

    begins: Callable[[str], None] = field(default=lambda text: None)
    row: Callable[[dict[str, Any]], None] = field(default=lambda case: None)
    record: Callable[[dict[str, Any]], None] = field(default=lambda record: None)


def run_suite(name: str, options: BenchOptions, progress: BenchProgress) -> dict[str, Any]:
    """Measure, and return the record. Raises ConfigError where no row has the name that is asked for."""
    begun, notes = time.perf_counter(), note_other_work()
    suite = SUITES[name].adapt(options)
    all_groups = suite.groups()
    groups = [chosen for group in all_groups if (chosen := group.select(options)).cases]
    extras = select_extras(suite.extras, options)
    if not groups and not extras:
        known = [row for group in all_groups for row in group.names]
        known += [row for extra in suite.extras for row in (extra, *EXTRAS[extra].names())]
        raise ConfigError(
            f"--only {options.only}: no case of suite {name} has such a name: {', '.join(known)}"
        )
    progress.begins("the peaks of this machine")
    peaks = measure_peaks(_backends_of(groups))
    device = BACKENDS[suite.backend].device
    reference = cache(lambda small: reference_of(device, small=small))
    record = {**begin_record(KIND, name, options.words(), notes), "ceiling": peaks.to_json(), "claims": []}

    def keep(case: dict[str, Any]) -> None:
        record["cases"].append(case)
        record["seconds"] = time.perf_counter() - begun
        record["claims"] = claims_of(record["cases"]) if any(group.peers for group in groups) else []
        progress.row(case)
        progress.record(record)

    for group in groups:
        progress.begins(f"{group.names[0].rpartition('/')[0]}: {len(group.names)} candidates")
        for case in measure_group(group, peaks, reference, suite, options):
            keep(case)
    for extra, part_options in extras.items():
        progress.begins(extra)
        for case in EXTRAS[extra].measure(part_options, reference(False)):
            keep(case)
    return record


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
        name = group.peer_case(peer.name)
        python = options.python if peer.foreign else Path(sys.executable)
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
            absent.append(skipped_case(name, reason))
    return found, absent


def _backends_of(groups: Sequence[Group]) -> list[Backend]:
    """A backend for each dtype that is multiplied; of a suite without trainings, the two of a table."""
    backends = {case.dtype: case.backend for group in groups for case in group.cases}
    return list(backends.values()) or [BACKENDS["optimized"], BACKENDS["mixed"]]
