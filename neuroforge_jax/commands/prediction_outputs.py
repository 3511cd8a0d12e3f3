"""Predictions as CSV, JSON lines or Parquet, to the terminal or into a file that appears when it is whole."""

import csv
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np

from neuroforge_jax.data.values import is_number
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.system.files import check_output

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

MOST_CLASSES = 50
"""Whose probabilities are all written; of more, that of the predicted one."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so, and is no number, is a formula to a spreadsheet, which would carry it out."""

DIGITS = 7
"""Of a number that was computed in float32."""

Answers = Mapping[str, Sequence[str] | np.ndarray]
"""Columns of one length by name."""


class Writer(Protocol):
    """Takes the answers of one piece after another."""

    def __call__(self, answers: Answers) -> None:
        """Write some rows."""
        ...


def describe_outputs(model: FittedModel, outputs: np.ndarray, names: Answers) -> Answers:
    """The columns of an answer.

    outputs: the network's, f32 [N, O]. names: columns that say which rows they are of; what the network says is
    marked as the model's where one of them has its name.
    """
    answers = _describe(model, outputs)
    return {
        **names,
        **{f"{name} (model)" if name in names else name: column for name, column in answers.items()},
    }


def are_answers(outputs: np.ndarray) -> np.ndarray:
    """Bool [N]: whether what the network says of a row, f32 [N, O], is finite numbers."""
    return np.isfinite(outputs).all(axis=1)


def explain_names(answers: Answers, name: str | None) -> str:
    """That ids keep their name, where a column of the answers would have it too; "" elsewhere."""
    other = next((marked for marked in (f"{name} (input)", f"{name} (model)") if marked in answers), None)
    return (
        "" if other is None else f"{name!r} holds the input's ids; our own column of that name is {other!r}"
    )


def _describe(model: FittedModel, outputs: np.ndarray) -> dict[str, Sequence[str] | np.ndarray]:
    target = model.target
    if target.task == "regression":
        numbers = _round_numbers(model, model.read_outputs(outputs))
        return dict(zip(_headings(model, numbers.shape[1]), numbers.T, strict=True))
    exact = model.probabilities(outputs)
    probabilities = _round(exact, exact)
    answers: dict[str, Sequence[str] | np.ndarray] = {}
    if target.task == "multilabel":
        for at, label in enumerate(target.classes):
            answers[f"predicted {label}"] = (exact[:, at] > 0.5).astype(np.int64)
            answers[f"probability of {label}"] = probabilities[:, at]
        return answers
    predicted = outputs.argmax(axis=1)
    names = [target.classes[index] for index in predicted]
    for row in np.flatnonzero(~are_answers(outputs)):
        names[row] = ""
    answers["predicted"] = names
    answers["probability"] = probabilities[np.arange(len(predicted)), predicted]
    if len(target.classes) <= MOST_CLASSES:
        for at, label in enumerate(target.classes):
            answers[f"probability of {label}"] = probabilities[:, at]
    return answers


def _headings(model: FittedModel, outputs: int) -> list[str]:
    """Of the outputs of a regression, the quantiles of its first number first."""
    quantiles = model.spec.quantiles
    numbers = outputs // (len(quantiles) or 1)
    known = model.target.names
    names = list(known) if len(known) == numbers else [f"target {at}" for at in range(numbers)]
    names = [f"predicted {name}" for name in names]
    return [f"{name}, quantile {share:g}" for name in names for share in quantiles] if quantiles else names


