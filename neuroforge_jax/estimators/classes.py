"""Labels of a classifier, of any kind that scikit-learn takes, as the targets of a network."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import column_or_1d

from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.data.values import write_number


@dataclass(frozen=True, eq=False)
class Classes:
    """What a classifier tells apart.

    values: of the classes, sorted; of several labels the indices of their columns. several: whether any number of
    labels is true of a row. Two classes are one output of the network: whether it is the second.
    """

    values: np.ndarray
    several: bool = False

    @staticmethod
    def of(y: Any) -> "Classes":
        """Those that occur. Raises ValueError for targets that are no classes."""
        kind = type_of_target(y)
        if kind == "multilabel-indicator":
            return Classes(np.arange(y.shape[1]), several=True)
        if kind not in ("binary", "multiclass"):
            check_classification_targets(y)
        return Classes(np.unique(y) if kind in ("binary", "multiclass") else unique_labels(y))

    @property
    def kind(self) -> str:
        """What scikit-learn calls such targets."""
        if self.several:
            return "multilabel"
        return "binary" if len(self.values) <= 2 else "multiclass"

    @property
    def outputs(self) -> int:
        """Of the network."""
        return 1 if self.kind == "binary" else len(self.values)

    @property
    def loss(self) -> str:
        """The name of the loss."""
        return "cross-entropy" if self.kind == "multiclass" else "binary-cross-entropy"

    @property
    def activation(self) -> str:
        """What the outputs pass through to be probabilities."""
        return "softmax" if self.kind == "multiclass" else "logistic"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, numbers as they stand in tables: 1 and not 1.0."""
        is_float = self.values.dtype.kind == "f"
        return tuple(map(write_number if is_float else str, self.values.tolist()))

    @property
    def target(self) -> Target:
        """As the training has it."""
        if self.kind == "multiclass":
            return Target("classification", ("y",), self.names)
        names = self.names if self.several else ("y",)
        return Target("multilabel", names, self.names if self.several else self.names[-1:])

    def encode(self, y: np.ndarray) -> Targets:
        """i32 [N] indices of classes; f32 [N, O] whether each label is true, or the second of two classes is."""
        if self.several:
            dense = y.toarray() if hasattr(y, "toarray") else y
            return np.ascontiguousarray(np.asarray(dense) != 0, np.float32)
        labels = column_or_1d(y)
        codes = np.searchsorted(self.values, labels)
        if self.kind == "multiclass":
            return codes.astype(np.int32)
        second = codes == 1 if len(self.values) == 2 else np.zeros(len(codes), bool)
        return second.astype(np.float32)[:, None]

    def occur_in(self, y: Any) -> np.ndarray:
        """Values that occur, for a comparison."""
        return np.arange(y.shape[1]) if self.several else unique_labels(y)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """The class of each row, or i64 [N, O] of each label whether it is true, from the network's outputs."""
        if self.several:
            return (outputs > 0).astype(np.int64)
        if self.kind == "binary":
            return self.values[np.minimum((outputs[:, 0] > 0).astype(int), len(self.values) - 1)]
        return self.values[outputs.argmax(axis=1)]

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """f64 [N, C], in the order of the classes."""
        wide = np.asarray(outputs, np.float64)
        if self.kind == "multiclass":
            shares = np.exp(wide - wide.max(axis=1, keepdims=True))
            return shares / shares.sum(axis=1, keepdims=True)
        with np.errstate(over="ignore"):
            true = 1 / (1 + np.exp(-wide))
        if self.several:
            return true
        return np.ones((len(wide), 1)) if len(self.values) == 1 else np.concatenate([1 - true, true], axis=1)

    def log_likelihoods(self, outputs: np.ndarray, targets: Targets) -> np.ndarray:
        """f64 [N]: the logarithm of the probability of what is true of each row; the sum over its labels."""
        wide = np.asarray(outputs, np.float64)
        if self.kind == "multiclass":
            own = np.take_along_axis(wide, targets[:, None].astype(np.int64), axis=1)[:, 0]
            return own - logsumexp(wide, axis=1)
        return -np.logaddexp(0, np.where(targets > 0, -wide, wide)).sum(axis=1)

    def pool(self, outputs: np.ndarray) -> np.ndarray:
        """What one network would have to say, f64 [N, C], so that its probabilities are the mean of those of
        several, whose outputs are [P, N, C].
        """
        wide = np.asarray(outputs, np.float64)
        if self.kind == "multiclass":
            return logsumexp(wide - logsumexp(wide, axis=2, keepdims=True), axis=0) - np.log(len(wide))
        return logsumexp(-np.logaddexp(0, -wide), axis=0) - logsumexp(-np.logaddexp(0, wide), axis=0)
