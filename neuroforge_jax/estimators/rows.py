"""Rows of an estimator as a dataset: arrays as they are, without any scaling of their own unless asked for."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from scipy.special import xlogy
from sklearn.model_selection import train_test_split

from neuroforge_jax.data.mapped import MappedRows, select_rows
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.data.types import Dataset, Split, fit

Rows = Float32[np.ndarray, "N I"] | Float32[MappedRows, "N I"]

SPARSE_ROWS = 1 << 15
"""Rows that are dense at once when a network is asked."""

Part = tuple[Rows, Targets, np.ndarray | None]
"""Rows, targets and how much each row counts, None where all count alike."""


@dataclass(frozen=True, eq=False)
class Given:
    """What a fit was given. weights: f64 [N], how much each row counts. by_class: f64 [N], how much more in the
    training, for its class. None where all count alike.
    """

    rows: Rows
    targets: Targets
    weights: np.ndarray | None
    by_class: np.ndarray | None

    @property
    def part(self) -> Part:
        """All of it to train on."""
        if self.by_class is None or self.weights is None:
            return self.rows, self.targets, self.weights if self.by_class is None else self.by_class
        return self.rows, self.targets, self.by_class * self.weights

    def hold_out(
        self, share: float, random: np.random.RandomState, strata: np.ndarray | None
    ) -> tuple[Part, Split]:
        """The rows to train on, and a share of them to select by. strata: what is to be as frequent in both."""
        indices = np.arange(len(self.rows))
        stay, held = train_test_split(indices, random_state=random, test_size=share, stratify=strata)
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        rows, targets, counts = self.part
        own = None if self.weights is None else self.weights[held].astype(np.float32)
        kept = select_rows(rows, stay), targets[stay], None if counts is None else counts[stay]
        return kept, Split(select_rows(rows, held), targets[held], own)


@dataclass(frozen=True, eq=False)
class Batches:
    """The rows of a training and how it takes them. size: rows of a step. weight: what they count together.
    has_all_rows: whether a step has them all.
    """

    train: Split
    size: int
    weight: float
    has_all_rows: bool


def make_batches(part: Part, size: int, *, all_at_once: bool) -> Batches:
    """Rows to train on in steps of so many, or all at once: equal ones are merged then."""
    if size < len(part[0]) and not all_at_once:
        counts = part[2]
        weight = float(size) if counts is None else size * float(counts.mean())
        return Batches(make_split(*part), size, weight, has_all_rows=False)
    rows, targets, counts = merge_rows(*part)
    return Batches(make_split(rows, targets, counts), len(rows), float(counts.sum()), has_all_rows=True)


def make_split(rows: Rows, targets: Targets, weights: np.ndarray | None) -> Split:
    """Rows that all count alike have no weights; those that count for nothing are left out, and the mean is 1."""
    if weights is None:
        return Split(rows, targets)
    counted = weights > 0
    if not counted.all():
        rows, targets, weights = select_rows(rows, counted), targets[counted], weights[counted]
    if len(weights) and (weights == weights[0]).all():
        return Split(rows, targets)
    return Split(rows, targets, (weights / weights.mean()).astype(np.float32))


def balance(labels: np.ndarray, weights: np.ndarray | None) -> Float64[np.ndarray, " N"]:
    """Factors by which all classes count alike, and all rows together as much as before.

    labels: [N], or [N, O], of which each column has a factor. weights: [N]; a row that counts twice is two rows.
    """
    factors = np.ones(len(labels))
    for column in labels.reshape(len(labels), -1).T:
        classes, codes = np.unique(column, return_inverse=True)
        totals = np.bincount(codes, weights)
        there = totals > 0
        each = np.divide(totals.sum(), there.sum() * totals, out=np.zeros(len(classes)), where=there)
        factors *= each[codes]
    return factors


def merge_rows(
    rows: Rows, targets: Targets, weights: np.ndarray | None
) -> tuple[Rows, Targets, Float64[np.ndarray, " M"]]:
    """Equal rows as one that counts as much as they do together, in an order of their own.

    A training of all rows at once is then the same bits whatever their order, and whether a row stands there twice
    or counts twice: sums of float32 are not.
    """
    rows = np.asarray(rows)
    counts = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    there = counts > 0
    flat_targets = targets.reshape(len(targets), -1)[there]
    records = np.concatenate(
        [
            np.ascontiguousarray(part + part.dtype.type(0)).view(np.uint8)
            for part in (rows[there], flat_targets)
        ],
        axis=1,
    )
    keys = records.view(np.dtype((np.void, records.shape[1]))).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    merged = np.bincount(inverse.ravel(), counts[there], minlength=len(first))
    return rows[there][first], targets[there][first], merged


def make_dataset(
    train: Split,
    validation: Split | None,
    target: Target,
    *,
    scales: bool,
    schema: Schema | None = None,
    fitted: Fitted | None = None,
) -> Dataset:
    """A dataset of arrays, or of records of a schema.

    scales: whether the inputs of arrays, and the targets of a regression, are brought to mean 0 and deviation 1
    within the model; those of a schema are scaled in any case. fitted: what was learnt from rows of an earlier
    training, which this one goes on with.
    """
    width = train.inputs.shape[1]
    if schema is None:
        name, plan = "arrays", Preprocessor(width, scaling="standard" if scales else "none")
    else:
        name, plan = "frame", schema.plan("robust")
    if fitted is None and (scales or schema is not None):
        fitted = fit(plan, target, train)
    elif fitted is None:
        fitted = Fitted(np.zeros(width, np.float32), np.ones(width, np.float32))
    return Dataset(name, train, None, target, (width,), plan, fitted, schema, validation=validation)


def store_rows(rows: Any) -> Rows:
    """Checked rows, dense or sparse, as a network stores them; float64 is converted where it is read."""
    if hasattr(rows, "toarray"):
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32).toarray(order="C")
    mapped = MappedRows(rows)
    return rows if mapped.is_stored else mapped


def store_blocks(rows: Any) -> Iterator[Rows]:
    """The same, sparse rows some thousands at a time."""
    if not hasattr(rows, "toarray"):
        yield store_rows(rows)
        return
    for first in range(0, max(rows.shape[0], 1), SPARSE_ROWS):
        yield store_rows(rows[first : first + SPARSE_ROWS])


def poisson_offset(split: Split) -> float:
    """What half the Poisson deviance of these counts is above this engine's loss, which leaves out what no output
    changes: the mean over rows of Σ_o y·log y − y.
    """
    counts = split.targets.astype(np.float64)
    each = (xlogy(counts, counts) - counts).sum(axis=1)
    return float(np.average(each, weights=split.weights))
