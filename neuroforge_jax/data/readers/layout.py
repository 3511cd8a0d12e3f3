"""What a text table consists of: its dialect, the names of its columns, and whether the first row holds them."""

import codecs
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers.dialect import DELIMITERS, Dialect, Row, find_dialect
from neuroforge_jax.data.readers.header import HeaderJudge, tidy_name
from neuroforge_jax.data.readers.missing import MARKS, find_marks
from neuroforge_jax.data.readers.preamble import find_preamble
from neuroforge_jax.data.readers.source import TextSource
from neuroforge_jax.errors import DataError

MOST_UNITS = 4
"""That a note shows."""


@dataclass(frozen=True)
class Layout:
    """dialect: how the cells are written. marks: texts of a missing value. named_marks: those of them that the user
    named. names: a name a column; of a column without one it is `column 3`. unnamed: positions of those.
    has_header: whether the first row holds the names. facts: what is not as in the plain case, commas, points,
    UTF-8 and a header, for a note. skipped: lines, from 1, that are no rows: comments, units.
    """

    dialect: Dialect
    marks: frozenset[str]
    named_marks: frozenset[str]
    names: tuple[str, ...]
    unnamed: frozenset[int]
    has_header: bool
    facts: tuple[str, ...]
    skipped: frozenset[int] = frozenset()


def find_layout(source: TextSource, config: DataConfig, like: Mapping[str, str]) -> Layout:
    """The layout of a text, from its start, and from `config` where that says something.

    like: "number" or "text" by the name of a column, of a file that this one should be as. Raises DataError where
    there is no table, ConfigError for a delimiter that cannot be one.
    """
    text = source.start.decode("utf-8", "ignore")  # a character at its end may be cut
    dialect, rows = find_dialect(text, source.whole, config)
    if not rows:
        raise _no_rows(source)
    preamble = find_preamble(text, rows, config, like)
    skipped = frozenset(range(1, preamble.lines + 1))
    if skipped:
        text = source.without(skipped).start.decode("utf-8", "ignore")
        dialect, rows = find_dialect(text, source.whole, config)
    _refuse_title(source.name, rows)
    marks = find_marks(config.missing, dialect.decimal)
    cells = [[cell.strip() for cell in row.cells] for row in rows]
    judge = HeaderJudge(cells, dialect.decimal, marks)
    headings = _find_headings(judge, preamble.headings, config, like)
    unnamed = frozenset(at for at, name in enumerate(headings.names) if not name)
    names = [name or f"column {at}" for at, name in enumerate(headings.names, 1)]
    _refuse_twins(source.name, names)
    empty = {at for at in unnamed if not any(row[at] for row in cells[1:] if at < len(row))}
    if len(names) - len(empty) < 2 and not set(names) & set(like):
        raise DataError(
            f"{source.name}: has one column only, {_shorten(names[0])}, when {_plural(dialect)} separate cells; a "
            "target and an input are needed, or another --delimiter"
        )
    units, units_fact = _find_units(rows, judge, names, like) if headings.in_row else (frozenset(), "")
    return Layout(
        dialect,
        marks,
        marks - frozenset(MARKS),
        tuple(names),
        unnamed,
        headings.in_row,
        tuple(filter(None, (_describe(dialect, source.encoding), preamble.fact, headings.fact, units_fact))),
        skipped | units,
    )


def _no_rows(source: TextSource) -> DataError:
    if not source.whole:
        return DataError(f"{source.name}: its first row does not end within a megabyte; is it no table?")
    return DataError(f"{source.name}: is empty; a header with the names of the columns and rows are needed")


def _refuse_title(name: str, rows: Sequence[Row]) -> None:
    """Where one cell stands above rows of several, all of one width, it is no header."""
    if len(rows) < 3 or len(rows[0].cells) > 1:
        return
    width, times = Counter(len(row.cells) for row in rows[1:]).most_common(1)[0]
    if width > 1 and times == len(rows) - 1:
        raise DataError(
            f"{name} line {rows[0].line}: has 1 cell, and the rows below have {width}; "
            "remove what stands above the header"
        )


