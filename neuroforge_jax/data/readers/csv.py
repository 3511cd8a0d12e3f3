"""Text tables: .csv, .tsv and .txt, plain or gzip, as people have them.

    source → layout, of its first megabyte → blocks of whole rows → columns of each block, on all cores → Table

What was found out about the file is said in `Table.notes`; each of it can be said in `DataConfig` instead.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers.block_parser import BlockParser
from neuroforge_jax.data.readers.blocks import Block, cut_blocks
from neuroforge_jax.data.readers.layout import find_layout
from neuroforge_jax.data.readers.missing import mark_missing, read_missing
from neuroforge_jax.data.readers.source import TextSource, open_text
from neuroforge_jax.data.table import Table
from neuroforge_jax.errors import DataError
from neuroforge_jax.system.memory import memory, resident_bytes, text

BLOCK_BYTES, BLOCK_BYTES_A_COLUMN = 2**22, 2**11
"""A block is so large, or larger where there are many columns, each of which costs the same however short it is."""
MAX_THREADS = 8
SHARE_OF_MEMORY = 0.8
"""Of what this process may still use: what the columns of a table may take."""

Columns = dict[str, pa.Array]


def read_csv(path: Path, config: DataConfig, like: Mapping[str, str] | None = None) -> Table:
    """The table in a text file.

    A column is float64 where every cell that is not missing is a plain number in the file's notation (`007` is
    none) or infinite, else string, without blanks at the ends of cells. like: "number" or "text" by the name of a
    column, where the file must be read as an earlier one was: a column of texts is one here too, one of numbers if
    it can be; a file without a header, of as many columns, takes the names in their order. Raises DataError for
    what is no table, with the line where there is one, and for one that does not fit into memory; ConfigError for
    an encoding or a delimiter that cannot be one.
    """
    like = like or {}
    with open_text(path, config.encoding) as source:
        parser = _parser(source, config, like)
        texts = {name for name in parser.layout.names if like.get(name) == "text"}
        batches = _read_batches(parser, source, texts)
        _restore_texts(parser, batches, path, source.encoding)
    if sum(map(_rows, batches)) == 0:
        raise DataError(f"{path}: has a header and no rows")
    columns = {name: pa.chunked_array([batch[name] for batch in batches]) for name in parser.layout.names}
    return read_missing(_table(parser, columns), config.missing, config.keys, parser.marked)


def stream_csv(
    origin: Path | BinaryIO, config: DataConfig, like: Mapping[str, str], rows: int
) -> Iterator[Table]:
    """The table in a text file or a binary stream, in tables of at most so many rows, read as `read_csv` reads it.

    A column is float64 where `like` says "number", and string in pieces near a cell that is none; so are columns
    that `like` does not name, of which those without a name are left out. A header without rows is one table of
    none. Each piece has the notes.
    """
    with open_text(origin, config.encoding) as source:
        parser = _parser(source, config, like)
        layout = parser.layout
        names = [name for at, name in enumerate(layout.names) if at not in layout.unnamed or name in like]
        texts, only = {name for name in names if like.get(name) != "number"}, frozenset(names)
        batches = _parse_blocks(parser, source, lambda _, block: parser.parse(block, texts, only))
        first = next(batches)
        for batch in chain([first], batches):
            # Of no rows there is one piece, if they are all.
            for start in range(0, _rows(batch) or int(batch is first), rows):
                piece = {name: pa.chunked_array([batch[name].slice(start, rows)]) for name in names}
                table = Table(source.name, piece, _notes(layout.facts), layout.dialect.decimal)
                yield mark_missing(table, config.missing, config.keys)[0]


def _parser(source: TextSource, config: DataConfig, like: Mapping[str, str]) -> BlockParser:
    layout = find_layout(source, config, like)
    zeros = frozenset(name for name in like if like[name] == "number")
    return BlockParser(source.name, layout, zeros, config.keys)


def _rows(batch: Columns) -> int:
    return len(next(iter(batch.values())))


def _parse_blocks(
    parser: BlockParser, source: TextSource, parse: Callable[[int, Block], Columns]
) -> Iterator[Columns]:
    """What `parse` makes of each block and its number, in their order, on all cores."""
    size = max(BLOCK_BYTES, BLOCK_BYTES_A_COLUMN * len(parser.layout.names))
    chunks = source.without(parser.layout.skipped).chunks()
    blocks = enumerate(cut_blocks(source.name, chunks, parser.layout.dialect, size))
    first = list(islice(blocks, 2))
    if len(first) == 1:
        yield parse(*first[0])
        return
    threads = min(MAX_THREADS, pa.cpu_count())
    waiting: deque[Future[Columns]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for at, block in chain(first, blocks):
                waiting.append(pool.submit(parse, at, block))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read_batches(parser: BlockParser, source: TextSource, texts: set[str]) -> list[Columns]:
    """The columns of each block. texts: columns that are text from the first; those that prove to be are added."""
    allowed, held = float("inf") if source.whole else _usable_bytes(), 0
    batches = list[Columns]()
    for batch in _parse_blocks(parser, source, lambda _, block: parser.parse(block, texts)):
        texts.update(name for name, column in batch.items() if pa.types.is_string(column.type))
        held += sum(column.nbytes for column in batch.values())
        if held > allowed:
            raise DataError(
                f"{source.name}: does not fit into memory: its first {sum(map(_rows, [*batches, batch])):,} rows "
                f"take {text(held)}, and a table may take {text(allowed)} here; use fewer rows or columns"
            )
        batches.append(batch)
    return batches


def _usable_bytes() -> float:
    """What a table may take of the memory that this process may still use."""
    here = memory()
    left = None if here.limit_bytes is None else here.limit_bytes - (resident_bytes() or 0)
    known = [size for size in (here.available_bytes, left) if size is not None]
    return SHARE_OF_MEMORY * min(known, default=2**62)


def _restore_texts(parser: BlockParser, batches: list[Columns], path: Path, encoding: str) -> None:
    """Make each column of one type: where a block has texts, the numbers of others are read again, as texts."""
    texts = {name for batch in batches for name, column in batch.items() if pa.types.is_string(column.type)}
    wanted = [_numbers_among_texts(batch, texts) for batch in batches]
    if not any(wanted):
        return
    with open_text(path, encoding) as source:
        again = _parse_blocks(
            parser,
            source,
            lambda at, block: parser.parse(block, wanted[at], wanted[at]) if wanted[at] else {},
        )
        for batch, columns in zip(batches, again, strict=True):
            batch.update(columns)


def _numbers_among_texts(batch: Columns, texts: Set[str]) -> set[str]:
    """Columns of numbers that should be texts; those without a single one become so here."""
    numbers = {name for name in texts if not pa.types.is_string(batch[name].type)}
    empty = {name for name in numbers if batch[name].null_count == len(batch[name])}
    batch.update({name: pa.nulls(len(batch[name]), pa.string()) for name in empty})
    return numbers - empty


def _table(parser: BlockParser, columns: Mapping[str, pa.ChunkedArray]) -> Table:
    """With what is to be said of columns without a name: one that is empty too is left out."""
    layout = parser.layout
    unnamed = [layout.names[at] for at in sorted(layout.unnamed)]
    empty = [name for name in unnamed if columns[name].null_count == len(columns[name])]
    named = [f"{name} has no name" for name in unnamed if name not in empty]
    left_out = [f"{name}, without a name and a value, is left out" for name in empty]
    facts = [*layout.facts, *named, *left_out]
    return Table(
        parser.name,
        {name: column for name, column in columns.items() if name not in empty},
        _notes(facts),
        layout.dialect.decimal,
    )


def _notes(facts: Sequence[str]) -> tuple[str, ...]:
    return ("; ".join(facts),) if facts else ()
