"""What a target is, from all rows of shards: its values counted, its moments, the weight of its classes."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from neuroforge_jax.data.preprocess import Fitted, with_targets
from neuroforge_jax.data.shards.counting import (
    MOST_NUMBERS,
    MOST_TEXTS,
    Distinct,
    show_numbers,
    show_texts,
)
from neuroforge_jax.data.shards.sketch import QuantileSketch
from neuroforge_jax.data.shards.statistics import Moments
from neuroforge_jax.data.target_choice import choose_target
from neuroforge_jax.data.targets import Target, find_classes
from neuroforge_jax.data.values import Values
from neuroforge_jax.errors import DataError


class TargetStatistics:
    """Of the target's columns, all of whose rows have a value. Of several columns the first rows choose what they
    are, and later rows must agree.

    transform: none, or log, whose moments are those of the logarithms.
    """

    def __init__(self, names: tuple[str, ...], transform: str = "none") -> None:
        self.names, self.transform = names, transform
        self.rows, self.weight = 0, 0.0
        self._first: dict[str, Values] = {}
        self._distinct: dict[str, Distinct] = {}
        self._sketches: dict[str, QuantileSketch] = {name: QuantileSketch() for name in names}
        self._moments = Moments(len(names))
        self._are_numbers = True

    def add(self, columns: Mapping[str, Values], weights: np.ndarray | None) -> None:
        """Take rows into account."""
        rows = len(next(iter(columns.values())))
        if not rows:
            return
        self.rows += rows
        self.weight += rows if weights is None else float(weights.sum(dtype=np.float64))
        self._first = self._first or dict(columns)
        for name in self.names:
            values = columns[name]
            most = MOST_TEXTS if values.numbers is None else MOST_NUMBERS
            self._distinct.setdefault(name, Distinct(most)).add_values(values, weights)
            if values.numbers is not None:
                self._sketches[name].add(values.numbers)
        numbers = [columns[name].numbers for name in self.names]
        if all(column is not None for column in numbers):
            with np.errstate(divide="ignore", invalid="ignore"):
                stacked = np.stack([column for column in numbers if column is not None], axis=1)
                self._moments.add(np.log(stacked) if self.transform == "log" else stacked, weights)

    @property
    def distinct(self) -> int:
        """Different values of the first column, of many as many as are counted."""
        return len(self._distinct[self.names[0]].counts)

    def choose(self, where: str, task: str) -> Target:
        """What they are. Raises DataError for columns that cannot be a target, or where no row has one."""
        if not self.rows:
            raise DataError(f"{where}: the target is missing in every row; choose another --target")
        shown = self._first if len(self.names) > 1 else {name: self._show(name) for name in self.names}
        return choose_target(shown, where, task, self.transform)

    def _show(self, name: str) -> Values:
        first, distinct = self._first[name], self._distinct[name]
        if first.numbers is not None:
            return show_numbers(distinct, self._sketches[name])
        if not distinct.are_few:
            raise DataError(
                f"target {name!r} has more than {MOST_TEXTS:,} different texts: it is free text or a key; choose "
                "another --target"
            )
        return show_texts(distinct, first.kind)

    def fit(self, fitted: Fitted, target: Target) -> Fitted:
        """With the mean and deviation of quantities."""
        if target.task != "regression":
            return fitted
        origins = np.asarray(target.origins or 0.0)
        return with_targets(fitted, self._moments.mean - origins, self._moments.deviation)

    def class_sums(
        self, target: Target
    ) -> tuple[Float64[np.ndarray, " C"], Float64[np.ndarray, " C"]] | None:
        """Rows of each class, and their weight; None for what is no class, and for classes in several columns."""
        if target.task != "classification" or len(self.names) > 1:
            return None
        (distinct,) = self._distinct.values()
        keys = list(distinct.counts)
        counts, weights = np.zeros(len(target.classes)), np.zeros(len(target.classes))
        for key in keys:
            values = (
                Values("category", codes=np.zeros(1, np.int32), texts=(key,))
                if isinstance(key, str)
                else Values("number", np.array([key], np.float64))
            )
            (index,), _, _ = find_classes(target, {self.names[0]: values})
            if index >= 0:
                counts[index] += distinct.counts[key]
                weights[index] += distinct.weights[key]
        return counts, weights