@dataclass(frozen=True)
class _Headings:
    """names: of the columns, empty where one has none. in_row: whether the first row is these. fact: for a note."""

    names: Sequence[str]
    in_row: bool
    fact: str = ""


def _find_headings(
    judge: HeaderJudge, above: Sequence[str], config: DataConfig, like: Mapping[str, str]
) -> _Headings:
    """above: the names that a comment holds."""
    if above:
        return _Headings(list(map(tidy_name, above)), in_row=False)
    if config.header == "yes" or (config.header == "auto" and judge.find_header(like)):
        return _Headings(*_header_names(judge))
    return _Headings(*_invent_names(len(judge.cells[0]), list(like)))


def _header_names(judge: HeaderJudge) -> tuple[list[str], bool, str]:
    names, below = [tidy_name(cell) for cell in judge.cells[0]], judge.cells[1:]
    # Each line but the header ends in a delimiter.
    if below and all(len(row) == len(names) + 1 and not row[-1] for row in below):
        names.append("")
    if counted := judge.find_count():
        return names, True, f"headings are the numbers {counted[0]} to {counted[1]}"
    odd = next(filter(judge.is_number, names), "")
    fact = f"the first row is taken for the header, with {_shorten(odd)} as a name" if odd else ""
    return names, True, fact


def _find_units(
    rows: Sequence[Row], judge: HeaderJudge, names: Sequence[str], like: Mapping[str, str]
) -> tuple[frozenset[int], str]:
    """The lines of a row of units below the header, and what is said of it, or of texts where numbers should be."""
    if len(rows) > 1 and len(rows[1].cells) != len(names):
        return frozenset(), ""  # it is refused later, with its line
    if like:
        numeric = [at for at, name in enumerate(names) if like.get(name) == "number"]
        units, odd = judge.find_known_units(numeric), list[int]()
    else:
        units, odd = judge.find_units()
    if units:
        line, after = rows[1].line, rows[2].line
        shown = ", ".join(map(_show_unit, units[:MOST_UNITS])) + (", …" if len(units) > MOST_UNITS else "")
        return frozenset(range(line, after)), f"line {line} is skipped: it holds units ({shown})"
    if not odd:
        return frozenset(), ""
    cell, name = _shorten(judge.cells[1][odd[0]]), _shorten(names[odd[0]])
    return frozenset(), f"line {rows[1].line} has {cell} in {name}, and the rows below have numbers"


def _show_unit(text: str) -> str:
    return text if text.isprintable() and len(text) <= 20 else _shorten(text)


def _invent_names(width: int, like: Sequence[str]) -> tuple[list[str], bool, str]:
    names = [f"column {at}" for at in range(1, width + 1)]
    if len(like) == width and like != names:
        return list(like), False, "no header: columns are named, in order, as those that it is read like"
    return names, False, f"no header: columns are {names[0]} … {names[-1]}"


def _refuse_twins(file: str, names: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for at, name in enumerate(names, 1):
        before = first.setdefault(name, at)
        if before != at:
            raise DataError(f"{file}: columns {before} and {at} are both named {_shorten(name)}; rename one")


def _shorten(text: str) -> str:
    """A text from a file, in quotes, in a line of an error."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _plural(dialect: Dialect) -> str:
    return DELIMITERS.get(dialect.delimiter, f"characters {dialect.delimiter!r}")


def _describe(dialect: Dialect, encoding: str) -> str:
    read = [
        _plural(dialect) if dialect.delimiter != "," else "",
        "decimal commas" if dialect.decimal == "," else "",
        "single quotes" if dialect.single_quotes else "",
        "quotes as they are" if not dialect.quote else "",
        "" if codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii") else encoding,
    ]
    return f"read with {', '.join(filter(None, read))}" if any(read) else ""
