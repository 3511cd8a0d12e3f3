"""A target: what it means, and how its columns are stored for training and for scoring. How it is chosen is in
`data/target_choice.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int, Int32

from neuroforge_jax.data.values import Values, names_of, sort_key, write_number
from neuroforge_jax.errors import DataError

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


def class_names(values: Values) -> list[str]:
    """Of the values that occur."""
    if values.numbers is not None:
        return [write_number(number) for number in np.unique(values.numbers[~values.missing])]
    assert values.codes is not None
    return [values.texts[code] for code in np.unique(values.codes[values.codes >= 0])]


def check_quantity(name: str, values: Values, where: str, transform: str) -> Float64[np.ndarray, " N"]:
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
        return encode_labels(columns, where), ""
    numbers = [check_quantity(name, values, where, target.transform) for name, values in columns.items()]
    stored = target.store_quantities(np.stack(numbers, axis=1))
    if not np.isfinite(stored).all():
        at = int(np.nonzero(~np.isfinite(stored).all(axis=1))[0][0])
        row = at if rows is None else int(rows[at])
        raise DataError(
            f"{where}: the target of row {row + 1} is no finite float32 number; mend or remove the row"
        )
    return stored, ""


def encode_labels(columns: Mapping[str, Values], where: str) -> Float32[np.ndarray, "N L"]:
    """Each 1 or 0. Raises DataError for a value that is neither yes nor no."""
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
