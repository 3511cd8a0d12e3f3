"""The columns of a block of rows: float64 where every cell is a plain number, else text.

Arrow splits the rows into cells. Every cell is a string first, and numbers are made of a column at a time: Arrow's
own conversion compares with the marks of missing values before it leaves blanks out, and takes `01234` and `nan`
for numbers. `inf`, `-Infinity` and `1e400` are infinite numbers; what becomes of them is decided with the columns.
"""

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from neuroforge_jax.data.readers.blocks import Block
from neuroforge_jax.data.readers.dialect import split_rows
from neuroforge_jax.data.readers.layout import Layout
from neuroforge_jax.data.readers.plain_arrays import null_of, string_array
from neuroforge_jax.errors import DataError

PLAIN = {mark: b"0123456789+-eE" + mark.encode() for mark in ".,"}
"""Bytes of plain numbers, by their decimal mark."""
INFINITE = b"inftyINFTY"
"""Letters of infinite numbers."""
BLANKS = np.zeros(256, bool)
BLANKS[[*b" \t\r\n\v\f", *range(128, 256)]] = True
"""Bytes that may be, or be part of, a blank at the end of a cell."""


@dataclass
class _RowJudge:
    """What becomes of rows that have not as many cells as there are columns.

    header: whether the first row is one, and among the rows that are kept. blank: how many rows of blanks were left
    out. bad: the row that ended the reading.
    """

    header: bool
    blank: int = 0
    bad: pa.csv.InvalidRow | None = None

    def __call__(self, row: pa.csv.InvalidRow) -> str:
        if not row.text.strip():
            self.blank += 1
            return "skip"
        if self.header and row.number - self.blank == 1:
            self.header = False  # it has a cell less than the rows, each of which ends in a delimiter
            return "skip"
        self.bad = row
        return "error"


