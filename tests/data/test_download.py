"""Downloads, against servers of this test's own on 127.0.0.1."""

import gzip
import hashlib
import io
import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from neuroforge_jax.data import download as module
from neuroforge_jax.data.download import ARCHIVES, ArchiveFile, DownloadError, download
from neuroforge_jax.data.readers.idx import parse_idx, read_idx, write_idx

NAME = "labels.gz"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def archive(tmp_path):
    """The bytes of an archive, and its description by payload and by archive digest."""
    packed = write_idx(tmp_path / "source.gz", np.arange(200, dtype=np.uint8)).read_bytes()
    payload = gzip.decompress(packed)
    return (
        packed,
        ArchiveFile(NAME, payload_sha256=hashlib.sha256(payload).hexdigest()),
        ArchiveFile(NAME, archive_md5=hashlib.md5(packed).hexdigest()),
    )


@contextmanager
def mirror(answer):
    """A server whose every GET is answered by `answer(handler)`; gives its address."""
    leave = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.leave = leave
            answer(self)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a client that goes away is what some tests are about
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/some/folder/"
    finally:
        leave.set()
        server.shutdown()
        thread.join()
        server.server_close()


def gives(content: bytes, *, status=200, length=None):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def fails(file, mirrors, folder, **options) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        download([file], mirrors, folder, **options)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == []  # nothing under the final name, nothing left over
    return caught.value


def test_the_right_file_gets_its_name(tmp_path, archive):
    packed, by_payload, by_archive = archive
    asked = []

    def answer(handler):
        asked.append(handler.path)
        gives(packed)(handler)

    with mirror(answer) as address:
        for file in (by_payload, by_archive):
            folder = tmp_path / "new" / "folder"
            download([file], [address], folder)
            assert [path.name for path in folder.iterdir()] == [NAME]
            assert (folder / NAME).read_bytes() == packed
    assert asked == [f"/some/folder/{NAME}"] * 2


def test_another_compression_of_the_same_payload_passes(tmp_path, archive):
    packed, by_payload, by_archive = archive
    again = gzip.compress(gzip.decompress(packed), compresslevel=1, mtime=12345)
    with mirror(gives(again)) as address:
        download([by_payload], [address], tmp_path / "a")
        assert "MD5" in str(fails(by_archive, [address], tmp_path / "b"))


def test_a_mirror_with_other_contents_is_passed_over(tmp_path, archive):
    packed, *files = archive
    wrong = io.BytesIO()
    with gzip.open(wrong, "wb") as stream:
        stream.write(gzip.decompress(packed)[:-1] + b"\0")
    for number, file in enumerate(files):
        with mirror(gives(wrong.getvalue())) as first, mirror(gives(packed)) as second:
            folder = tmp_path / str(number)
            download([file], [first, second], folder)
            assert [path.name for path in folder.iterdir()] == [NAME]
            assert read_idx(folder / NAME)[-1] == 199
            assert "not the published" in str(fails(file, [first], tmp_path / f"{number} alone"))


@pytest.mark.parametrize("digit", "0f")
def test_an_archive_is_compared_with_its_digest_whichever_is_larger(digit, tmp_path, archive):
    with mirror(gives(archive[0])) as address:
        assert "MD5" in str(fails(ArchiveFile(NAME, archive_md5=digit * 32), [address], tmp_path / "a"))


def test_a_web_page_is_not_taken_for_the_file(tmp_path, archive):
    with mirror(gives(b"<!DOCTYPE html><title>Sign in</title>")) as address:
        assert "web page" in str(fails(archive[1], [address], tmp_path / "a"))


def test_an_http_error_is_named_by_its_number(tmp_path, archive):
    with mirror(gives(b"gone", status=404)) as address:
        assert "HTTP 404" in str(fails(archive[1], [address], tmp_path / "a"))


