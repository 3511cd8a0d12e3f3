"""IDX files, the format of MNIST: a header of big-endian numbers, then the items.

    0 0 code rank | rank × uint32 dimensions | items, last dimension fastest

Whatever the bytes are, the answer is the array or a DataError of one line. Nothing is allocated on the word
of a header: a raw file must have exactly the size that its header claims, and a compressed one grows only
with what is really decompressed and is left as soon as it holds more than it declared.
"""

import gzip
import hashlib
import io
import math
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from neuroforge_jax.errors import DataError

MAX_BYTES = 4 * 2**30
"""Largest payload that is read at all: 4 GiB, a hundred times MNIST."""

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 2**18
MAX_RANK = 32  # older NumPy has no arrays of more axes


class IdxError(DataError):
    """A file that is not the IDX file it should be; `fact` says why, without the file's name."""

    def __init__(self, name: str, fact: str) -> None:
        super().__init__(f"{name}: {fact}; delete the file and fetch it again")
        self.fact = fact


def read_idx(path: Path, *, sha256: str | None = None) -> np.ndarray:
    """The array in an IDX file, raw or gzip by its content, in the machine's byte order.

    sha256: digest that the uncompressed payload must have. Raises DataError naming the file.
    """
    with _open(path) as file:
        return _read(file, os.fstat(file.fileno()).st_size, str(path), sha256)


def map_idx(path: Path) -> np.ndarray:
    """The array in a raw IDX file of any size, mapped: big-endian as it lies there, and read where it is used.

    Raises DataError naming the file, which must have the very size that its header claims.
    """
    with _open(path) as file:
        header = _header(file, str(path), max_bytes=2**62)
        header.check_size(os.fstat(file.fileno()).st_size, str(path))
    if not header.items_bytes:
        return np.zeros(header.shape, header.dtype)
    return np.memmap(path, header.dtype, mode="r", offset=len(header.content), shape=header.shape)


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        # Asked before opening: opening a pipe would wait for its writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is not a file; an IDX file is expected here")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def parse_idx(payload: bytes, name: str = "IDX data", *, sha256: str | None = None) -> np.ndarray:
    """The same for bytes in memory; `name` is what errors call them."""
    return _read(io.BytesIO(payload), len(payload), name, sha256)


def write_idx(path: Path, array: np.ndarray) -> Path:
    """Write an array as IDX, compressed if the name ends in .gz; equal arrays give equal bytes.

    Raises ValueError for a dtype or a rank that IDX does not have.
    """
    big_endian = array.dtype.newbyteorder(">")
    codes = [code for code, dtype in DTYPES.items() if np.dtype(dtype) == big_endian]
    if not codes or not 1 <= array.ndim <= MAX_RANK:
        raise ValueError(f"IDX has no arrays of {array.dtype} with {array.ndim} axes")
    header = struct.pack(f">4B{array.ndim}I", 0, 0, codes[0], array.ndim, *array.shape)
    payload = header + array.astype(big_endian).tobytes()
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(payload, mtime=0) if path.suffix == ".gz" else payload)
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if all goes well, and is removed if not."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(file: BinaryIO, size: int, name: str, sha256: str | None) -> np.ndarray:
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if not compressed:
        return _parse(file, size, name, sha256)
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            return _parse(stream, None, name, sha256)
    except EOFError:
        raise IdxError(name, "the gzip stream is cut short") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise IdxError(name, f"the gzip stream is corrupt ({error})") from None


@dataclass(frozen=True)
class _Header:
    content: bytes
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def claim(self) -> str:
        return f"the header claims {' × '.join(map(str, self.shape))} items of {self.dtype.itemsize} bytes"

    @property
    def items_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def check_size(self, size: int, name: str) -> None:
        if size != len(self.content) + self.items_bytes:
            whole = len(self.content) + self.items_bytes
            raise IdxError(name, f"{self.claim}, {whole:,} in all, and the file has {size:,}")


def _header(stream: BinaryIO | gzip.GzipFile, name: str, *, max_bytes: int) -> _Header:
    start = stream.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise IdxError(name, _what_it_is(start + stream.read(60)))
    code, rank = start[2:]
    if code not in DTYPES or not 1 <= rank <= MAX_RANK:
        raise IdxError(name, f"not an IDX file: type code {code:#04x} with {rank} axes does not exist")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise IdxError(name, "cut short within its header")
    header = _Header(start + sizes, np.dtype(DTYPES[code]), struct.unpack(f">{rank}I", sizes))
    # Zeros count as ones: 0 × 2^32 × 2^32 items are no bytes, and still no shape that NumPy can hold.
    if math.prod(axis or 1 for axis in header.shape) * header.dtype.itemsize > max_bytes:
        raise IdxError(name, f"{header.claim}, more than the {max_bytes:,} that are ever read")
    return header


def _parse(stream: BinaryIO | gzip.GzipFile, size: int | None, name: str, sha256: str | None) -> np.ndarray:
    """Read a payload from its header to its end; `size` is what there is, None where only reading tells."""
    header = _header(stream, name, max_bytes=MAX_BYTES)
    if size is not None:
        header.check_size(size, name)
    data = bytearray()
    while len(data) < header.items_bytes:
        chunk = stream.read(min(CHUNK, header.items_bytes - len(data)))
        if not chunk:
            raise IdxError(name, f"cut short: {header.claim}, and there are {len(data):,} bytes of items")
        data += chunk
    # Reading past the end is also what makes gzip compare its checksum.
    if stream.read(1):
        raise IdxError(name, f"too long: {header.claim}, and more follows")
    if sha256 is not None:
        digest = hashlib.sha256(header.content)
        digest.update(data)
        if digest.hexdigest() != sha256:
            raise IdxError(
                name, f"the contents are not the published ones (SHA-256 {digest.hexdigest()[:12]}…)"
            )
    array = np.frombuffer(data, header.dtype).reshape(header.shape)
    dtype = header.dtype
    return array if dtype.isnative else array.byteswap(inplace=True).view(dtype.newbyteorder())


def _what_it_is(start: bytes) -> str:
    if not start:
        return "the file is empty"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return "this is a web page, not an IDX file"
    return f"not an IDX file: it starts with {start[:4].hex(' ')}, not with 00 00"
