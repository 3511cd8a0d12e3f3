"""IDX files: the array, or one line that names the file and what is wrong with it."""

import gzip
import hashlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuroforge_jax.data.readers.idx import MAX_BYTES, parse_idx, read_idx, write_idx
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
PAYLOAD = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + ARRAY.tobytes()
DTYPES = [np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]


def complaint(payload: bytes, **options) -> str:
    with pytest.raises(DataError) as caught:
        parse_idx(payload, "some-file", **options)
    message = str(caught.value)
    assert message.startswith("some-file: ")
    assert "\n" not in message
    return message


def test_a_file_of_known_bytes_is_read():
    np.testing.assert_array_equal(parse_idx(PAYLOAD), ARRAY)
    assert parse_idx(PAYLOAD).dtype == np.uint8


def test_big_endian_numbers_arrive_in_native_order():
    array = parse_idx(struct.pack(">4BI2h", 0, 0, 0x0B, 1, 2, 1, -2))
    assert array.dtype.isnative
    assert array.tolist() == [1, -2]


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5))
    ),
    st.booleans(),
)
def test_what_is_written_is_read_back(tmp_path_factory, array, compress):
    path = tmp_path_factory.mktemp("idx") / ("a.gz" if compress else "a")
    again = read_idx(write_idx(path, array))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == compress
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_writing_twice_gives_equal_bytes(tmp_path):
    one, two = write_idx(tmp_path / "one.gz", ARRAY), write_idx(tmp_path / "two.gz", ARRAY)
    assert one.read_bytes() == two.read_bytes()


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = write_idx(tmp_path / "a", ARRAY)
    with pytest.raises(ValueError, match="complex128"):
        write_idx(path, ARRAY.astype(complex))
    with pytest.raises(ValueError, match="0 axes"):
        write_idx(path, np.uint8(3) * np.ones((), np.uint8))
    np.testing.assert_array_equal(read_idx(path), ARRAY)


def test_compression_is_known_by_content_not_by_name(tmp_path):
    (tmp_path / "raw.gz").write_bytes(PAYLOAD)
    (tmp_path / "packed").write_bytes(gzip.compress(PAYLOAD))
    for name in ("raw.gz", "packed"):
        np.testing.assert_array_equal(read_idx(tmp_path / name), ARRAY)


@pytest.mark.parametrize(
    ("length", "fact"),
    [
        (0, "is empty"),
        (3, "starts with 00 00 08"),
        (15, "within its header"),
        (39, "40 in all, and the file has 39"),
    ],
)
def test_a_truncated_file_is_named(length, fact):
    assert fact in complaint(PAYLOAD[:length])


@pytest.mark.parametrize("length", range(len(PAYLOAD)))
def test_no_truncation_goes_unseen(length):
    complaint(PAYLOAD[:length])
    complaint(gzip.compress(PAYLOAD[:length]))


def test_trailing_bytes_are_named():
    assert "40 in all, and the file has 41" in complaint(PAYLOAD + b"x")
    assert "more follows" in complaint(gzip.compress(PAYLOAD + b"x"))


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><html>", b"\n\n <html>", b"\xef\xbb\xbf<html>", b"<?xml ?><Error>"]
)
def test_a_web_page_is_called_a_web_page(page):
    assert "web page" in complaint(page)
    assert "web page" in complaint(gzip.compress(page))


def test_an_unknown_type_or_rank_is_named():
    assert "0x0a" in complaint(b"\0\0\x0a\x01" + PAYLOAD[4:])
    assert "0 axes" in complaint(b"\0\0\x08\x00")
    assert "255 axes" in complaint(b"\0\0\x08\xff" + bytes(1020))


def test_a_corrupt_gzip_stream_is_named():
    packed = bytearray(gzip.compress(PAYLOAD))
    assert "cut short" in complaint(bytes(packed[:-9]))
    assert "cut short" in complaint(bytes(packed[:5]))
    packed[-8] ^= 1
    assert "CRC" in complaint(bytes(packed))


def test_other_contents_than_the_published_are_named():
    digest = hashlib.sha256(PAYLOAD).hexdigest()
    np.testing.assert_array_equal(parse_idx(gzip.compress(PAYLOAD), sha256=digest), ARRAY)
    assert "not the published" in complaint(PAYLOAD[:-1] + b"x", sha256=digest)


def peak_bytes(payload: bytes) -> int:
    tracemalloc.start()
    try:
        complaint(payload)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_header_allocates_nothing_by_its_word_alone():
    claims_3_gib = struct.pack(">4B2I", 0, 0, 8, 2, 2**16, 3 * 2**14)
    assert peak_bytes(claims_3_gib + b"few") < 2**20
    assert peak_bytes(gzip.compress(claims_3_gib + b"few")) < 2**21


def test_a_gzip_bomb_is_left_where_it_exceeds_its_header():
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = (
        packer.compress(PAYLOAD)
        + b"".join(packer.compress(bytes(2**20)) for _ in range(200))
        + packer.flush()
    )
    assert peak_bytes(bomb) < 2**21


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 2, (0, 2**32 - 1, 2**32 - 1), (MAX_BYTES // 4, 5)])
def test_a_size_beyond_the_cap_is_refused(shape):
    header = struct.pack(f">4B{len(shape)}I", 0, 0, 8, len(shape), *shape)
    assert "ever read" in complaint(header)
    assert "ever read" in complaint(gzip.compress(header))


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent.*No such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="is not a file"):
        read_idx(tmp_path)


def array_or_data_error(payload: bytes) -> None:
    try:
        assert isinstance(parse_idx(payload), np.ndarray)
    except DataError as error:
        assert "\n" not in str(error)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([b"", b"\0\0", b"\0\0\x08\x01", b"\x1f\x8b", b"\x1f\x8b\x08\0"]), st.binary(max_size=80)
)
def test_any_bytes_give_an_array_or_a_data_error(start, rest):
    array_or_data_error(start + rest)


@settings(deadline=None, max_examples=300)
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
    st.integers(0, 60),
)
def test_a_damaged_file_gives_an_array_or_a_data_error(compress, changes, cut):
    damaged = bytearray(gzip.compress(PAYLOAD, mtime=0) if compress else PAYLOAD)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    array_or_data_error(bytes(damaged))
    array_or_data_error(bytes(damaged[:cut]))
