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
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32

from neuroforge_jax.data.preprocess import ROWS_SORTED
from neuroforge_jax.data.sampling import sample_rows
from neuroforge_jax.data.values import Values, names_of, sort_key, write_number
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

Targets = Int32[np.ndarray, " N"] | Float32[np.ndarray, "N O"]
"""Class indices, or quantities or labels."""

Task = Literal["classification", "regression", "multilabel"]


USUAL_LOSSES = {"classification": "cross-entropy", "regression": "mse", "multilabel": "binary-cross-entropy"}


def choose_loss(name: str, task: str) -> str:
    """The loss of that name; of `auto` the usual one of the task."""
    return USUAL_LOSSES[task] if name == "auto" else name


@dataclass(frozen=True)
class Target:
    """What is predicted, as plain values.

    names: of the columns. classes: their names by index; of several labels the columns'.
    origins: what is subtracted from each quantity, in float64, before it is a float32. transform: none or log,
    before that. said: how the task was chosen, where another choice is near.
    """

    task: Task
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    origins: tuple[float, ...] = ()
    transform: str = "none"
    said: str = ""

    @property
    def label(self) -> str:
        """For a sentence: `'price', a quantity`."""
        names = " ".join(map(repr, self.names))
        if self.task == "classification":
            return f"{names}, {len(self.classes)} classes"
        one, several = ("a label", "labels") if self.task == "multilabel" else ("a quantity", "quantities")
        return f"{names}, " + (one if len(self.names) <= 1 else several)

    def read_outputs(self, outputs: Float32[np.ndarray, "N O"]) -> Float64[np.ndarray, "N O"]:
        """What a regression predicts, in the units of the file, from targets as they are stored."""
        wide = np.asarray(outputs, np.float64)
        per_target = np.repeat(
            np.asarray(self.origins or 0.0), max(1, wide.shape[-1] // max(1, len(self.origins)))
        )
        wide = wide + per_target
        return np.exp(wide) if self.transform == "log" else wide

    def store_quantities(self, numbers: Float64[np.ndarray, "N O"]) -> Float32[np.ndarray, "N O"]:
        """The targets of a regression as they are stored; not finite where a number has no place there."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            numbers = np.log(numbers) if self.transform == "log" else numbers
            return (numbers - np.asarray(self.origins or 0.0)).astype(np.float32)


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
    trues = _encode_labels(columns, "").sum(axis=1)
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


def class_names(values: Values) -> list[str]:
    """Of the values that occur."""
    if values.numbers is not None:
        return [write_number(number) for number in np.unique(values.numbers[~values.missing])]
    assert values.codes is not None
    return [values.texts[code] for code in np.unique(values.codes[values.codes >= 0])]


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
    other_rows = int((_encode_labels(columns, where).sum(axis=1) != 1).sum())
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
    quantities = (_check_quantity(name, values, where, transform) for name, values in columns.items())
    return tuple(choose_origin(np.log(numbers) if transform == "log" else numbers) for numbers in quantities)


def choose_origin(numbers: Float64[np.ndarray, " N"]) -> float:
    """A number near all of them where their distance from 0 is more than 1,000 times what they differ by; else 0.

    float32 has 7 digits: what is left of a time in seconds since 1970 would be minutes.
    """
    there = numbers[sample_rows(len(numbers), ROWS_SORTED)]
    there = there[~np.isnan(there)]
    if not len(there):
        return 0.0
    low, median, high = (float(x) for x in np.quantile(there, (0.05, 0.5, 0.95)))
    spread = high - low or float(np.nanmax(numbers) - np.nanmin(numbers))
    return median if spread > 0 and abs(median) > 1000 * spread else 0.0


def _check_quantity(name: str, values: Values, where: str, transform: str) -> Float64[np.ndarray, " N"]:
    """The numbers of a target, which all have a place in a training. Raises DataError."""
    if values.numbers is None:
        shown = ", ".join(map(repr, values.texts[:3]))
        raise DataError(
            f"{where}: target {name!r} holds texts ({shown}), and --task regression needs numbers; leave it out, "
            "or choose another --target"
        )
    if transform == "log" and (low := np.nanmin(values.numbers, initial=np.inf)) <= 0:
        raise DataError(
            f"{where}: target {name!r} has the value {low:g}, and --target-transform log takes values above 0; "
            "leave it out"
        )
    return values.numbers


def encode_targets(
    target: Target, columns: Mapping[str, Values], where: str, rows: Int[np.ndarray, " N"] | None = None
) -> tuple[Targets, str]:
    """Class indices i32 [N], or numbers f32 [N, O] less their origins, of rows whose targets are all there; and
    what was made of them, where that is not plain.

    rows: where each is in the table that errors call by `where`, from 0; the first ones unless given. Raises
    DataError for a class that is not among those of the target, and for a label that is neither yes nor no.
    """
    if target.task == "classification":
        return _encode_classes(target, columns, where)
    if target.task == "multilabel":
        return _encode_labels(columns, where), ""
    numbers = [_check_quantity(name, values, where, target.transform) for name, values in columns.items()]
    stored = target.store_quantities(np.stack(numbers, axis=1))
    if not np.isfinite(stored).all():
        at = int(np.nonzero(~np.isfinite(stored).all(axis=1))[0][0])
        row = at if rows is None else int(rows[at])
        raise DataError(
            f"{where}: the target of row {row + 1} is no finite float32 number; mend or remove the row"
        )
    return stored, ""


def _encode_labels(columns: Mapping[str, Values], where: str) -> Float32[np.ndarray, "N L"]:
    labels = []
    for name, values in columns.items():
        truths, others = find_truths(values)
        if others:
            raise DataError(
                f"{where}: target {name!r} has the value {others[0]!r}; a label is yes or no, or 1 or 0"
            )
        labels.append(truths)
    return np.stack(labels, axis=1)


def find_truths(values: Values) -> tuple[Float32[np.ndarray, " N"], list[str]]:
    """A label, 1 for yes and 0 for no, NaN where it is missing or neither; and the values of rows that are neither.

    What a word means is no matter of what else occurs: rows that all say no are read as any others.
    """
    if values.numbers is not None:
        known = np.where(np.isin(values.numbers, (0, 1)), values.numbers, np.nan).astype(np.float32)
        texts = [write_number(number) for number in values.numbers[np.isnan(known) & ~values.missing]]
        return known, texts
    from neuroforge_jax.data.cells import read_truth

    known = np.array([*map(read_truth, values.texts), np.nan], np.float32)[values.known_codes]
    return known, [values.texts[code] for code in values.known_codes[np.isnan(known) & ~values.missing]]


def _encode_classes(
    target: Target, columns: Mapping[str, Values], where: str
) -> tuple[Int32[np.ndarray, " N"], str]:
    classes, said, others = find_classes(target, columns)
    if others:
        known = ", ".join(map(repr, target.classes[:10]))
        raise DataError(
            f"{where}: {names_of(target.names)} has the value {others[0]!r}, which is none of the classes {known}"
        )
    return classes, said


def find_classes(
    target: Target, columns: Mapping[str, Values]
) -> tuple[Int32[np.ndarray, " N"], str, list[str]]:
    """Indices of the classes, −1 for none; what was read as another name; and the values of rows that are none.

    A name that ends in a full stop, or is written in other cases, is still that name. Of several columns, one a
    class, the one that is true is the class.
    """
    if len(columns) > 1:
        return _find_one_hot(columns)
    (values,) = columns.values()
    if values.numbers is not None:
        distinct, of_row = np.unique(values.numbers, return_inverse=True)
        texts = ["" if np.isnan(number) else write_number(number) for number in distinct]
    else:
        texts, of_row = [*values.texts, ""], values.known_codes
    exact = {text: index for index, text in enumerate(target.classes)}
    near = {_plain_name(text): index for index, text in enumerate(target.classes)}
    place = {text: exact.get(text, near.get(_plain_name(text), -1)) if text else -1 for text in texts}
    occurring = {texts[at] for at in np.unique(of_row)}
    read_as = {
        text: target.classes[place[text]]
        for text in sorted(occurring)
        if text not in exact and place[text] >= 0
    }
    said = ", ".join(f"{text!r} is read as {name!r}" for text, name in read_as.items())
    classes = np.array([place[text] for text in texts], np.int32)[of_row]
    others = sorted((texts[at] for at in of_row[classes < 0] if texts[at]), key=sort_key)
    return classes, said, others


def _find_one_hot(columns: Mapping[str, Values]) -> tuple[Int32[np.ndarray, " N"], str, list[str]]:
    found = [find_truths(values) for values in columns.values()]
    truths = np.stack([labels for labels, _ in found], axis=1)
    counts = np.where(np.isnan(truths).any(axis=1), -1, (truths == 1).sum(axis=1))
    classes = np.where(counts == 1, (truths == 1).argmax(axis=1), -1).astype(np.int32)
    others = [text for _, texts in found for text in texts]
    return classes, "", [*others, *(f"{count} of them" for count in counts[(counts >= 0) & (counts != 1)])]


def _plain_name(text: str) -> str:
    return text.strip().removesuffix(".").casefold()
