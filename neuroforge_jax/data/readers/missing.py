"""What `--missing` names: numbers are found by their value, `-999` as `-999.0` too, and other marks as texts.

A value is compared in the dtype of the numbers: −99.9 of float32 is the float32 nearest to it.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuroforge_jax.data.readers.dialect import NUMBERS
from neuroforge_jax.data.readers.plain_arrays import bool_array, float_array, null_of, string_array
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.values import names_of, write_number

MARKS = ("", "NA", "N/A", "NaN", "nan", "null", "None", "?")
"""Cells of a text table that mean a missing value, when blanks around them are left out."""

_WORDS = frozenset(
    {
        "na",
        "n/a",
        "#n/a",
        "n.a.",
        "n.d.",
        "<na>",
        "nan",
        "nil",
        "none",
        "null",
        "(null)",
        "<null>",
        "#null!",
        "\\n",
    }
    | {"unknown", "unk", "missing", "undefined", "unavailable", "blank", "empty", "tbd", "pending", "nodata"}
    | {"no data", "not available", "not applicable", "not known", "not measured"}
    | {"#value!", "#ref!", "#div/0!", "#name?", "#num!"}
)
"""In small letters, whether or not they are marks: what a cell holds that says nothing."""


FLOAT64 = np.dtype(np.float64)

CODE = re.compile(r"[+-]?0\d")
"""How a text begins that is a code and no number, such as `007`."""


@dataclass(frozen=True)
class Marks:
    """words: as they are given. decimal: the mark by which numbers among them, and in texts, are written."""

    words: Sequence[str]
    decimal: str = "."

    @property
    def texts(self) -> frozenset[str]:
        """Those that are no numbers."""
        return frozenset(word.strip() for word in self.words if self._value(word) is None)

    @cached_property
    def values(self) -> np.ndarray:
        """The values of the others."""
        found = [value for word in self.words if (value := self._value(word)) is not None]
        return np.array(found, np.float64)

    @property
    def plain(self) -> tuple[str, ...]:
        """The marks as they are written whatever a file's decimal mark is."""
        values = ((word, self._value(word)) for word in self.words)
        return tuple(word if value is None else write_number(value) for word, value in values)

    def _value(self, word: str) -> float | None:
        word = word.strip()
        if CODE.match(word):
            return None
        decimal = next((mark for mark in (self.decimal, ".") if NUMBERS[mark].fullmatch(word)), None)
        return None if decimal is None else float(word.replace(decimal, "."))

    def find(self, column: pa.ChunkedArray, dtype: np.dtype = FLOAT64) -> pa.ChunkedArray:
        """Bool [N]: whether a cell of numbers or texts is marked. dtype: that its numbers had in their source."""
        if pa.types.is_string(column.type):
            marked = pc.is_in(column, string_array(sorted(self.texts)))
            return pc.or_(marked, self._find_values(self._numbers(column), dtype))
        if pa.types.is_floating(column.type):
            return self._find_values(column, dtype)
        return pa.chunked_array([bool_array(np.zeros(len(column), bool))])

    def _find_values(self, numbers: pa.ChunkedArray, dtype: np.dtype) -> pa.ChunkedArray:
        return pc.is_in(numbers, float_array(self.values_as(dtype).astype(np.float64)))

    def values_as(self, dtype: np.dtype) -> np.ndarray:
        """The values as numbers of a dtype: rounded to its floats, without those that its whole numbers lack."""
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                rounded = self.values.astype(dtype)
            return rounded[np.isfinite(rounded) | np.isinf(self.values)]
        limits = np.iinfo(dtype)
        whole = [int(value) for value in self.values.tolist() if value.is_integer()]
        return np.array([number for number in whole if limits.min <= number <= limits.max], dtype)

    def _numbers(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """The numbers that plain texts are, null for all others."""
        plain = pc.match_substring_regex(texts, f"(?i)^(?:{NUMBERS[self.decimal].pattern})$")
        is_number = pc.and_not(plain, pc.match_substring_regex(texts, f"^{CODE.pattern}"))
        texts = pc.if_else(is_number, texts, null_of(pa.string()))
        return pc.replace_substring(texts, self.decimal, ".").cast(pa.float64())


def find_marks(words: Sequence[str], decimal: str) -> frozenset[str]:
    """What means a missing value in a text table, numbers left aside. words: what the user named."""
    return frozenset(MARKS) | Marks(words, decimal).texts


def means_missing(cell: str) -> bool:
    """Whether it is a word that people write for a missing value, in any case."""
    return cell.casefold() in _WORDS


def mark_array(x: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """The array with NaN for the numbers among the words, as floats if there are any."""
    return mark_arrays([x], words)[0][0]


def mark_arrays(arrays: Sequence[np.ndarray], words: Sequence[str]) -> tuple[list[np.ndarray], int]:
    """Parts of one data set with NaN for the numbers among the words, and how many there are. If there are any, all
    parts are floats: bytes in one and floats in another would be two kinds of inputs.
    """
    marks = Marks(words)
    marked = [np.isin(x, marks.values_as(x.dtype)) if x.dtype.kind in "fiu" else None for x in arrays]
    count = sum(0 if found is None else int(found.sum()) for found in marked)
    if not count:
        return list(arrays), 0
    pairs = zip(arrays, marked, strict=True)
    return [x if found is None else _empty_where(x, found) for x, found in pairs], count


def _empty_where(x: np.ndarray, marked: np.ndarray) -> np.ndarray:
    floats = x.astype(np.result_type(x.dtype, np.float16))
    floats[marked] = np.nan
    return floats


def mark_missing(
    table: Table, words: Sequence[str], keys: Collection[str] = ()
) -> tuple[Table, Counter[str]]:
    """The table, null where a cell is one of the words, and how many cells of each column are. keys: columns that
    are left as they are.
    """
    marks, counts = Marks(words, table.decimal), Counter[str]()
    columns = dict(table.columns)
    for name, column in columns.items() if words else ():
        if name in keys:
            continue
        marked = marks.find(column, table.dtypes.get(name, FLOAT64))
        if count := pc.sum(marked).as_py():
            counts[name] = count
            columns[name] = pc.if_else(marked, null_of(column.type), column)
    return replace(table, columns=columns), counts


def read_missing(
    table: Table, words: Sequence[str], keys: Collection[str], before: Mapping[str, int] | None = None
) -> Table:
    """`mark_missing` with a note of what was found. before: cells that already were, by column."""
    if not words:
        return table
    table, counts = mark_missing(table, words, keys)
    counts.update(before or {})
    told = tell_missing(words, counts.total(), f", in {names_of(sorted(+counts))}")
    return replace(table, notes=(*table.notes, told))


def tell_missing(words: Sequence[str], cells: int, where: str = "") -> str:
    """What was found of the words."""
    count = "1 cell counts" if cells == 1 else f"{cells:,} cells count"
    return (
        f"--missing {' '.join(words)}: {f'{count} as missing{where}' if cells else 'no cell is one of them'}"
    )
