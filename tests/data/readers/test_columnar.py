"""Parquet and Arrow files: what is read of them, and what is said of those that are not what they claim to be."""

import contextlib
from datetime import date, datetime, time
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.readers import columnar
from neuroforge_jax.data.readers.arrow_sizes import batch_sizes
from neuroforge_jax.data.readers.columnar import read_columnar, stream_columnar
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke

KINDS = ("parquet", "file", "compressed", "stream")
DATA = pa.table(
    {
        "whole": [1, None, 3],
        "float": pa.array([1.5, float("nan"), None], pa.float32()),
        "half": pa.array([np.float16(1), None, np.float16(2)]),
        "money": pa.array([Decimal("1.25"), None, Decimal("-3.00")]),
        "text": [" x ", "  ", "y"],
        "view": pa.array(["q", None, "r"], pa.string_view()),
        "level": pa.array(["u", "v", None]).dictionary_encode(),
        "code": pa.array([1, 2, None]).dictionary_encode(),
        "truth": [True, None, False],
        "day": pa.array([date(2024, 1, 31), None, date(1900, 1, 1)]),
        "when": pa.array([0, 1_500_000_000, None], pa.timestamp("ns", "UTC")),
        "clock": pa.array([time(13, 45), None, time(0, 0, 1)]),
        "span": pa.array([1500, None, 3], pa.duration("ms")),
        "nothing": pa.nulls(3),
    }
)
MEANING = {
    "whole": [1, None, 3],
    "float": [1.5, None, None],
    "half": [1, None, 2],
    "money": [1.25, None, -3],
    "text": ["x", None, "y"],
    "view": ["q", None, "r"],
    "level": ["u", "v", None],
    "code": [1, 2, None],
    "truth": [True, None, False],
    "day": [datetime(2024, 1, 31), None, datetime(1900, 1, 1)],
    "when": [datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 1, 500_000), None],
    "clock": [49_500, None, 1],
    "span": [1.5, None, 0.003],
    "nothing": [None, None, None],
}


def write(path, data: pa.Table, kind: str = "parquet"):
    if kind == "parquet":
        pq.write_table(data, path)
    elif kind == "stream":
        with pa.ipc.new_stream(path, data.schema) as writer:
            writer.write_table(data)
    else:
        options = pa.ipc.IpcWriteOptions(compression="zstd" if kind == "compressed" else None)
        with pa.ipc.new_file(path, data.schema, options=options) as writer:
            writer.write_table(data)
    return path


def complaint(path, *args) -> str:
    with pytest.raises(DataError) as caught:
        read_columnar(path, *args)
    with pytest.raises(DataError):
        list(stream_columnar(path, 2, *args))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_read_by_its_content_whatever_its_name(tmp_path, kind):
    path = write(tmp_path / "table.csv", DATA, kind)
    table = read_columnar(path)
    assert {name: values.to_pylist() for name, values in table.columns.items()} == MEANING
    kinds = {values.type for values in table.columns.values()}
    assert kinds == {pa.float64(), pa.string(), pa.bool_(), pa.timestamp("us")}
    assert (table.name, table.notes, len(table)) == (str(path), (), 3)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_are_the_table(tmp_path, kind):
    path = write(tmp_path / "table", pa.concat_tables([DATA] * 5).unify_dictionaries(), kind)
    pieces = list(stream_columnar(path, 4))
    assert all(0 < len(piece) <= 4 for piece in pieces)
    for name, values in MEANING.items():
        assert [cell for piece in pieces for cell in piece.columns[name].to_pylist()] == values * 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_no_table_can_hold_is_named_and_may_be_dropped(tmp_path, kind):
    data = pa.table({"tags": [["a"], ["b"]], "x": [1, 2], "raw": [b"1", b"2"]})
    path = write(tmp_path / "table", data, kind)
    assert complaint(path).startswith("column 'tags' holds list")
    assert "column 'raw' holds binary" in complaint(path, ["tags"])
    assert "leave it out by --drop 'raw'" in complaint(path, ["tags"])
    for table in (read_columnar(path, ["tags", "raw"]), *stream_columnar(path, 5, ["tags", "raw"])):
        assert list(table.columns) == ["tags", "x", "raw"]
        assert table.columns["x"].to_pylist() == [1, 2]
        assert table.columns["tags"].null_count == 2


def test_digits_that_float64_cannot_hold_are_said(tmp_path):
    exact = pa.array([2**53, 2**60, -(2**62)])
    lost = pa.array([2**53 + 1, 0, 5])
    huge = pa.array([2**64 - 1, 0, 5], pa.uint64())
    table = read_columnar(write(tmp_path / "t", pa.table({"exact": exact, "lost": lost, "huge": huge})))
    assert [note.partition(" holds")[0] for note in table.notes] == ["column 'lost'", "column 'huge'"]
    assert table.columns["exact"].to_pylist() == [2.0**53, 2.0**60, -(2.0**62)]


