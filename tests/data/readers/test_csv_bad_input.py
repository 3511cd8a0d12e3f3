"""Text tables that are none: one line that says what is wrong, in bounded memory, and never a crash."""

import errno
import gzip
import os
import sqlite3
import threading
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers import blocks, source
from neuroforge_jax.data.readers import csv as reader
from neuroforge_jax.data.readers.csv import read_csv, stream_csv
from neuroforge_jax.errors import ConfigError, DataError
from neuroforge_jax.system.memory import Memory
from tests.data.readers.fuzz_csv import fuzz

pytestmark = pytest.mark.smoke


@pytest.fixture
def complaint(tmp_path):
    def complaint(content: str | bytes, kind=DataError, **config) -> str:
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(kind) as caught:
            read_csv(path, DataConfig(**config))
        message = str(caught.value)
        assert "\n" not in message
        assert kind is ConfigError or message.startswith(str(path))
        return message.removeprefix(str(path))

    return complaint


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("", ": is empty"),
        ("\n \n\n", ": is empty"),
        ("a,b\n", ": has a header and no rows"),
        ("x\n1\n2\n", ": has one column only, 'x', when commas separate cells"),
        ("a,b,a\n1,2,3\n", ": columns 1 and 3 are both named 'a'; rename one"),
        ('a," a "\n1,2\n', ": columns 1 and 2 are both named 'a'"),
        ("Report\n\n7,8,1\n1,2,3\n4,5,6\n", " line 1: has 1 cell, and the rows below have 3"),
        ("  \na,b,c\n1,2,3\n\n\t\n1,2,3,4\n", " line 6: has 4 cells, and the header has 3"),
        ('a,b\n"x\ny",2\n1\n', " line 4: has 1 cell, and the header has 2"),
        ("1.5,2\n1,2\n3,4,5\n1,2\n" + "1,2\n" * 20, " line 3: has 3 cells, and the first row has 2"),
        ("a;b\n" + '"1";2\n' * 30 + '"x;2\n3;4\n', " line 32: a quote opens here and is never closed"),
        (b"a,b\n1,2\n\0,3\n", " line 3: holds a NUL byte"),
        (b"a,b\n" + b"1,2\n" * 300_000 + b"\xe4,3\n", " line 300002: is not utf-8 text; give its encoding"),
        (bytes(range(1, 32)) * 9, ": is no text"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, ": is a PNG picture"),
        (b"PAR1" + b"\0" * 50, ": is a Parquet file; name it .parquet"),
        ("<!DOCTYPE html><html><body>404", ": is a page of HTML or XML"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-9], ": the gzip stream is cut short"),
        (gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-9] + b"\7" * 9, ": the gzip stream is corrupt"),
        (b"\x1f\x8b\x08\0" + b"\7" * 50, ": the gzip stream is corrupt"),
        (gzip.compress(gzip.compress(b"a,b\n", mtime=0), mtime=0), ": is gzip within gzip"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(complaint, content, fact):
    assert complaint(content).startswith(fact)


def test_an_invalid_character_names_the_flag(complaint):
    assert "--encoding cp1252" in complaint("a,b\nü,1\n".encode("cp1252"), encoding="utf-8")


@pytest.mark.parametrize(
    ("config", "fact"),
    [
        ({"encoding": "klingon"}, "--encoding klingon: is not known"),
        ({"encoding": "rot13"}, "--encoding rot13: is not known"),
        ({"delimiter": "\n"}, "cannot separate cells"),
        ({"delimiter": '"'}, "cannot separate cells"),
        ({"delimiter": "§"}, "cannot separate cells"),
    ],
)
def test_what_cannot_be_an_encoding_or_a_delimiter_is_refused(complaint, config, fact):
    assert fact in complaint("a,b\n1,2\n", ConfigError, **config)


def test_workbooks_databases_and_archives_are_named(complaint, tmp_path):
    for member, fact in (("xl/workbook.xml", ": is an Excel workbook"), ("table.csv", ": is a zip archive")):
        with zipfile.ZipFile(tmp_path / "packed", "w") as packed:
            packed.writestr(member, "a,b")
        assert complaint((tmp_path / "packed").read_bytes()).startswith(fact)
    with sqlite3.connect(tmp_path / "base") as base:
        base.execute("create table t (a)")
    base.close()
    assert complaint((tmp_path / "base").read_bytes()).startswith(": is an SQLite database")


def test_what_is_no_file_is_refused_and_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, fact in {"": "is a folder", "pipe": "no regular file", "none": "No such file"}.items():
        with pytest.raises(DataError, match=fact):
            read_csv(tmp_path / name, DataConfig())


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "closed").write_text("a,b\n1,2\n")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"closed: cannot be read \(Permission denied\)"):
        read_csv(tmp_path / "closed", DataConfig())


def test_a_first_row_of_a_megabyte_is_refused(complaint):
    assert complaint(b"a,b," * 2**19) == ": its first row does not end within a megabyte; is it no table?"


@pytest.mark.parametrize("start", [b'a,b\n1,"', b"a,b\n1,"])
def test_a_row_without_an_end_is_refused_before_memory_is_gone(monkeypatch, tmp_path, start):
    monkeypatch.setattr(blocks, "MAX_ROW_BYTES", 2**22)
    monkeypatch.setattr(reader, "BLOCK_BYTES", 2**20)
    content = gzip.compress(start + b"x,y" * (2**25 // 3), compresslevel=1)
    (tmp_path / "long.csv.gz").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match="does not end within 4 MB; is a quote left open"):
        read_csv(tmp_path / "long.csv.gz", DataConfig())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**22


def test_a_gzip_bomb_of_rows_is_refused_with_the_figures(monkeypatch, complaint):
    monkeypatch.setattr(reader, "memory", lambda: Memory(2**30, 10_000_000, None))
    message = complaint(gzip.compress(b"a,b\n" + b"1,2\n" * 2**20, compresslevel=1))
    assert "does not fit into memory: its first " in message
    assert "a table may take 8.0 MB here" in message


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    pieces = stream_csv(path, DataConfig(), {"a": "number", "b": "number"}, 1)
    assert len(next(pieces)) == 1
    with path.open("a") as file:
        file.write("5,6\n")
    with pytest.raises(DataError, match=r"log.csv: changed while it was read"):
        list(pieces)


def test_a_stream_that_is_left_early_leaves_no_thread(tmp_path, monkeypatch):
    for module, name in ((source, "START_BYTES"), (source, "CHUNK_BYTES"), (reader, "BLOCK_BYTES")):
        monkeypatch.setattr(module, name, 2**10)
    (tmp_path / "long.csv").write_text("a,b\n" + "1,2\n" * 2_000)
    before = threading.active_count()
    pieces = stream_csv(tmp_path / "long.csv", DataConfig(), {"a": "number", "b": "number"}, 100)
    next(pieces)
    assert threading.active_count() > before
    pieces.close()
    assert threading.active_count() == before


def test_damaged_files_are_tables_or_one_line():
    assert 0 < fuzz(seed=0, count=150) < 150
