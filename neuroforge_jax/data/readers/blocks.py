"""A text in blocks of whole rows, so that each can be parsed on its own, on any core.

A line break ends a row where the quotes before it are even in number. That is so where each quote that opens
stands first in its cell, which is looked at; where one does not, the block is gone through cell by cell.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from neuroforge_jax.data.readers.dialect import QUOTED, Dialect
from neuroforge_jax.errors import DataError

MAX_ROW_BYTES = 2**24
"""A longer row is refused: most likely a quote is left open."""
QUOTE = ord('"')


@dataclass(frozen=True)
class Block:
    """content: whole rows, as they lie in the text. line: that the first begins on, from 1 for the first block."""

    content: bytes
    line: int


def cut_blocks(name: str, chunks: Iterable[bytes], dialect: Dialect, block_bytes: int) -> Iterator[Block]:
    """The rows in blocks of about so many bytes. Raises DataError for a row that does not end."""
    newline = dialect.newline.encode()
    pending, line = bytearray(), 1
    for chunk in chunks:
        pending += chunk
        if len(pending) < block_bytes:
            continue
        if end := row_end(pending, dialect):
            yield Block(bytes(pending[:end]), line)
            line += pending.count(newline, 0, end)
            del pending[:end]
        if len(pending) > MAX_ROW_BYTES:
            raise DataError(
                f"{name} line {line}: the row does not end within {MAX_ROW_BYTES // 2**20} MB; "
                "is a quote left open, or is this no table?"
            )
    if pending:
        if dialect.quote and (opened := _open_quote(pending, dialect)) is not None:
            at = line + pending.count(newline, 0, opened)
            raise DataError(f"{name} line {at}: a quote opens here and is never closed")
        yield Block(bytes(pending), line)


def row_end(content: bytearray, dialect: Dialect) -> int:
    """Where the last whole row ends; 0 where none does."""
    newline = dialect.newline.encode()
    if not dialect.quote or QUOTE not in content:
        return content.rfind(newline) + 1
    quotes = _find_quotes(content)
    if not _are_plain(content, quotes, dialect):
        return max((found.end() for found in _cells(content, dialect) if found[1]), default=0)
    end = content.rfind(newline) + 1
    while end and (before := int(np.searchsorted(quotes, end))) % 2:
        end = content.rfind(newline, 0, int(quotes[before - 1])) + 1
    return end


def _open_quote(content: bytearray, dialect: Dialect) -> int | None:
    """Where the quote is that the content, which begins with a row, leaves open."""
    quotes = _find_quotes(content)
    if _are_plain(content, quotes, dialect):
        return int(quotes[-1]) if len(quotes) % 2 else None
    last = max((found.end() for found in _cells(content, dialect)), default=0)
    return last if last < len(content) else None


def _find_quotes(content: bytearray) -> np.ndarray:
    return np.flatnonzero(np.frombuffer(content, np.uint8) == QUOTE)


def _are_plain(content: bytearray, quotes: np.ndarray, dialect: Dialect) -> bool:
    """Whether each quote that opens, if they open and close in turn, stands first in a cell or behind a quote."""
    opening = quotes[::2]
    if len(opening) and opening[0] == 0:
        opening = opening[1:]
    may_precede = np.zeros(256, bool)
    may_precede[[*(dialect.delimiter + '\r\n"' + ("\t" if dialect.delimiter == " " else "")).encode()]] = True
    return bool(may_precede[np.frombuffer(content, np.uint8)[opening - 1]].all())


def _cells(content: bytearray, dialect: Dialect) -> Iterator[re.Match[bytes]]:
    """Each cell with what ends it, up to a quote that is not closed; group 1 where that is a line break."""
    stop = rb" \t" if dialect.delimiter == " " else re.escape(dialect.delimiter.encode())
    blanks = b" *" if dialect.blank_quotes else b""
    cell = rb'(?:%b%b|(?!%b"))' % (blanks, QUOTED.encode(), blanks)
    pattern, at = re.compile(cell + rb"[^%b\r\n]*(?:[%b]|(\r\n|\r|\n)|\Z)" % (stop, stop)), 0
    while at < len(content) and (found := pattern.match(content, at)):
        yield found
        at = found.end()
