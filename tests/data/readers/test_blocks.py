"""Blocks of whole rows: wherever a text is cut, its rows are the same."""

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.readers.block_parser import BlockParser
from neuroforge_jax.data.readers.blocks import cut_blocks
from neuroforge_jax.data.readers.dialect import Dialect, split_rows
from neuroforge_jax.data.readers.layout import Layout
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke


def rows_of(text: str, dialect: Dialect) -> list[list[str]]:
    return [row.cells for row in split_rows(dialect.simplify(text.encode()).decode(), dialect)]


PIECES = ('"', '""', ",", "\n", "\r\n", "a", " ", 'b"', ',"', '",', '"\n', "\n\n")


@settings(max_examples=100, deadline=None)
@given(
    text=st.lists(st.sampled_from(PIECES), max_size=40).map("".join),
    chunk=st.integers(1, 7),
    size=st.integers(1, 20),
    dialect=st.sampled_from([Dialect(","), Dialect(",", quote=""), Dialect(",", blank_quotes=True), Dialect(" ")]),
)  # fmt: skip
def test_cut_anywhere_the_rows_are_the_same(text, chunk, size, dialect):
    content = text.encode()
    chunks = [content[at : at + chunk] for at in range(0, len(content), chunk)]
    whole = list(split_rows(dialect.simplify(content).decode(), dialect))
    try:
        blocks = list(cut_blocks("it", chunks, dialect, size))
    except DataError as error:
        if dialect == Dialect(","):  # others are made simple first, which leaves an open quote as it is
            open_row = next(row for row in whole if not row.closed)
            assert int(str(error).split()[2].rstrip(":")) >= open_row.line
        return
    assert all(row.closed for row in whole)
    assert b"".join(block.content for block in blocks) == content
    assert [row for block in blocks for row in rows_of(block.content.decode(), dialect)] == rows_of(
        text, dialect
    )
    ends = accumulate((block.content.count(b"\n") for block in blocks), initial=1)
    assert [block.line for block in blocks] == list(ends)[:-1]


RAW = st.text(st.sampled_from("ab\"' é1"), max_size=5).filter(lambda cell: not cell.lstrip().startswith('"'))
QUOTED = st.text(st.sampled_from("ab\"',\n\r é"), max_size=6).map(
    lambda cell: '"' + cell.replace('"', '""') + '"'
)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(RAW | QUOTED, RAW | QUOTED), min_size=1, max_size=8))
def test_rows_are_split_as_arrow_splits_them(rows):
    text = "".join(f"{first},{second}\n" for first, second in rows)
    layout = Layout(Dialect(","), frozenset({"?"}), frozenset(), ("x", "y"), frozenset(), False, ())
    (block,) = cut_blocks("it", [text.encode()], layout.dialect, 1)
    columns = BlockParser("it", layout).parse(block, texts={"x", "y"})
    by_arrow = list(zip(columns["x"].to_pylist(), columns["y"].to_pylist(), strict=True))
    assert by_arrow == [tuple(cell.strip() for cell in row.cells) for row in split_rows(text, layout.dialect)]


@pytest.mark.parametrize(
    ("dialect", "text", "rows"),
    [
        (Dialect(" "), '  a   "b  c"\t d \n\te f g\n', [["a", "b  c", "d"], ["e", "f", "g"]]),
        (Dialect(",", blank_quotes=True), '1,  "a, ""b"""\n "2",c\n', [["1", 'a, "b"'], ["2", "c"]]),
        (Dialect(";", single_quotes=True), "'a;b';\"c;'d';\"\n'e\"';'tis\n", [["a;b", "c;'d';"], ['e"', "'tis"]]),
    ],
)  # fmt: skip
def test_other_dialects_are_made_simple(dialect, text, rows):
    assert rows_of(text, dialect) == rows
    assert dialect.simplify(text.encode()).count(b"\n") == text.count("\n")
