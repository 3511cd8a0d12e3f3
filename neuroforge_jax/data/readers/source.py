"""The text of a file or a stream: what it is made of is seen to here, and UTF-8 in chunks comes out.

    file, pipe, gzip → bytes → refuse what is no text → decode → UTF-8, no BOM, no NUL

Nothing is read before it is asked for, so that a file of any size passes through in bounded memory.
"""

import codecs
import re
import stat
import zlib
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from neuroforge_jax.data.readers.changes import refuse_changes
from neuroforge_jax.errors import ConfigError, DataError

START_BYTES = 2**20
"""What is looked at before anything is decided about a file."""
CHUNK_BYTES = 2**20

BOMS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, whose mark begins it
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

MAGIC = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save it as CSV",
    b"SQLite format 3": "an SQLite database; export a table of it as CSV",
    b"PAR1": "a Parquet file; name it .parquet",
    b"ARROW1": "an Arrow file; name it .arrow",
    b"FEA1": "a Feather file; name it .feather",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "gzip within gzip; unpack it once",
    b"BZh": "a bzip2 archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive; unpack it",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\x7fELF": "a program",
    b"\x80\x04\x95": "a pickle, which is never read",
}
"""How a file begins that is no text, and what it is."""

CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r")
"""Bytes that texts do not have, in encodings of one byte a letter."""


@dataclass(frozen=True, eq=False)
class TextSource:
    """name: for errors. encoding: that it was decoded from. start: its first megabyte, as UTF-8; whole: whether
    that is all of it. rest: UTF-8 in chunks of any length, each read when it is asked for.
    """

    name: str
    encoding: str
    start: bytes
    whole: bool
    rest: Iterator[bytes]

    def without(self, lines: Set[int]) -> "TextSource":
        """The same, with these lines of its start empty, from 1, so that the others keep their numbers."""
        if not lines:
            return self
        newline = b"\n" if b"\n" in self.start or b"\r" not in self.start else b"\r"
        rows = self.start.split(newline, max(lines))
        for line in lines:
            rows[line - 1] = b"\r" if rows[line - 1].endswith(b"\r") else b""
        return replace(self, start=newline.join(rows))

    def chunks(self) -> Iterator[bytes]:
        """All of it, once."""
        return chain([self.start], self.rest)


@contextmanager
def open_text(origin: Path | BinaryIO, encoding: str | None = None) -> Iterator[TextSource]:
    """The text of a file, plain or gzip by its content, or of an open binary stream.

    encoding: of the text; else what its first megabyte shows: a BOM, UTF-16 by its zeros, UTF-8 where it is valid,
    else cp1252, or latin-1 where that has no such character. Raises DataError with the file's name for what is no
    text, here and from the chunks; for a file that is not as it was when it has been read to the end of the `with`;
    ConfigError for an encoding that does not exist.
    """
    if encoding is not None:
        _check_encoding(encoding)
    name = str(origin) if isinstance(origin, Path) else "standard input"
    try:
        if not isinstance(origin, Path):
            yield _text_source(name, _pieces(origin), encoding)
            return
        # Asked before opening: opening a pipe would wait for its writer.
        kind = origin.stat().st_mode
        if not stat.S_ISREG(kind):
            what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
            raise DataError(f"{origin}: is {what}; a text file with a table is needed here")
        with refuse_changes(origin), origin.open("rb") as file:
            yield _text_source(name, _pieces(file), encoding)
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from None


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding)
        codecs.getincrementaldecoder(encoding)
    except (LookupError, ValueError, UnicodeError):
        raise ConfigError(
            f"--encoding {encoding}: is not known; try utf-8, cp1252, latin-1 or utf-16"
        ) from None


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece


def _text_source(name: str, pieces: Iterator[bytes], encoding: str | None) -> TextSource:
    first, _ = _take(pieces, 2)
    pieces = chain([first], pieces)
    if first.startswith(b"\x1f\x8b"):
        pieces = _decompress(name, pieces)
    start, whole = _take(pieces, START_BYTES)
    _refuse_binary(name, start)
    bom = next((mark for mark in BOMS if start.startswith(mark)), b"")
    if encoding is None:
        encoding = BOMS[bom] if bom else _guess_encoding(start, whole)
    # The decoders of utf-16 and utf-32 take the mark off themselves, and need it.
    if bom and codecs.lookup(encoding).name not in ("utf-16", "utf-32"):
        start = start.removeprefix(bom)
    texts = _decode(name, chain([start], pieces), encoding)
    # Excel may write `sep=;` above the header; an empty line is left of it, so that the others keep their numbers.
    start = re.sub(rb"\Asep=[^\r\n](?=\r?\n)", b"", next(texts, b""))
    _refuse_control_characters(name, start)
    return TextSource(name, encoding, start, whole, texts)


