"""What different values a column has and how often, counted as they pass by, up to a number of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from neuroforge_jax.data.shards.sketch import QuantileSketch
from neuroforge_jax.data.values import Values, sort_key

Key = float | str

MOST_TEXTS = 50_000
"""Different texts of a column that are counted; those that come first are."""

MOST_NUMBERS = 1001
"""Different numbers of a target that are counted: with more it is a quantity."""

ROWS_SHOWN = 65_536
"""Rows by which counts are shown to what chooses by rows."""

FEWEST_ROWS = 20


class Distinct:
    """Counts of different values, and the weight of their rows. more: rows of others, once `most` are counted;
    full_at: rows that had come by then.
    """

    def __init__(self, most: int) -> None:
        self.most, self.rows, self.more, self.full_at = most, 0, 0, 0
        self.counts: dict[Key, int] = {}
        self.weights: dict[Key, float] = {}

    def add(self, values: Sequence[Key], counts: np.ndarray, weights: np.ndarray) -> None:
        """Take values into account that are different from each other. weights: of the rows of each."""
        for value, count, weight in zip(values, counts.tolist(), weights.tolist(), strict=True):
            if value in self.counts:
                self.counts[value] += count
                self.weights[value] += weight
            elif len(self.counts) < self.most:
                self.counts[value], self.weights[value] = count, weight
            else:
                self.full_at = self.full_at or self.rows
                self.more += count
            self.rows += count

    @property
    def are_few(self) -> bool:
        """Whether all are counted."""
        return not self.more

    def add_values(self, values: Values, weights: np.ndarray | None) -> None:
        """Take rows into account; what is missing is none."""
        if values.numbers is not None:
            there = ~np.isnan(values.numbers)
            found, of_row = np.unique(values.numbers[there], return_inverse=True)
            names: Sequence[Key] = found.tolist()
        else:
            there = values.known_codes >= 0
            names, of_row = values.texts, values.known_codes[there]
        counts = np.bincount(of_row, minlength=len(names))
        sums = np.bincount(of_row, None if weights is None else weights[there], minlength=len(names))
        used = np.flatnonzero(counts)
        self.add([names[at] for at in used.tolist()], counts[used], sums[used].astype(np.float64))


def show_texts(distinct: Distinct, kind: str) -> Values:
    """A column of texts as values: each as often as it came or, of many rows, in proportion and once at least."""
    texts = sorted(map(str, distinct.counts), key=sort_key)
    repeats = _repeats(np.array([distinct.counts[text] for text in texts], np.int64))
    codes = np.repeat(np.arange(len(texts), dtype=np.int32), repeats)
    return Values(kind, codes=codes, texts=tuple(texts))


def show_numbers(distinct: Distinct, sketch: QuantileSketch) -> Values:
    """A column of numbers as values, likewise; of many different ones those that the sketch holds, and the
    extremes.
    """
    if distinct.are_few:
        numbers = np.sort(np.array(list(distinct.counts), np.float64))
        counts = np.array([distinct.counts[number] for number in numbers.tolist()], np.int64)
        return Values("number", np.repeat(numbers, _repeats(counts)))
    held, counts = sketch.weighted()
    ends: Float64[np.ndarray, " 2"] = np.array([sketch.least, sketch.greatest])
    return Values("number", np.concatenate([np.repeat(held, _repeats(counts)), ends]))


def _repeats(counts: np.ndarray) -> np.ndarray:
    total = counts.sum()
    return counts if total <= ROWS_SHOWN else np.maximum(1, counts * ROWS_SHOWN // total)


class RowCounter:
    """Whether numbers are 0, 1, 2, … or 1, 2, 3, …, rows of nothing at the end left aside."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._rows, self._ended, self._counts = 0, False, True

    def add(self, numbers: Float64[np.ndarray, " N"]) -> None:
        """Take the next rows into account."""
        there = ~np.isnan(numbers)
        if not self._counts or not len(numbers):
            return
        upto = int(there.sum())
        self._counts = bool(there[:upto].all()) and not (self._ended and upto)
        if not self._counts or not upto:
            self._ended = self._ended or upto < len(numbers)
            return
        first = float(numbers[0])
        begins = first in (0.0, 1.0) if self._last is None else first == self._last + 1
        self._counts = begins and bool((np.diff(numbers[:upto]) == 1).all())
        self._last, self._ended = float(numbers[upto - 1]), upto < len(numbers)
        self._rows += upto

    @property
    def counts(self) -> bool:
        """Whether they are, and enough of them."""
        return self._counts and self._rows >= FEWEST_ROWS