def test_a_connection_cut_in_half_leaves_nothing(tmp_path, archive):
    packed = archive[0]
    with mirror(gives(packed[: len(packed) // 2], length=len(packed))) as address:
        assert "cut off" in str(fails(archive[1], [address], tmp_path / "a"))


def test_a_silent_server_is_left_after_the_timeout(tmp_path, archive):
    with mirror(lambda handler: handler.leave.wait(10)) as address:
        begun = time.monotonic()
        error = fails(archive[1], [address], tmp_path / "a", read_seconds=0.3)
    assert "no answer" in str(error)
    assert error.reason == "no mirror answered"
    assert time.monotonic() - begun < 3


def test_a_server_that_stalls_half_way_is_left_after_the_timeout(tmp_path, archive):
    def answer(handler):
        gives(archive[0][:20], length=500)(handler)
        handler.wfile.flush()
        handler.leave.wait(10)

    with mirror(answer) as address:
        error = fails(archive[1], [address], tmp_path / "a", read_seconds=0.3)
    assert "silence" in str(error)


def test_a_dripping_server_is_cut_off(tmp_path, archive, monkeypatch):
    """Each drop starts the timeout of a read anew: only the watch ends this."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.4)

    def answer(handler):
        gives(b"", length=100_000)(handler)
        while not handler.leave.wait(0.05):
            handler.wfile.write(b"x")

    with mirror(answer) as address:
        begun = time.monotonic()
        error = fails(archive[1], [address], tmp_path / "a", read_seconds=1)
    assert "bytes in 0.4 s" in str(error)
    assert time.monotonic() - begun < 4


def test_an_endless_body_is_cut_off(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_BYTES", 10_000)
    with mirror(gives(bytes(50_000))) as address:
        assert "more than 10,000 bytes" in str(fails(archive[1], [address], tmp_path / "a"))


def test_all_mirrors_dead_names_each_and_says_what_to_do(tmp_path, archive):
    dead = [closed_port(), closed_port()]
    error = fails(archive[1], dead, tmp_path / "a")
    for address in dead:
        assert f"{address[7:-1]}: no connection" in str(error)
    assert f"into {tmp_path / 'a'} by hand" in str(error)
    assert error.reason == "no mirror answered"


def test_a_dead_mirror_is_asked_once(tmp_path, archive):
    packed, file, _ = archive
    asked = []

    def broken(handler):
        asked.append(handler.path)
        gives(b"", status=500)(handler)

    files = [ArchiveFile(f"{number}.gz", file.payload_sha256) for number in range(4)]
    with mirror(broken) as first, mirror(gives(packed)) as second:
        download(files, [first, second], tmp_path / "a")
    assert asked == ["/some/folder/0.gz"]
    assert len(list((tmp_path / "a").iterdir())) == 4


def test_old_leftovers_of_a_killed_download_are_removed(tmp_path, archive):
    old, young = tmp_path / "a" / ".x.gz.1.part", tmp_path / "a" / ".x.gz.2.part"
    old.parent.mkdir()
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with mirror(gives(archive[0])) as address:
        download([archive[1]], [address], tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [young.name, NAME]


def test_a_folder_that_cannot_be_made_is_named(tmp_path, archive):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"cannot be written.*--data-dir") as caught:
        download([archive[1]], [closed_port()], tmp_path / "file" / "mnist")
    assert caught.value.reason == "the data folder cannot be written"


def test_the_bar_is_drawn_on_a_terminal_only(tmp_path, archive, monkeypatch, capsys):
    with mirror(gives(archive[0])) as address:
        download([archive[1]], [address], tmp_path / "a")
        assert capsys.readouterr() == ("", "")
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        monkeypatch.setenv("FORCE_COLOR", "1")
        download([archive[1]], [address], tmp_path / "b")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert NAME in shown.err


def test_the_table_holds_two_mirrors_and_a_digest_a_file():
    for name, archive in ARCHIVES.items():
        assert archive.name == name
        assert len(archive.mirrors) == 2
        assert len(archive.files) == 4
        for file in archive.files:
            assert (file.payload_sha256 is None) != (file.archive_md5 is None)


def test_the_source_of_these_tests_is_an_idx_file(archive):
    assert parse_idx(archive[0]).tolist() == list(range(200))
