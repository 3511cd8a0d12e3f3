"""What both versions do: the trainings of a suite as values that any version understands, and whole processes."""

import fnmatch
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking.against.pairs import LEAST_PAIRS
from neuroforge_jax.benchmarking.cases import Case
from neuroforge_jax.benchmarking.fits import NAME as FIT_NAME
from neuroforge_jax.benchmarking.fits import fit_case
from neuroforge_jax.benchmarking.suites import Suite
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset


@dataclass(frozen=True)
class Work:
    """What is timed. what: steps, fits or processes. config: the fields that are not at their defaults. data: an
    .npz file. arguments: of a whole process. rounds: of a measurement.
    """

    name: str
    rounds: int
    what: str = "steps"
    config: dict[str, Any] = field(default_factory=dict)
    data: Path | None = None
    arguments: tuple[str, ...] = ()

    @property
    def is_process(self) -> bool:
        """Whether each time is a process from its start to its end."""
        return self.what == "processes"


@dataclass(frozen=True)
class Plan:
    """works: of a suite. left_out: the names of its parts that are not compared so."""

    works: tuple[Work, ...]
    left_out: tuple[str, ...]


def plan_suite(suite: Suite, only: str, folder: Path) -> Plan:
    """The work of a suite whose names match a pattern; the data are written into the folder."""
    groups = suite.groups()
    cases = [case for group in groups for case in group.cases]
    data = _Data(folder)
    works = [
        Work(case.name, suite.repetitions, "steps", changes_of(case.config), data.of(case.dataset))
        for case in _alone(cases)
        if fnmatch.fnmatch(case.name, only)
    ]
    left_out = [case.name for case in cases if case.networks > 1]
    left_out += dict.fromkeys(peer for group in groups for peer in group.peers)
    for extra in suite.extras:
        if extra in EXTRAS:
            works += [
                work
                for work in EXTRAS[extra](suite, data)
                if fnmatch.fnmatch(work.name, only) or fnmatch.fnmatch(extra, only)
            ]
        else:
            left_out.append(extra)
    return Plan(tuple(works), tuple(left_out))


class _Data:
    """Datasets as files of a folder, each written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[int, tuple[Dataset, Path]] = {}

    def of(self, dataset: Dataset) -> Path:
        """The file of a dataset that has test data."""
        if id(dataset) not in self._paths:
            path = self._folder / f"{len(self._paths)}.npz"
            test = dataset.test
            assert test is not None
            arrays = {"x": dataset.train.inputs, "y": dataset.train.targets}
            arrays |= {
                "x_test": test.inputs,
                "y_test": test.targets,
                "classes": np.asarray(dataset.classes, str),
            }
            np.savez(path, allow_pickle=False, **arrays)
            # The dataset too: its id is its own while it lives.
            self._paths[id(dataset)] = dataset, path
        return self._paths[id(dataset)][1]


def _alone(cases: Iterable[Case]) -> Iterable[Case]:
    """Those that train one network: populations have no range of steps that is public."""
    return (case for case in cases if case.networks == 1)


def changes_of(config: TrainConfig) -> dict[str, Any]:
    """The fields that are not at their defaults: what is new since a version is only asked for where it is used."""
    plain = TrainConfig()
    return {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if getattr(config, field.name) != getattr(plain, field.name)
    }


def _startup(suite: Suite, data: _Data) -> list[Work]:
    """The import, and a first step with nothing kept."""
    config, dataset = fit_case()
    arguments = {
        "startup/process/import": ("import",),
        "startup/process/first step": ("train", json.dumps(changes_of(config)), str(data.of(dataset))),
    }
    rounds = min(LEAST_PAIRS, suite.repetitions)  # each takes seconds
    return [Work(name, rounds, "processes", arguments=words) for name, words in arguments.items()]


def _fits(suite: Suite, data: _Data) -> list[Work]:
    """A whole fit whose programs are there."""
    config, dataset = fit_case()
    return [Work(FIT_NAME, suite.repetitions, "fits", changes_of(config), data.of(dataset))]


EXTRAS = {"startup": _startup, "fits": _fits}
