"""Tables as people have them: what one config reaches on each, beside scikit-learn's network of the same widths.

Both sides get the rows and columns that our reader makes of a file. scikit-learn's network has the widths and the
batch size of ours and, seed by seed, as many epochs; it holds out as many of the training rows, and keeps the best
epoch by them. Its numbers are imputed and standardised, its categories one-hot, a quantity has mean 0 and deviation
1, all in float32. The seconds are those of training: without that preparation, without compiling; scikit-learn's
hold the scoring of held-out rows, a few hundredths of them, and ours do not.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from neuroforge_jax.benchmarking.cases import skipped_case
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Side
from neuroforge_jax.benchmarking.statistics import paired_ratio
from neuroforge_jax.benchmarking.table_tasks import SEEDS, TASKS, Task
from neuroforge_jax.benchmarking.table_trainings import split_anew, train_ours, train_scikit_learn
from neuroforge_jax.data.datasets import data_folder, load_dataset
from neuroforge_jax.data.types import Dataset

SPLITS = 10
SEEDS_OF_A_SPLIT = 3
"""With some 180 rows of test data, one training of each split has a mean that is out by a point."""

WITHIN = 0.005
"""How far below scikit-learn's mean accuracy ours may lie where that is the goal."""


def names() -> list[str]:
    """Of the tables, and of the rows."""
    return [name for task in TASKS for name in (task.name, *task.names)]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Two rows a table, ours and scikit-learn's; one that says why where a table is not there.

    reference: of the harness, which tells how fast the machine was beside each training.
    """
    folder = options.tables or table_folder(options.data_dir)
    for task in TASKS:
        if not task.is_selected(options):
            continue
        if reason := task.absence(folder, options.data_dir):
            yield skipped_case(task.names[0], reason)
        else:
            yield from measure_table(task, folder, options, reference)


def table_folder(data_dir: Path | None) -> Path:
    """Where the tables lie: NEUROFORGE_TABLES, else `tables` in the data folder."""
    if named := os.environ.get("NEUROFORGE_TABLES"):
        return Path(named).expanduser()
    return data_folder(data_dir) / "tables"


def measure_table(
    task: Task, folder: Path, options: BenchOptions, reference: Callable[[], float]
) -> list[dict[str, Any]]:
    """Let the two take turns, seed by seed, and describe both."""
    config, most = task.in_folder(folder), SPLITS * SEEDS_OF_A_SPLIT if task.splits else SEEDS

    @cache
    def load(split: int) -> Dataset:
        if task.splits:
            return split_anew(config, split)
        return load_dataset(config, data_dir=options.data_dir)

    ours, theirs = Side(), Side()
    for seed in range(min(options.seeds, most)):
        dataset = load(seed % SPLITS if task.splits else 0)
        seeded = replace(config, seed=seed)
        outcome = ours.take_turn(partial(train_ours, seeded, dataset, task.unit), reference)
        if task.splits or seed < task.peer_seeds:
            train = partial(train_scikit_learn, seeded, dataset, outcome.epochs, task.unit)
            theirs.take_turn(train, reference)
    return _describe(task, load(0), ours, theirs)


def _describe(task: Task, dataset: Dataset, ours: Side, theirs: Side) -> list[dict[str, Any]]:
    """The rows of a table."""
    import sklearn

    metric = "accuracy" if dataset.classes else "rmse"
    goal = theirs.mean - WITHIN if task.goal is None else task.goal
    reached = ours.mean >= goal if dataset.classes else ours.mean <= goal
    config = replace(task.config, dataset=task.dataset or task.config.dataset, target=task.target)
    first = ours.describe(task.names[0], metric)
    first |= {
        "goal": goal,
        "goal_is_relative": task.goal is None,
        "reached": reached,
        "training_rows": len(dataset.train),
        "inputs": dataset.inputs,
        "config": asdict(replace(config, test=task.test, validation=task.validation)),
    }
    second = theirs.describe(task.names[1], metric)
    ratio = paired_ratio(ours.seconds[: len(theirs.seconds)], theirs.seconds)
    second |= {"version": sklearn.__version__, "ratio": {"to": first["name"], **ratio.to_json()}}
    return [first, second]
