"""What is to be predicted: one of several classes, quantities, or any of several labels.

    text, yes/no                                                               → classes
    whole numbers, at most 20 different ones, each twice or more on average    → classes
    other numbers                                                              → a quantity
    several columns of 0 and 1, or of yes and no, of which every row has
    exactly one true                                                           → classes, by the columns' names
    other columns of 0 and 1, or of yes and no                                 → labels, any number of them true

`--task` overrules it. Classes are the values that occur, numbers in their order and texts in theirs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from neuroforge_jax.data.preprocess import choose_origin
from neuroforge_jax.data.targets import Target, check_quantity, class_names, encode_labels
from neuroforge_jax.data.values import Values, names_of
from neuroforge_jax.errors import DataError

MOST_COUNTED = 20
"""Different whole numbers that are taken for classes unless something else is said."""

MAX_CLASSES = 1000

MOST_NOT_ONE_HOT = 0.01
"""Share of rows without exactly one true label, up to which they are told to keep the labels from being classes."""

FREE_TEXT = 0.95
"""Share of different texts from which on they are no classes."""

ONE_HOT = (
    "exactly one of the targets is 1 in every row, so they are classes; --task multilabel makes them labels"
)
"""What is said where that decides."""


def choose_target(columns: Mapping[str, Values], where: str, task: str, transform: str = "none") -> Target:
    """The target that these columns are, by the rule above or as `task` says.

    where: what errors call the data. Raises DataError for columns that cannot be one.
    """
    if len(columns) > 1 or task == "multilabel":
        target = _choose_several(columns, where, task, transform)
    else:
        target = _choose_one(columns, where, task, transform)
    return replace(target, said=describe_guess(target, columns)) if task == "auto" else target


def describe_guess(target: Target, columns: Mapping[str, Values]) -> str:
    """Of a target that was chosen by the rule: what else it could be, and how to say so; "" where that is plain."""
    if len(columns) > 1:
        if target.task == "classification":
            return ONE_HOT
        return _describe_near_one_hot(columns) if target.task == "multilabel" else ""
    (values,) = columns.values()
    if not _are_whole(values):
        return ""
    distinct = values.distinct()
    if target.task == "classification" and distinct > 10:
        return f"{distinct} different whole numbers are taken for classes; --task regression makes them a quantity"
    if target.task == "regression" and distinct <= 5 * MOST_COUNTED:
        return (
            f"{distinct} different whole numbers are taken for a quantity; --task classification makes them "
            "classes"
        )
    return ""


def _describe_near_one_hot(columns: Mapping[str, Values]) -> str:
    """That labels would be classes but for a few rows."""
    trues = encode_labels(columns, "").sum(axis=1)
    others = int((trues != 1).sum())
    if others > MOST_NOT_ONE_HOT * len(trues):
        return ""
    which = "1 row has" if others == 1 else f"{others:,} rows have"
    return (
        f"of {len(trues):,} rows, {which} not exactly one target that is 1: these are labels; without such rows "
        "they would be classes"
    )


def _choose_one(columns: Mapping[str, Values], where: str, task: str, transform: str) -> Target:
    ((name, values),) = columns.items()
    distinct = values.distinct()
    rows = int((~values.missing).sum())
    if task == "auto":
        task = "regression" if _is_quantity(values, distinct, rows) else "classification"
    if task == "classification":
        return _classes(name, values, where, distinct)
    return Target("regression", (name,), (), _origins(columns, where, transform), transform)


def _is_quantity(values: Values, distinct: int, rows: int) -> bool:
    few_come_again = _are_whole(values) and distinct <= MOST_COUNTED and 2 * distinct <= rows
    return values.numbers is not None and not few_come_again


def _are_whole(values: Values) -> bool:
    if values.numbers is None:
        return False
    there = values.numbers[~values.missing]
    return bool((there == np.floor(there)).all())


def _classes(name: str, values: Values, where: str, distinct: int) -> Target:
    if not 2 <= distinct <= MAX_CLASSES:
        quantity = (
            "; for a quantity use --task regression" if values.numbers is not None and distinct > 2 else ""
        )
        raise DataError(
            f"{where}: target {name!r} has {distinct} different value{'s' if distinct != 1 else ''}; there can be "
            f"2 to {MAX_CLASSES} classes{quantity or '; choose another --target'}"
        )
    rows = int((~values.missing).sum())
    if values.numbers is None and distinct > FREE_TEXT * rows and rows >= MOST_COUNTED:
        raise DataError(
            f"{where}: target {name!r} has {distinct:,} different texts in {rows:,} rows: it is free text or a "
            "key; choose another --target"
        )
    return Target("classification", (name,), tuple(class_names(values)))


def _choose_several(columns: Mapping[str, Values], where: str, task: str, transform: str) -> Target:
    names = tuple(columns)
    others = [name for name, values in columns.items() if not _is_two_valued(values)]
    if task != "regression" and not others:
        return _choose_labels(columns, where, task)
    if task in ("multilabel", "classification"):
        raise DataError(
            f"{where}: --task {task} takes targets of 0 and 1, or of yes and no, where it is given several, and "
            f"{names_of(others)} {_are(others)} of other values; train a network for each of them"
        )
    if texts := [name for name, values in columns.items() if values.numbers is None]:
        fact = _tell_texts(texts, others, task)
        raise DataError(f"{where}: of several targets, {fact}; train a network for each of them")
    return Target("regression", names, (), _origins(columns, where, transform), transform)


def _tell_texts(texts: list[str], others: list[str], task: str) -> str:
    """Why targets that hold texts are no quantities. others: those that are no labels."""
    if task == "regression":
        return f"{names_of(texts)} {_are(texts)} no quantity, which --task regression needs"
    if neither := [name for name in texts if name in others]:
        return f"{names_of(neither)} {_are(neither)} neither a quantity nor 0 and 1"
    return f"{names_of(texts)} {_are(texts)} yes or no, and {names_of(others)} {_are(others)} of other values"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _choose_labels(columns: Mapping[str, Values], where: str, task: str) -> Target:
    """Of columns of 0 and 1: classes where exactly one is 1 in every row, else labels."""
    names = tuple(columns)
    other_rows = int((encode_labels(columns, where).sum(axis=1) != 1).sum())
    if task == "multilabel" or (task == "auto" and other_rows):
        return Target("multilabel", names, names)
    if other_rows:
        rows = "1 row" if other_rows == 1 else f"{other_rows:,} rows"
        raise DataError(
            f"{where}: --task classification: exactly one of the targets {names_of(names)} must be 1, and in "
            f"{rows} that is not so; use --task multilabel"
        )
    return Target("classification", names, names)


def _is_two_valued(values: Values) -> bool:
    """Whether each value is yes or no; rows of which all say no are as good as any."""
    if values.numbers is not None:
        return _is_zero_or_one(values)
    from neuroforge_jax.data.cells import read_truth

    return not any(math.isnan(read_truth(text)) for text in class_names(values))


def _is_zero_or_one(values: Values) -> bool:
    return values.numbers is not None and set(np.unique(values.numbers[~values.missing])) <= {0.0, 1.0}


def _origins(columns: Mapping[str, Values], where: str, transform: str) -> tuple[float, ...]:
    """The median of each quantity where float32 would round away what differs between rows; else 0."""
    quantities = (check_quantity(name, values, where, transform) for name, values in columns.items())
    return tuple(choose_origin(np.log(numbers) if transform == "log" else numbers) for numbers in quantities)
