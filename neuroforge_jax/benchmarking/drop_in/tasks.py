"""What both learn: data sets, the parameters of a fit that are no defaults, and what is to be reached.

Inputs are float64 on both sides, as scikit-learn's own scalers and encoders give them, and its networks compute in
it: numbers standardised, categories one-hot. Two tasks are in float32, where they are faster. max_iter is
bounded where scikit-learn's networks take long, so that the whole suite lasts some minutes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neuroforge_jax.benchmarking import table_tasks
from neuroforge_jax.benchmarking.drop_in.networks import names_of
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.table_trainings import make_preparation
from neuroforge_jax.benchmarking.tables import table_folder
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.datasets import load_dataset


@dataclass(frozen=True)
class Rows:
    """x [N, I], y [N] of classes or numbers, to fit to; x_test [T, I], y_test [T] to score on."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


@dataclass(frozen=True)
class FitTask:
    """read: its rows, by the options. parameters: besides scikit-learn's defaults. goals: `score` within noise,
    `time` of a fit, or that `each` fit is faster. source: the files that it needs, if any.
    """

    name: str
    read: Callable[[BenchOptions], Rows]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    goals: tuple[str, ...] = ("score", "time")
    regression: bool = False
    source: table_tasks.Task | None = None

    @property
    def names(self) -> list[str]:
        """Of the rows."""
        return names_of(self.name)

    @property
    def metric(self) -> str:
        """Of `score`."""
        return "r2" if self.regression else "accuracy"

    def absence(self, options: BenchOptions) -> str:
        """Why it cannot be measured; empty where its files are there."""
        if self.source is None:
            return ""
        return self.source.absence(options.tables or table_folder(options.data_dir), options.data_dir)


def read_digits(options: BenchOptions) -> Rows:
    """1,797 of 64 pixels, in 10 classes."""
    from sklearn.datasets import load_digits

    return split_and_standardise(*load_digits(return_X_y=True))


def read_breast_cancer(options: BenchOptions) -> Rows:
    """569 of 30 numbers, in 2 classes."""
    from sklearn.datasets import load_breast_cancer

    return split_and_standardise(*load_breast_cancer(return_X_y=True))


def draw_classification(options: BenchOptions) -> Rows:
    """20,000 of 100 numbers, in 2 classes."""
    from sklearn.datasets import make_classification

    return split_and_standardise(*make_classification(20_000, 100, n_informative=20, random_state=0))


def split_and_standardise(x: np.ndarray, y: np.ndarray) -> Rows:
    """A quarter of every class to score on; numbers by the mean and deviation of the others."""
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, x_test, y, y_test = train_test_split(x, y, stratify=y, random_state=0)
    scaler = StandardScaler().fit(x)
    return Rows(scaler.transform(x), y, scaler.transform(x_test), y_test)


def read_files(source: table_tasks.Task) -> Callable[[BenchOptions], Rows]:
    """A table, a quantity in the task's unit, or pictures: rows and columns as our reader makes them of files."""

    def read(options: BenchOptions) -> Rows:
        config = source.in_folder(options.tables or table_folder(options.data_dir))
        dataset = load_dataset(config, data_dir=options.data_dir)
        assert dataset.test is not None
        preparation = make_preparation(dataset).fit(dataset.train.inputs)
        arrays = []
        for split in (dataset.train, dataset.test):
            targets = split.targets
            if not dataset.classes:
                targets = dataset.target.read_outputs(targets).ravel() / source.unit
            arrays += [preparation.transform(split.inputs).astype(np.float64), targets]
        return Rows(*arrays)

    return read


def in_float32(read: Callable[[BenchOptions], Rows]) -> Callable[[BenchOptions], Rows]:
    """The same rows, rounded."""

    def rounded(options: BenchOptions) -> Rows:
        rows = read(options)
        return replace(rows, x=rows.x.astype(np.float32), x_test=rows.x_test.astype(np.float32))

    return rounded


ADULT, CALIFORNIA = (task for task in table_tasks.TASKS if task.name in ("adult", "california"))
MNIST = table_tasks.Task("mnist", config=TrainConfig(dataset="mnist"))
SMALL = ("score", "each")

TASKS = (
    FitTask("digits", read_digits, goals=SMALL),
    FitTask("breast-cancer", read_breast_cancer, goals=SMALL),
    FitTask("adult", read_files(ADULT), {"max_iter": 15}, source=ADULT),
    FitTask("california", read_files(CALIFORNIA), {"max_iter": 30}, regression=True, source=CALIFORNIA),
    FitTask("make_classification", draw_classification, {"max_iter": 20}),
    FitTask("mnist", read_files(MNIST), {"max_iter": 4}, source=MNIST),
    FitTask(
        "mnist batch 1024", read_files(MNIST), {"max_iter": 4, "batch_size": 1024}, ("time",), source=MNIST
    ),
    FitTask("make_classification float32", in_float32(draw_classification), {"max_iter": 20}, ("time",)),
    FitTask("mnist float32", in_float32(read_files(MNIST)), {"max_iter": 4}, ("time",), source=MNIST),
)