def _take(pieces: Iterator[bytes], size: int) -> tuple[bytes, bool]:
    """At least so many bytes, and whether they are the last."""
    taken = bytearray()
    for piece in pieces:
        taken += piece
        if len(taken) >= size:
            return bytes(taken), False
    return bytes(taken), True


def _decompress(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """What a gzip file of one or several members holds, never more than a chunk at once."""
    member = zlib.decompressobj(wbits=31)
    begun = False
    try:
        for piece in pieces:
            data = piece
            while data:
                if member.eof:
                    data = data.lstrip(b"\0")  # tapes and some archivers fill up with zeros
                    if not data:
                        break
                    member, begun = zlib.decompressobj(wbits=31), False
                begun = True
                yield member.decompress(data, CHUNK_BYTES)
                while member.unconsumed_tail:
                    yield member.decompress(member.unconsumed_tail, CHUNK_BYTES)
                data = member.unused_data
    except zlib.error as error:
        raise DataError(f"{name}: the gzip stream is corrupt ({error}); fetch the file again") from None
    if begun and not member.eof:
        raise DataError(f"{name}: the gzip stream is cut short; fetch the file again")


def _refuse_binary(name: str, start: bytes) -> None:
    if start.startswith(b"PK\3\4"):
        workbook = b"xl/" in start or b"[Content_Types].xml" in start[:200]
        what = "an Excel workbook; save it as CSV" if workbook else "a zip archive; unpack it"
        raise DataError(f"{name}: is {what}")
    binary = _controls(start) > 0  # a table may begin with PAR1, the name of a column
    for magic, what in MAGIC.items():
        if binary and start.startswith(magic):
            raise DataError(f"{name}: is {what}")
    if start[:200].lstrip().lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise DataError(f"{name}: is a page of HTML or XML; fetch the table itself")


def _refuse_control_characters(name: str, start: bytes) -> None:
    if _controls(start) > 0.02:
        raise DataError(f"{name}: is no text: it is full of control characters")


def _controls(start: bytes) -> float:
    """Share of the control characters in the beginning."""
    head = start[:4096]
    return (len(head) - len(head.translate(None, CONTROLS))) / max(1, len(head))


def _guess_encoding(start: bytes, whole: bool) -> str:
    head = start[:4096]
    zeros = [head[at::2].count(0) / max(1, len(head[at::2])) for at in (0, 1)]
    if max(zeros) > 0.3 and min(zeros) < 0.05:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        try:
            codecs.getincrementaldecoder(encoding)().decode(start, whole)
        except UnicodeError:
            continue
        return encoding
    return "latin-1"


def _decode(name: str, pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-8 of each piece. Raises DataError with the line of the first byte that is no text."""
    decoder = codecs.getincrementaldecoder(encoding)()
    plain = codecs.lookup(encoding).name in ("utf-8", "ascii")
    lines, between = 1, False  # between: whether a character is cut by the end of the last piece
    for piece in chain(pieces, [b""]):
        text = piece
        if not plain or between or not piece.isascii():
            try:
                text = decoder.decode(piece, not piece).encode("utf-8")
            except UnicodeError as error:
                good = ""
                if isinstance(error, UnicodeDecodeError):
                    good = error.object[: error.start].decode(error.encoding, "replace")
                line = lines + good.count("\n")
                raise DataError(
                    f"{name} line {line}: is not {encoding} text; give its encoding, as in --encoding "
                    f"{'cp1252' if plain else 'utf-8'}"
                ) from None
            between = bool(decoder.getstate()[0])
        if (zero := text.find(b"\0")) >= 0:
            line = lines + text.count(b"\n", 0, zero)
            raise DataError(f"{name} line {line}: holds a NUL byte: it is no text, or a damaged one")
        lines += text.count(b"\n")
        if text:
            yield text
