"""What the batches of an Arrow stream take in memory, read from their headers, before any of them is decompressed.

A message is its length, a table of FlatBuffers that says what it is, and a body of buffers; where it is
compressed, each buffer begins with its size as an int64, or with -1 if it is not compressed after all. The layout
is that of the Arrow columnar format, `Message.fbs`.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

from flatbuffers import encode, packer
from flatbuffers.number_types import Int64Flags, Uint8Flags
from flatbuffers.table import Table

HEADER_TYPE, HEADER, BODY_LENGTH = 6, 8, 10  # of a Message
DATA = 6  # of a DictionaryBatch
LENGTH, BUFFERS, COMPRESSION = 4, 8, 10  # of a RecordBatch
DICTIONARY_BATCH, RECORD_BATCH = 2, 3


def batch_sizes(file: BinaryIO) -> Iterator[int]:
    """The bytes of each batch and dictionary in a stream that begins here: of its buffers, or of a number a row.

    Raises what struct raises, ValueError or IndexError, where the file is damaged.
    """
    while len(mark := file.read(4)) == 4:
        (length,) = struct.unpack("<i", mark if mark != b"\xff\xff\xff\xff" else file.read(4))
        if not length:
            return
        if length < 0:
            raise ValueError("a message has a length below 0")
        header = file.read(length)
        if len(header) < length:
            raise ValueError("a message is cut short")
        message = Table(header, encode.Get(packer.uoffset, header, 0))
        body = file.tell()
        yield _batch_size(message, file, body)
        body_length = message.GetSlot(BODY_LENGTH, 0, Int64Flags)
        if body_length < 0:
            raise ValueError("a message has a length below 0")
        file.seek(body + body_length)


def _batch_size(message: Table, file: BinaryIO, body: int) -> int:
    kind = message.GetSlot(HEADER_TYPE, 0, Uint8Flags)
    if kind not in (DICTIONARY_BATCH, RECORD_BATCH):
        return 0
    batch = _child(message, HEADER)
    if kind == DICTIONARY_BATCH:
        batch = _child(batch, DATA)
    at = batch.Offset(BUFFERS)
    if not at:
        return 0
    start, count = batch.Vector(at), batch.VectorLen(at)
    buffers = struct.iter_unpack("<qq", batch.Bytes[start : start + 16 * count])
    compressed = batch.Offset(COMPRESSION) != 0
    return sum(
        _buffer_size(file, body + offset, length) if compressed else length for offset, length in buffers
    )


def _buffer_size(file: BinaryIO, at: int, length: int) -> int:
    if not length:
        return 0
    file.seek(at)
    (size,) = struct.unpack("<q", file.read(8))
    return length if size == -1 else size


def _child(table: Table, slot: int) -> Table:
    at = table.Offset(slot)
    if not at:
        raise ValueError("a message says less than it must")
    return Table(table.Bytes, table.Indirect(at + table.Pos))
