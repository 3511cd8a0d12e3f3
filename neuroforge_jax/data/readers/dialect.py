"""How a text table is written: what separates and quotes its cells, and its decimal mark.

All is decided on the first megabyte. A delimiter is taken where the rows that it makes have one width; of several,
the one whose cells are numbers more often, then the one that makes more cells.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from neuroforge_jax.config import DataConfig
from neuroforge_jax.errors import ConfigError

DELIMITERS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas", " ": "blanks"}
"""Those that are looked for, with their names: the first of equals is taken, and blanks where nothing else is."""

FEW_ROWS, FEW_CHARACTERS = 20, 2**16
"""So much of a text is split to judge a delimiter: the longer of the two."""
ONE_WIDTH = 0.9
"""Share of the rows that must have one width."""

QUOTED = '"[^"]*+(?:""[^"]*+)*+"'
"""A quoted cell, up to the quote that closes it; nothing where none does."""

NUMBERS = {
    mark: re.compile(
        rf"[+-]?(?:(?:\d+(?:[{mark}]\d*)?|[{mark}]\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.ASCII | re.IGNORECASE
    )
    for mark in ".,"
}
"""A plain number, or an infinite one, by its decimal mark."""
NUMBER_LIKE = re.compile(r"[+-]?(?:\d[\d.,]*|[.,]\d+)(?:[eE][+-]?\d+)?%?", re.ASCII)
"""A number in some notation."""
DECIMALS = {
    mark: rf"[+-]?(?:0?[{mark}]\d+|\d+[{mark}](?:\d{{1,2}}|\d{{4,}}))(?:[eE][+-]?\d+)?" for mark in ".,"
}
"""A number with a mark that can be none of thousands: not before three digits, or behind a zero or nothing."""


@dataclass(frozen=True)
class Dialect:
    """delimiter: one ASCII character; a blank stands for any number of blanks and tabs. quote: `"`, or nothing
    where that is a character as others are. decimal: the mark. newline: the last character of a line.
    single_quotes: whether `'` is a quote too. blank_quotes: whether blanks come before quotes.
    """

    delimiter: str
    quote: str = '"'
    decimal: str = "."
    newline: str = "\n"
    single_quotes: bool = False
    blank_quotes: bool = False

    def simplify(self, content: bytes) -> bytes:
        """The same rows on the same lines: one delimiter between cells, and no quotes but `"`, first in a cell."""
        quoted = QUOTED.encode()
        cell_start = b"(?<![^%b\r\n])" % re.escape(self.delimiter.encode())
        if self.delimiter == " ":
            content = re.sub(rb"(?<![^ \t\r\n])%b|[ \t]+" % quoted, _one_blank, content)
            content = re.sub(rb"(?<![^\r\n]) | (?=[\r\n]|\Z)", b"", content)
        elif self.blank_quotes:
            content = re.sub(cell_start + rb"[ ]*(%b|')" % quoted, rb"\1", content)
        if self.single_quotes:
            stop = re.escape(self.delimiter.encode())
            either = cell_start + rb"(?:%b|'([^'\r\n]*)'(?=[%b\r\n]|\Z))" % (quoted, stop)
            content = re.sub(either, _double_quotes, content)
        return content


def _one_blank(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0].startswith(b'"') else b" "


def _double_quotes(found: re.Match[bytes]) -> bytes:
    return found[0] if found[1] is None else b'"' + found[1].replace(b'"', b'""') + b'"'


@dataclass(frozen=True)
class Row:
    """cells: as they are written, without quotes. line: where it begins, from 1. closed: whether every quote is."""

    cells: list[str]
    line: int
    closed: bool


def split_rows(text: str, dialect: Dialect, blank_lines: bool = False) -> Iterator[Row]:
    """The rows of a simplified text as Arrow splits them: a quote counts where a cell begins, a doubled one in it
    is one, and what follows the closing one is kept. blank_lines: whether lines of blanks are rows.
    """
    delimiter, quote = dialect.delimiter, dialect.quote
    cell = _cell_pattern(delimiter, quote)
    at, start, line, next_line = 0, 0, 1, 1
    cells, closed = list[str](), True
    while at < len(text) or cells:
        found = cell.match(text, at)
        assert found is not None  # it matches any text
        inner, closing, tail, plain, end = found.groups()
        cells.append(plain if inner is None else inner.replace(2 * quote, quote) + tail)
        closed = closed and (inner is None or bool(closing))
        at = found.end()
        next_line += found[0].count(dialect.newline)
        if end != delimiter:
            if blank_lines or len(cells) > 1 or text[start:at].strip():
                yield Row(cells, line, closed)
            cells, closed, start, line = [], True, at, next_line


@cache
def _cell_pattern(delimiter: str, quote: str) -> re.Pattern[str]:
    plain = rf"[^{re.escape(delimiter)}\r\n]*"
    end = rf"({re.escape(delimiter)}|\r\n|\r|\n|\Z)"
    quoted = (
        rf"{quote}([^{quote}]*(?:{quote}{quote}[^{quote}]*)*)({quote}?)({plain})" if quote else "(?!)()()()"
    )
    return re.compile(rf"(?:{quoted}|({plain})){end}")


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A dialect, and the rows that it makes of the beginning."""

    dialect: Dialect
    rows: Sequence[Row]

    @cached_property
    def width(self) -> int:
        return Counter(len(row.cells) for row in self.rows).most_common(1)[0][0]

    @cached_property
    def share(self) -> float:
        """Of the rows that are of the most frequent width, and whose quotes are closed."""
        return sum(len(row.cells) == self.width and row.closed for row in self.rows) / len(self.rows)

    @property
    def fits(self) -> bool:
        # Where each line but the header ends in a delimiter, the header has a cell less.
        first = len(self.rows[0].cells)
        return self.width > 1 and self.share >= ONE_WIDTH and first in (self.width, self.width - 1)

    @cached_property
    def numbers(self) -> float:
        """Share of the cells that look like numbers."""
        cells = [cell.strip() for row in self.rows[1:] for cell in row.cells]
        return sum(NUMBER_LIKE.fullmatch(cell) is not None for cell in cells) / max(1, len(cells))


