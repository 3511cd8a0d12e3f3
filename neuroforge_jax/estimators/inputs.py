"""Rows that an estimator is given, checked: as scikit-learn has them, or by the schema of a frame."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_y, check_consistent_length

from neuroforge_jax.data.readers.frames import is_frame
from neuroforge_jax.data.schema import Column, Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.estimators.validation import check_names, check_rows, check_rows_and_targets


def read_rows(estimator: Any, X: Any) -> Any:
    """Rows as the network of a fitted estimator stores them. Raises ValueError for those that it does not take."""
    if estimator.schema_ is None:
        return check_rows(estimator, X)
    from neuroforge_jax.estimators.frames import read_by_name  # with pyarrow, which arrays do without

    if not is_frame(X):
        check_names(estimator, X)
    return read_by_name(estimator.schema_, X, type(estimator).__name__)


def read_rows_and_targets(estimator: Any, X: Any, y: Any, *, reset: bool, numeric: bool) -> tuple[Any, Any]:
    """The same with as many targets [N] or [N, O]. reset: these rows are the first, by which a frame has a schema.

    numeric: the targets are numbers. Sets `schema_`, `n_features_in_` and `feature_names_in_` of the estimator.
    """
    learnt = None
    if reset and is_frame(X) and not isinstance(X, Mapping):
        from neuroforge_jax.estimators.frames import learn_schema

        learnt = learn_schema(X)
    if learnt is None and (reset or estimator.schema_ is None):
        checked = check_rows_and_targets(estimator, X, y, reset=reset, numeric=numeric)
        estimator.schema_ = None
        return checked
    targets = _check_y(y, multi_output=True, y_numeric=numeric, estimator=estimator)
    check_consistent_length(X, targets)
    if learnt is None:
        return read_rows(estimator, X), targets
    check_names(estimator, X, reset=True)
    estimator.schema_, rows = learnt
    return rows, targets


def add_target(schema: Schema, y: Any, target: Target) -> tuple[Schema, Target]:
    """The schema with what is predicted, under the names of y where it has such, and the target by these names."""
    if schema.target.names:  # of an earlier call
        return schema, replace(target, names=schema.target.names)
    taken = [column.name for column in schema.columns]
    names = _names_of_targets(y, len(target.names), taken)
    target = replace(target, names=names)
    kind = "number" if target.task == "regression" or np.asarray(y).dtype.kind in "iuf" else "category"
    columns = *schema.columns, *(Column(name, kind, "target") for name in names)
    return replace(schema, columns=columns, target=target), target


def _names_of_targets(y: Any, count: int, taken: list[str]) -> tuple[str, ...]:
    columns = getattr(y, "columns", None)
    named = [getattr(y, "name", None)] if columns is None else list(columns)
    names = tuple(name for name in named if isinstance(name, str) and name and name not in taken)
    if len(names) == len(named) == count == len(set(names)):
        return names
    plain = "y"
    while any(name.startswith(plain) for name in taken):
        plain += "_"
    return (plain,) if count == 1 else tuple(f"{plain}{at}" for at in range(count))