@dataclass(frozen=True)
class BlockParser:
    """name: of the file, for errors. zeros: names of columns in which `007` is the number 7. keys: names of columns
    in which the user's marks of a missing value are none.
    """

    name: str
    layout: Layout
    zeros: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    _marked: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def marked(self) -> Counter[str]:
        """How many cells of each column are missing by a mark that the user named."""
        counts = Counter[str]()
        for (name, _), count in self._marked.items():
            counts[name] += count
        return counts

    def parse(
        self, block: Block, texts: Set[str] = frozenset(), only: Set[str] = frozenset()
    ) -> dict[str, pa.Array]:
        """The columns of a block by name, each float64 or string, null where a cell is missing.

        texts: those that are text whatever their cells are. only: those that are wanted, all unless given. Raises
        DataError with the line of a row that has not as many cells as there are names.
        """
        table = self._split(block, [name for name in self.layout.names if name in only] if only else None)
        columns = {}
        for name, chunked in zip(table.column_names, table.columns, strict=True):
            column = chunked.combine_chunks() if chunked.num_chunks != 1 else chunked.chunk(0)
            marks = self._usual_marks if name in self.keys else self._marks
            if self._named_marks is not None and name not in self.keys:
                self._marked[name, block.line] = self._count_marks(column)
            numbers = None if name in texts else self._numbers(column, marks, zeros=name in self.zeros)
            columns[name] = self._texts(column, marks) if numbers is None else numbers
        return columns

    def _split(self, block: Block, wanted: list[str] | None) -> pa.Table:
        """Every cell as a string, as it is written."""
        layout, dialect = self.layout, self.layout.dialect
        content = dialect.simplify(block.content)
        if self._has_one_column:
            content = self._drop_skipped(content, block.line)
        judge = _RowJudge(header=block.line == 1 and layout.has_header)
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(content),
                pa.csv.ReadOptions(
                    use_threads=False, block_size=len(content) + 1, column_names=list(layout.names)
                ),
                pa.csv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=dialect.quote or False,
                    newlines_in_values=True,
                    ignore_empty_lines=not self._has_one_column,
                    invalid_row_handler=judge,
                ),
                pa.csv.ConvertOptions(
                    check_utf8=False,
                    column_types=dict.fromkeys(layout.names, pa.string()),
                    null_values=[],
                    strings_can_be_null=False,
                    include_columns=wanted,
                ),
            )
        except pa.ArrowInvalid as error:
            if judge.bad is not None:
                raise self._wrong_width(block, judge.bad, judge.blank) from None
            fact = str(error).partition("\n")[0]
            raise DataError(f"{self.name}, at line {block.line} or below: {fact}") from None
        return table.slice(int(judge.header))

    @property
    def _has_one_column(self) -> bool:
        """Whether an empty line is a missing cell, unless it is above the table or one that is skipped."""
        return len(self.layout.names) == 1

    def _drop_skipped(self, content: bytes, first: int) -> bytes:
        """The content of a block, which begins on that line, without lines that are no rows of its one column."""
        newline, skipped = self.layout.dialect.newline.encode(), self.layout.skipped
        lines = content.split(newline, max(0, max(skipped, default=0) - first + 1))
        content = newline.join(text for line, text in enumerate(lines, first) if line not in skipped)
        return content.lstrip(b"\r\n") if first == 1 else content

    def _wrong_width(self, block: Block, row: pa.csv.InvalidRow, blank: int) -> DataError:
        """With the line of the file, for Arrow tells the row of the block, and counts rows of blanks."""
        line = self._find_lines(block)[row.number - blank - 1]
        cells = f"{row.actual_columns} cell{'s' if row.actual_columns > 1 else ''}"
        first = "header" if self.layout.has_header else "first row"
        return DataError(f"{self.name} line {line}: has {cells}, and the {first} has {row.expected_columns}")

    def _find_lines(self, block: Block) -> list[int]:
        """On which line of the file each row of a block begins."""
        dialect, before = self.layout.dialect, block.line - 1
        text = dialect.simplify(block.content).decode()
        lines = [before + row.line for row in split_rows(text, dialect, self._has_one_column)]
        if not self._has_one_column:
            return lines
        start = before + next(split_rows(text, dialect)).line if block.line == 1 else block.line
        return [line for line in lines if line >= start and line not in self.layout.skipped]

    def _texts(self, column: pa.StringArray, marks: pa.StringArray) -> pa.StringArray:
        """Without blanks at the ends, and null for a mark of a missing value."""
        content, offsets = _buffers(column)
        starts, ends = offsets[:-1], offsets[1:]
        filled = ends > starts
        if (BLANKS[content[starts[filled]]] | BLANKS[content[ends[filled] - 1]]).any():
            column = pc.utf8_trim_whitespace(column)
        return _empty_where(column, pc.is_in(column, value_set=marks))

    def _count_marks(self, column: pa.StringArray) -> int:
        """How many cells the user has named as missing."""
        return pc.is_in(pc.utf8_trim_whitespace(column), value_set=self._named_marks).true_count

    def _numbers(
        self, column: pa.StringArray, marks: pa.StringArray, *, zeros: bool
    ) -> pa.DoubleArray | None:
        """None where a cell is neither a plain number nor missing."""
        decimal = self.layout.dialect.decimal
        plain = PLAIN[decimal]
        if self._marks_are_plain or _content(column).translate(None, plain):
            column = self._texts(column, marks)
            if _content(column).translate(None, plain + INFINITE):
                return None
        else:
            _, offsets = _buffers(column)
            if not np.diff(offsets).all():
                column = _empty_where(column, pc.equal(pc.binary_length(column), 0))
        if not zeros and _has_leading_zeros(column):
            return None
        try:
            return pc.cast(_with_points(column) if decimal == "," else column, pa.float64())
        except pa.ArrowInvalid:
            return None

    @cached_property
    def _marks(self) -> pa.StringArray:
        return string_array(self.layout.marks)

    @cached_property
    def _usual_marks(self) -> pa.StringArray:
        return string_array(self.layout.marks - self.layout.named_marks)

    @cached_property
    def _named_marks(self) -> pa.StringArray | None:
        return string_array(self.layout.named_marks) if self.layout.named_marks else None

    @cached_property
    def _marks_are_plain(self) -> bool:
        """Whether a mark of a missing value may look like a number, as -999 does."""
        plain = PLAIN[self.layout.dialect.decimal]
        return any(mark and not mark.encode().translate(None, plain) for mark in self.layout.marks)


def _buffers(column: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of all cells, and N + 1 offsets: where each cell begins among them."""
    _, offsets, content = column.buffers()
    cut = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(content or b"", np.uint8), cut if len(cut) else np.zeros(1, np.int32)


def _content(column: pa.StringArray) -> bytes:
    content, offsets = _buffers(column)
    return content[offsets[0] : offsets[-1]].tobytes()


def _empty_where(column: pa.StringArray, missing: pa.BooleanArray) -> pa.StringArray:
    """Null there. The characters of these cells go too, which those that read the buffers rely on."""
    if not missing.true_count:
        return column
    return pc.replace_with_mask(column, missing, null_of(pa.string()))


def _has_leading_zeros(column: pa.StringArray) -> bool:
    """Whether a cell is written as `007`, which is a code and no quantity."""
    content, offsets = _buffers(column)
    starts = offsets[:-1][np.diff(offsets) > 1]
    second = content[starts + 1]
    return bool(((content[starts] == ord("0")) & (second >= ord("0")) & (second <= ord("9"))).any())


def _with_points(column: pa.StringArray) -> pa.StringArray:
    """The same numbers with decimal points."""
    validity, offsets, content = column.buffers()
    points = pa.py_buffer((content or pa.py_buffer(b"")).to_pybytes().replace(b",", b"."))
    return pa.StringArray.from_buffers(
        len(column), offsets, points, validity, column.null_count, column.offset
    )
