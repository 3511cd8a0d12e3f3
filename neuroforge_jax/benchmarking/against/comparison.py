"""The working tree against another commit, from beginning to end: one record."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.against.pairs import (
    LEAST_PAIRS,
    Pair,
    PairedTimes,
    is_confirmed,
    judge,
    measure_pairs,
    suspects,
)
from neuroforge_jax.benchmarking.against.process import MissingError, VersionProcess
from neuroforge_jax.benchmarking.against.versions import Version, open_versions
from neuroforge_jax.benchmarking.against.work import Work, plan_suite
from neuroforge_jax.benchmarking.conditions import begin_record, note_other_work
from neuroforge_jax.benchmarking.harness import size_turn
from neuroforge_jax.benchmarking.options import BenchOptions, Margins
from neuroforge_jax.benchmarking.peers.process import difference
from neuroforge_jax.benchmarking.suites import SUITES
from neuroforge_jax.errors import ConfigError, DeviceError

KIND = "neuroforge-jax bench --against"
PROCESSES_AGAIN = 3
"""Pairs of new processes that a second measurement is made of, each as long as the first one: how a process happens
to lie in memory is luck too, and stays with it."""

CASE_SECONDS = 10.0
"""Of the turns of one version: where an old one is slow, a few rounds tell as much."""

SAME_LOSSES = 2e-3
"""Mean relative difference of the losses from which on it is said that two versions do not train the same. Over 20
steps of the suite regression, products rounded to bf16 make one of 1e-3 at most, half the learning rate one of 4e-3
at least."""


@dataclass(frozen=True)
class AgainstProgress:
    """Whom a comparison tells. versions: of both, once they are known. begins: of a case that is made ready.
    rounds: how many of how many are over. table: of a measurement, its cases as the record has them. again: of the
    names that are measured a second time.
    """

    versions: Callable[[Version, Version], None] = field(default=lambda before, after: None)
    begins: Callable[[str], None] = field(default=lambda text: None)
    rounds: Callable[[int, int], None] = field(default=lambda over, rounds: None)
    table: Callable[[Sequence[Mapping[str, Any]]], None] = field(default=lambda cases: None)
    again: Callable[[Sequence[str]], None] = field(default=lambda names: None)


@dataclass
class _Comparison:
    """What is there while it runs. losses: of the first steps by each version, by the name of a case. missing: why
    the commit has not got a case.
    """

    versions: tuple[Version, Version]
    turn_seconds: float
    progress: AgainstProgress
    steps: dict[str, int] = field(default_factory=dict)
    losses: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def measure(self, works: Sequence[Work]) -> dict[str, PairedTimes]:
        """By two new processes."""
        with ExitStack() as stack:
            before, after = (
                stack.enter_context(closing(VersionProcess(version))) for version in self.versions
            )
            pairs = {}
            for work in works:
                self.progress.begins(work.name)
                pair = self._start(work, before, after)
                if pair is not None:
                    pairs[work.name] = pair
            return measure_pairs(pairs, self.progress.rounds)

    def _start(self, work: Work, before: VersionProcess, after: VersionProcess) -> Pair | None:
        """Ready to be measured; None where the commit has no such work."""
        for process in (before, after):
            process.begin(work)
        try:
            losses_after = after.wait(work)
        except MissingError as error:
            raise DeviceError(f"the working tree does not train {work.name}: {error}") from None
        try:
            losses_before = before.wait(work)
        except MissingError as error:
            self.missing[work.name] = str(error)
            return None
        if losses_before is not None and losses_after is not None:
            self.losses[work.name] = losses_before, losses_after
        turns = partial(before.turn, work), partial(after.turn, work)
        steps, rounds = 1, work.rounds
        if not work.is_process:  # a process is warm after its first start, and has rounds of its own
            steps = min(size_turn(turn, self.turn_seconds) for turn in turns)
            longest = max(turn(steps) for turn in turns)
            rounds = min(rounds, max(LEAST_PAIRS, int(CASE_SECONDS / longest)))
        self.steps[work.name] = steps
        return Pair(*turns, steps, rounds)


def compare_with(
    revision: str, suite_name: str, options: BenchOptions, margins: Margins, progress: AgainstProgress
) -> dict[str, Any]:
    """Measure a suite by a commit and by the working tree; the record, whose `confirmed` names the cases that fail.

    What seems slower by more than `margins.fail` is measured again by new processes, three times as long, and is
    confirmed where the whole interval of that lies beyond the margin. Raises ConfigError where there is no such
    commit, or where it cannot be imported or fails; DeviceError where the working tree cannot train.
    """
    begun, notes = time.perf_counter(), note_other_work()
    suite = SUITES[suite_name].adapt(options)
    with TemporaryDirectory() as folder, open_versions(revision) as versions:
        progress.versions(*versions)
        plan = plan_suite(suite, options.only, Path(folder))
        if not plan.works:
            raise ConfigError(
                f"suite {suite_name} has nothing named {options.only} that --against can measure; "
                "take another --only, or --suite regression"
            )
        comparison = _Comparison(versions, suite.turn_seconds, progress)
        first = comparison.measure(plan.works)
        cases = _describe(plan.works, first, comparison, margins)
        progress.table(cases)
        if suspected := suspects(first, margins.fail):
            progress.again(suspected)
        again = _measure_again(plan.works, suspected, comparison)
        _add_second_measurement(cases, again, margins)
        if again:
            progress.table([case["again"] | {"name": case["name"]} for case in cases if case.get("again")])
    words = ["--against", revision, *margins.words(), *options.words()]
    return {
        **begin_record(KIND, suite_name, words, [*notes, *_notes(plan.left_out, comparison)]),
        "seconds": time.perf_counter() - begun,
        "before": versions[0].to_json(),
        "after": versions[1].to_json(),
        "margin": margins.same,
        "fail_margin": margins.fail,
        "cases": cases,
        "confirmed": [name for name, times in again.items() if is_confirmed(times, margins.fail)],
    }


def _measure_again(
    works: Sequence[Work], names: Sequence[str], comparison: _Comparison
) -> dict[str, PairedTimes]:
    """These alone, by several pairs of new processes."""
    chosen = [work for work in works if work.name in names]
    times = dict.fromkeys(names, PairedTimes())
    for _ in range(PROCESSES_AGAIN if chosen else 0):
        for name, found in comparison.measure(chosen).items():
            times[name] += found
    return times


def _describe(
    works: Sequence[Work], times: Mapping[str, PairedTimes], comparison: _Comparison, margins: Margins
) -> list[dict[str, Any]]:
    """A row of the record for each work."""
    rows = []
    for work in works:
        row: dict[str, Any] = {"name": work.name}
        if work.name in comparison.missing:
            row["skipped"] = f"not in {comparison.versions[0].name}: {comparison.missing[work.name]}"
        else:
            row |= {"what": work.what, "config": work.config}
            row |= {"steps_of_a_turn": comparison.steps[work.name], **times[work.name].to_json()}
            row["verdict"] = judge(times[work.name], margins.same, margins.fail)
        rows.append(row)
    return rows


def _add_second_measurement(
    cases: list[dict[str, Any]], again: Mapping[str, PairedTimes], margins: Margins
) -> None:
    for case in cases:
        if case["name"] in again:
            times = again[case["name"]]
            case["again"] = {**times.to_json(), "verdict": judge(times, margins.same, margins.fail)}


def _notes(left_out: Sequence[str], comparison: _Comparison) -> list[str]:
    """What a reader should know beside the times."""
    before, after = comparison.versions
    notes = []
    if before.commit == after.commit and not after.changed_files:
        notes.append("both versions are the same code")
    if left_out:
        notes.append(f"not compared with --against: {', '.join(left_out)}")
    for name, losses in comparison.losses.items():
        if apart := _compare_losses(*losses):
            notes.append(f"{name}: the versions do not train the same, {apart}")
    return notes


def _compare_losses(before: Sequence[float], after: Sequence[float]) -> str:
    """How they differ; empty where the versions train the same."""
    if len(before) != len(after):
        return f"they tell {len(before)} and {len(after)} losses"
    apart = difference(np.asarray(before), np.asarray(after))
    return f"their losses differ by {apart:.2g} of their size" if apart > SAME_LOSSES else ""
