"""What stands above a table: comments, a title, remarks such as `station: Rome`, and empty lines.

A comment begins with `#`, `%` or `//`. It is the header where it has as many cells as the rows below, or would have
without its mark, and most of them are names that are known, or these rows have no texts above numbers of their own.
Other lines are skipped where they are of one cell or a remark, all rows below are of one other width, and the first
of those is a header.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers.dialect import Dialect, Row, find_dialect, find_newline, split_rows
from neuroforge_jax.data.readers.header import HeaderJudge, tidy_name
from neuroforge_jax.data.readers.missing import find_marks

COMMENT = re.compile(r"\s*(?:#|%|//)")
REMARK = re.compile(r"[^:=]{1,60}[:=](?:\s|\Z)|[^:=]{1,60}=")
MOST_COMMENTS, MOST_REMARKS, ROWS_BELOW = 1000, 50, 40
"""Lines that are looked at."""


@dataclass(frozen=True)
class Preamble:
    """lines: how many stand above the table. headings: the names of the columns, where a comment holds them.

    fact: for a note.
    """

    lines: int = 0
    headings: tuple[str, ...] = ()
    fact: str = ""


def find_preamble(
    text: str, rows: Sequence[Row], config: DataConfig, known: Collection[str] = ()
) -> Preamble:
    """What stands above the table in the beginning of a text. rows: those in it, if nothing does. known: names of
    columns that it should have.
    """
    regular = len(rows[0].cells) == _width(rows) and not _is_padded(rows[0])
    if regular and not COMMENT.match(text):
        return Preamble()
    return _Reader(text.split(find_newline(text), MOST_COMMENTS)[:MOST_COMMENTS], config, known).find()


@dataclass(frozen=True)
class _Reader:
    """Looks for the table in some lines of a text."""

    lines: Sequence[str]
    config: DataConfig
    known: Collection[str]

    def find(self) -> Preamble:
        """Comments first, and what stands between them and the table."""
        marked = [at for at in range(self._count_comments()) if COMMENT.match(self.lines[at])]
        if not marked:
            return self._describe(self._skip_remarks(0))
        below = marked[-1] + 1
        dialect, rows = self._split(below)
        if not rows:
            return Preamble()
        if named := self._find_known_names(below, dialect, rows):
            return named
        width = _width(rows)
        as_wide = [at for at in marked if width > 1 and _count_cells(self.lines[at], dialect) == width]
        if len(as_wide) > 1 and as_wide == marked:
            return Preamble()
        titled = self._judge(dialect, rows).is_titled
        if below - 1 in as_wide and not titled:
            return self._describe(below - 1)
        heading = COMMENT.sub("", self.lines[below - 1])
        may_head = self.config.header == "auto" and not titled and width > 1
        if may_head and _count_cells(heading, dialect) == width:
            return self._describe(below, tuple(_split_cells(heading, dialect)))
        return self._describe(self._skip_remarks(below))

    def _find_known_names(self, below: int, dialect: Dialect, rows: Sequence[Row]) -> Preamble | None:
        """Where most cells of the last comment, with its mark or without, are known, and fewer of the row below."""
        if self.config.header != "auto":
            return None
        comment = self.lines[below - 1]
        as_row, names = (_split_names(line, dialect) for line in (comment, COMMENT.sub("", comment)))
        fitting = [row for row in (as_row, names) if len(row) == _width(rows)]
        best = max(fitting, key=self._count_known, default=[])
        count, count_below = self._count_known(best), self._count_known(map(tidy_name, rows[0].cells))
        if 2 * count <= len(best) or count <= count_below:
            return None
        return self._describe(below - 1) if best is as_row else self._describe(below, tuple(best))

    def _count_known(self, names: Iterable[str]) -> int:
        return len(set(names) & set(self.known))

    def _count_comments(self) -> int:
        """Lines before the first that is neither empty nor a comment."""
        others = (at for at, line in enumerate(self.lines) if line.strip() and not COMMENT.match(line))
        return next(others, len(self.lines))

    def _skip_remarks(self, first: int) -> int:
        """The line that the table begins on, where what stands above it, from `first` on, is clearly none of it."""
        for at in range(first, min(len(self.lines), first + MOST_REMARKS)):
            dialect, rows = self._split(at)
            if not rows:
                break
            width = _width(rows)
            same_width = width > 1 and all(len(row.cells) == width and row.closed for row in rows)
            if same_width and not _is_padded(rows[0]):
                above = [row for line in self.lines[first:at] for row in _split_line(line, dialect)]
                apart = len(rows) > 1 and all(_is_apart(row, width) for row in above)
                certain = all(len(row.cells) != width for row in above)
                return at if apart and self._has_header(dialect, rows, certain) else first
            if not _is_apart(rows[0], width):
                break
        return first

    def _split(self, first: int) -> tuple[Dialect, Sequence[Row]]:
        """The rows from a line on, as if nothing stood above them; the last of so many lines may be cut."""
        few = "\n".join(self.lines[first : first + ROWS_BELOW])
        return find_dialect(few + "\n", whole=False, config=self.config)

    def _has_header(self, dialect: Dialect, rows: Sequence[Row], certain: bool) -> bool:
        """Whether the first row is one: by texts above numbers, where what stands above it could be the header."""
        judge = self._judge(dialect, rows)
        plausible = certain and len(rows[0].cells) > 2 and judge.find_header({})
        return self.config.header == "yes" or judge.is_titled or plausible

    def _judge(self, dialect: Dialect, rows: Sequence[Row]) -> HeaderJudge:
        cells = [[cell.strip() for cell in row.cells] for row in rows]
        return HeaderJudge(cells, dialect.decimal, find_marks(self.config.missing, dialect.decimal))

    def _describe(self, lines: int, headings: tuple[str, ...] = ()) -> Preamble:
        skipped = [line.strip() for line in self.lines[:lines] if line.strip()]
        if not skipped:
            return Preamble()
        comments = all(map(COMMENT.match, skipped))
        what = "comment" if comments else "text"
        count = f"1 line of {what}" if len(skipped) == 1 else f"{len(skipped):,} lines of {what}"
        are = "is" if len(skipped) == 1 else "are"
        shown = "" if comments else f" ({skipped[0][:40]!r})"
        named = ", the last of which names the columns" if headings else ""
        return Preamble(lines, headings, f"{count} above the table {are} skipped{shown}{named}")


def _width(rows: Sequence[Row]) -> int:
    """That most rows have."""
    return Counter(len(row.cells) for row in rows).most_common(1)[0][0]


def _is_padded(row: Row) -> bool:
    """Whether it is one cell or none, and empty ones up to the width of the table, as Excel writes a title."""
    return len(row.cells) > 2 and sum(bool(cell.strip()) for cell in row.cells) <= 1


def _is_apart(row: Row, width: int) -> bool:
    """Whether it is no row of a table of so many cells, but a comment, a title or a remark."""
    first = row.cells[0]
    remark = COMMENT.match(first) or REMARK.match(first)
    return _is_padded(row) or (len(row.cells) != width and (len(row.cells) == 1 or bool(remark)))


def _count_cells(line: str, dialect: Dialect) -> int:
    return len(_split_cells(line, dialect))


def _split_names(line: str, dialect: Dialect) -> list[str]:
    return list(map(tidy_name, _split_cells(line, dialect)))


def _split_cells(line: str, dialect: Dialect) -> Sequence[str]:
    """Of a line that is one row; none of what a lone carriage return makes several of, or of an empty line."""
    rows = _split_line(line, dialect)
    return rows[0].cells if len(rows) == 1 else []


def _split_line(line: str, dialect: Dialect) -> list[Row]:
    return list(split_rows(dialect.simplify(line.encode()).decode(), dialect))