def test_a_zone_is_taken_into_utc_and_said(tmp_path):
    data = pa.table({"at": pa.array([0], pa.timestamp("s", "Europe/Berlin"))})
    table = read_columnar(write(tmp_path / "t", data))
    assert table.columns["at"].to_pylist() == [datetime(1970, 1, 1)]
    assert table.notes == ("column 'at': times with the zone Europe/Berlin are taken into UTC",)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_short_is_said(tmp_path, kind):
    whole = write(tmp_path / "table", DATA, kind).read_bytes()
    for share in (0.3, 0.6, 0.9):
        (tmp_path / "table").write_bytes(whole[: int(share * len(whole))])
        assert "cut short" in complaint(tmp_path / "table")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty; a Parquet, Arrow or Feather file is expected"),
        (b"a,b\r\n1,2\r\n", "this is a text file; a Parquet"),
        (b"PK\3\4" + b"x" * 50, "this is a zip file or a workbook; a Parquet"),
        (b"\1\2\3\4\5", "it begins with 01 02 03 04; a Parquet"),
        (b"PAR1" + b"x" * 50 + b"PARE", "is encrypted; save it without encryption"),
        (b"PARE" + b"x" * 50 + b"PARE", "is encrypted; save it without encryption"),
        (
            b"FEA1" + b"x" * 50 + b"FEA1",
            "is a Feather file of version 1, which is not read; write it again as",
        ),
        (b"PAR1PAR1", "is damaged or cut short"),
        (b"ARROW1\0\0ARROW1", "is damaged or cut short"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f", "is damaged or cut short"),
    ],
)
def test_what_is_no_such_file_is_said(tmp_path, content, words):
    (tmp_path / "table").write_bytes(content)
    assert words in complaint(tmp_path / "table")


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_nothing_is_said(tmp_path, kind):
    assert "has no columns" in complaint(write(tmp_path / "t", pa.table({}), kind))
    empty = write(tmp_path / "t", DATA.slice(0, 0), kind)
    with pytest.raises(DataError, match="has columns and no rows"):
        read_columnar(empty)
    (piece,) = stream_columnar(empty, 2)  # there is nothing to learn from it, and nothing to predict
    assert (list(piece.columns), len(piece)) == (DATA.column_names, 0)
    twice = pa.table([[1], [2]], names=["a", "a"])
    assert "two columns are named 'a'" in complaint(write(tmp_path / "t", twice, kind))


def test_what_is_said_of_feather_1_makes_a_file_that_is_read(tmp_path):
    """The command in the message is carried out as it stands there."""
    with pytest.warns(DeprecationWarning, match="V1"):
        feather.write_feather(pa.table({"x": [1, 2]}), tmp_path / "old.feather", version=1)
    code = complaint(tmp_path / "old.feather").partition(' python -c "')[2].removesuffix('"')
    with pytest.warns(DeprecationWarning, match="V1"), contextlib.chdir(tmp_path):
        exec(code, {})
    assert read_columnar(tmp_path / "old-2.feather").columns["x"].to_pylist() == [1, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, kind):
    path = write(tmp_path / "table", DATA, kind)
    pieces = stream_columnar(path, 1)
    assert len(next(pieces)) == 1
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="table: changed while it was read; try again"):
        list(pieces)


def test_a_folder_or_nothing_is_no_file(tmp_path):
    assert complaint(tmp_path) == "is not there, or is not a file"
    assert complaint(tmp_path / "nothing") == "is not there, or is not a file"


BOMBS = {
    "texts": pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int32)), pa.array(["x" * 10**5])),
    "numbers": pa.array(np.zeros(2_000_000)),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2**31 - 1], pa.int32()), pa.array([1.0])),
}


@pytest.mark.parametrize(
    ("bomb", "kind"), [(b, k) for b in BOMBS for k in KINDS if (b, k) != ("runs", "parquet")]
)
def test_a_small_file_that_grows_beyond_the_memory_is_refused_in_time(tmp_path, monkeypatch, bomb, kind):
    path = write(tmp_path / "table", pa.table({"a": BOMBS[bomb]}), kind)
    monkeypatch.setattr(columnar, "free_bytes", lambda: 8_000_000)
    with pytest.raises(DataError, match=r"of memory or more, and may take 6\.4 MB, 80% of what is free"):
        read_columnar(path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_claims_is_refused_before_any_of_it_is_read(tmp_path, monkeypatch, kind):
    path = write(tmp_path / "table", pa.table({"a": BOMBS["numbers"]}), kind)
    monkeypatch.setattr(columnar, "free_bytes", lambda: 8_000_000)
    monkeypatch.setattr(columnar._Source, "batches", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DataError, match="of memory or more"):
        read_columnar(path)
    if kind != "parquet":  # which is decoded in pieces of any size
        with pytest.raises(DataError, match="of memory or more"):
            next(stream_columnar(path, 10))


def test_the_size_of_a_compressed_batch_is_that_of_its_buffers(tmp_path):
    path = write(tmp_path / "table", pa.table({"a": BOMBS["numbers"]}), "compressed")
    assert path.stat().st_size < 1_000_000
    with path.open("rb") as file:
        file.seek(8)
        assert sum(batch_sizes(file)) == 16_000_000


def test_an_offset_that_points_outside_is_an_error(tmp_path):
    path = write(tmp_path / "table", pa.table({"a": ["abcdefg", "hij"]}), "stream")
    good, bad = np.array([0, 7, 10], "<i4").tobytes(), np.array([0, 2**30, 10], "<i4").tobytes()
    assert path.read_bytes().count(good) == 1
    path.write_bytes(path.read_bytes().replace(good, bad))
    assert "is damaged" in complaint(path)


def test_a_file_larger_than_the_memory_is_read_in_pieces(tmp_path, monkeypatch):
    path = write(tmp_path / "table", pa.table({"a": np.arange(2_000_000.0)}))
    monkeypatch.setattr(columnar, "free_bytes", lambda: 8_000_000)
    assert sum(len(piece) for piece in stream_columnar(path, 50_000)) == 2_000_000


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_is_an_error_of_one_line_or_harmless(tmp_path, kind, data):
    path = tmp_path / "whole"
    if not path.exists():
        write(path, DATA, kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.sampled_from([0, 1, 127, 128, 255])
        )
    (tmp_path / "damaged").write_bytes(content)
    try:
        assert len(read_columnar(tmp_path / "damaged")) == sum(
            map(len, stream_columnar(tmp_path / "damaged", 2))
        )
    except DataError as error:
        assert "\n" not in str(error)