def _round_numbers(model: FittedModel, numbers: np.ndarray) -> np.ndarray:
    """Those of a standardised target have as many decimals as float32 gives to one deviation of it."""
    scale = model.fitted.target_scale
    if scale is None or model.target.transform != "none":
        return _round(numbers, np.abs(numbers))
    return _round(numbers, np.repeat(1 / np.float64(scale), numbers.shape[1] // len(scale)))


def _round(numbers: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Without the decimals that float32 does not know of numbers of this size."""
    exponents = np.log10(size, out=np.zeros_like(size, np.float64), where=(size > 0) & np.isfinite(size))
    power = 10.0 ** np.clip(DIGITS - 1 - np.floor(exponents), 0, 300)
    return np.rint(numbers * power) / power


@contextmanager
def open_writer(output: Path | None, kind: str | None) -> Iterator[Writer]:
    """What writes answers. kind: csv, jsonl or parquet; by the ending of the file, else csv, unless given.

    A file is written beside its name and renamed when the block ends well; a device or a pipe is written to as it
    is. Raises ConfigError for an ending or a folder that cannot be used.
    """
    kind = kind or ("csv" if output is None else FORMATS.get(output.suffix.lower(), ""))
    if output is None:
        if kind == "parquet":
            raise ConfigError("--format parquet needs a file; give one as --output")
        yield _TEXT_WRITERS[kind](sys.stdout)
        return
    if not kind:
        raise ConfigError(
            f"--output {output}: the ending says no format; use {' '.join(FORMATS)}, or give --format"
        )
    output = output.expanduser()
    check_output(output, "--output")
    special = output.exists() and not output.is_file()  # /dev/null must stay what it is
    path = output if special else output.with_name(f".{output.name}.{os.getpid()}.part")
    with ExitStack() as stack:
        if not special:
            stack.callback(path.unlink, missing_ok=True)
        with _mistakes_of(output):
            write, close = _open_file(path, kind)
        stack.callback(_close_quietly, close)
        yield _with_mistakes_of(output, write)
        with _mistakes_of(output):
            close()
            if not special:
                path.replace(output)


@contextmanager
def _mistakes_of(output: Path) -> Iterator[None]:
    """An OSError, such as a full disk, is a ConfigError."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror or error})") from None


def _with_mistakes_of(output: Path, write: Writer) -> Writer:
    def write_safely(answers: Answers) -> None:
        with _mistakes_of(output):
            write(answers)

    return write_safely


def _close_quietly(close: Callable[[], None]) -> None:
    """Again, or after another mistake, which is the one that is told."""
    with suppress(OSError):
        close()


def _open_file(path: Path, kind: str) -> tuple[Writer, Callable[[], None]]:
    """What writes, and what ends the file."""
    if kind == "parquet":
        writer = _ParquetWriter(path)
        return writer, writer.close
    file = path.open("w", encoding="utf-8", newline="")
    return _TEXT_WRITERS[kind](file), file.close


class _CsvWriter:
    def __init__(self, file: TextIO) -> None:
        self._writer, self._begun = csv.writer(file, lineterminator="\n"), False

    def __call__(self, answers: Answers) -> None:
        if not self._begun:
            self._writer.writerow(map(_harmless, answers))
            self._begun = True
        self._writer.writerows(zip(*map(_cells, answers.values()), strict=True))


class _JsonWriter:
    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, answers: Answers) -> None:
        for row in zip(*map(_plain_values, answers.values()), strict=True):
            self._file.write(json.dumps(dict(zip(answers, row, strict=True)), ensure_ascii=False) + "\n")


class _ParquetWriter:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __call__(self, answers: Answers) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        columns = {
            name: pa.array(column, None if isinstance(column, np.ndarray) else pa.string())
            for name, column in answers.items()
        }
        table = pa.table(columns)
        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


_TEXT_WRITERS: dict[str, Callable[[TextIO], Writer]] = {"csv": _CsvWriter, "jsonl": _JsonWriter}


def _cells(column: Sequence[str] | np.ndarray) -> Sequence[Any]:
    """Of a text table."""
    if not isinstance(column, np.ndarray):
        return list(map(_harmless, column))
    return [_number(value) if isinstance(value, float) else value for value in column.tolist()]


def _plain_values(column: Sequence[str] | np.ndarray) -> Sequence[Any]:
    """Values that JSON has: null for what is no finite number."""
    if not isinstance(column, np.ndarray):
        return column
    return [
        json.loads(_number(value) or "null") if isinstance(value, float) else value
        for value in column.tolist()
    ]


def _number(value: float) -> str:
    """At most 15 digits."""
    return f"{value:.15g}" if math.isfinite(value) else ""


def _harmless(text: str) -> str:
    """Text that a spreadsheet shows and does not carry out."""
    return f"'{text}" if text.startswith(FORMULA) and not is_number(text) else text