def find_dialect(start: str, whole: bool, config: DataConfig) -> tuple[Dialect, Sequence[Row]]:
    """The dialect, and the first rows in it, none where there is no text.

    start: of the text, a megabyte or less; whole: whether that is all. What `config` says is not looked for. Raises
    ConfigError for a delimiter that cannot be one.
    """
    newline = find_newline(start)
    few = _beginning(start if whole else start[: start.rfind(newline) + 1], newline)
    whole = whole and len(few) == len(start)
    found = [
        candidate
        for delimiter in _delimiters(few, config)
        if (candidate := _candidate(few, delimiter, newline, whole)) is not None
    ]
    if not found:
        return Dialect(",", newline=newline), ()
    fitting = [candidate for candidate in found if candidate.fits]
    if fitting:
        fitting = [candidate for candidate in fitting if candidate.dialect.delimiter != " "] or fitting
        best = max(fitting, key=lambda candidate: (round(candidate.numbers, 2), candidate.width))
    else:
        best = max(found, key=lambda candidate: (candidate.width > 1, candidate.share))
    decimal = config.decimal or _find_decimal(start, best.dialect.delimiter)
    return Dialect(**{**vars(best.dialect), "decimal": decimal}), best.rows


def find_newline(text: str) -> str:
    """The last character of a line."""
    return "\n" if "\n" in text or "\r" not in text else "\r"


def _beginning(start: str, newline: str) -> str:
    """So many rows that a judgement is worth something."""
    end = -1
    for _ in range(FEW_ROWS):
        after = start.find(newline, end + 1)
        if after < 0:
            return start
        end = after
    cut = start.find(newline, FEW_CHARACTERS)
    return start[: max(end, cut) + 1] if cut >= 0 else start


def _delimiters(few: str, config: DataConfig) -> list[str]:
    if config.delimiter is None:
        return [mark for mark in DELIMITERS if mark in few] or [","]
    delimiter = "\t" if config.delimiter == "tab" else config.delimiter
    if delimiter in "\"'\r\n\0" or not delimiter.isascii():
        raise ConfigError(f"--delimiter {delimiter!r}: cannot separate cells; give another character, or tab")
    return [delimiter]


def _candidate(few: str, delimiter: str, newline: str, whole: bool) -> _Candidate | None:
    """The best of the ways to quote; None where there are no rows."""
    separator = re.escape(delimiter)
    start, stop = rf"(?<![^{separator}\r\n])", rf"(?=[{separator}\r\n]|\Z)"
    # Of each cell that begins with a quote, the one that it ends with, if it does.
    singles, doubles = (
        re.findall(rf"{start} *{mark}(?:[^{mark}\r\n]*({mark}{stop})|)", few) for mark in "'\""
    )
    unquoted = re.sub(start + QUOTED, "", few)
    quoted = _split(
        few,
        Dialect(
            delimiter,
            newline=newline,
            single_quotes=bool(singles) and all(singles),
            blank_quotes=re.search(rf"{start} +[\"']", unquoted) is not None,
        ),
        whole,
    )
    if quoted is None or any(doubles) or '"' not in few:
        return quoted
    plain = _split(few, Dialect(delimiter, quote="", newline=newline), whole)
    return plain if plain is not None and plain.fits and plain.share > quoted.share else quoted


def _split(few: str, dialect: Dialect, whole: bool) -> _Candidate | None:
    simple = dialect.simplify(few.encode()).decode()
    rows = list(split_rows(simple, dialect))
    # The last may be cut, or its quote be closed later.
    if not whole and len(rows) > 1 and (not rows[-1].closed or not few.endswith(dialect.newline)):
        rows.pop()
    return _Candidate(dialect, rows) if rows else None


def _find_decimal(start: str, delimiter: str) -> str:
    """A comma where more cells have one that can be nothing else than have a point."""
    if "," not in start or (delimiter == "," and '"' not in start):
        return "."
    stop = rf"[\"'\r\n{re.escape(delimiter)}]"
    ends = {",": '"' if delimiter == "," else stop, ".": stop}
    count = {
        mark: len(re.findall(rf"(?:\A|(?<={ends[mark]})) *{number}(?= *(?:{ends[mark]}|\Z))", start))
        for mark, number in DECIMALS.items()
    }
    return max(count, key=lambda mark: count[mark])
