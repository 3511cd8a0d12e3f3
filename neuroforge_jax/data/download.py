"""Archives fetched from mirrors in turn, checked before they get their name.

A file is written beside its place, parsed, compared with its digest and only then renamed: a partial file is
never taken for a whole one. No mirror can hold a run up: connecting has 3 s, silence 10 s, and what drips
is cut off.
"""

import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from neuroforge_jax.data.readers.idx import IdxError, read_idx, replacing
from neuroforge_jax.errors import DataError

if TYPE_CHECKING:
    import requests

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
WATCH_SECONDS = 15.0
SLOWEST_BYTES = 2**14  # in WATCH_SECONDS, or the mirror is given up
LARGEST_BYTES = 2**27  # four times the largest archive here
STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class ArchiveFile:
    """A file of an archive, with the digest of its uncompressed payload or of the archive as published."""

    name: str
    payload_sha256: str | None = None
    archive_md5: str | None = None


@dataclass(frozen=True)
class Archive:
    """The four files of an MNIST-like dataset and the addresses under which mirrors hold them."""

    name: str
    files: tuple[ArchiveFile, ...]
    mirrors: tuple[str, ...]


class DownloadError(DataError):
    """A file could not be fetched; `reason` says why in a few words, without a path."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

ARCHIVES = {
    "mnist": Archive(
        "mnist",
        (
            ArchiveFile(TRAIN_IMAGES, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ArchiveFile(TRAIN_LABELS, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ArchiveFile(TEST_IMAGES, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ArchiveFile(TEST_LABELS, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
    ),
    "fashion-mnist": Archive(
        "fashion-mnist",
        (
            ArchiveFile(TRAIN_IMAGES, archive_md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            ArchiveFile(TRAIN_LABELS, archive_md5="25c81989df183df01b3e8a0aad5dffbe"),
            ArchiveFile(TEST_IMAGES, archive_md5="bef4ecab320f06d8554ea6380940ec79"),
            ArchiveFile(TEST_LABELS, archive_md5="bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
    ),
}


def download(
    files: Sequence[ArchiveFile], mirrors: Sequence[str], folder: Path, *, read_seconds: float = READ_SECONDS
) -> None:
    """Fetch `files` into `folder`, each from the first mirror that gives what its digest says.

    Raises DownloadError where every mirror fails for some file, or where the folder cannot be written.
    """
    mirrors = list(mirrors)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder)
        for file in files:
            reasons: dict[str, str] = {}
            for mirror in tuple(mirrors):
                try:
                    with replacing(folder / file.name) as temporary:
                        _fetch(mirror.rstrip("/") + "/" + file.name, file, temporary, read_seconds)
                    break
                except _MirrorError as error:
                    reasons[urlsplit(mirror).netloc or mirror] = str(error)
                    # Whoever failed is asked last from now on: a dead mirror costs its seconds once.
                    mirrors.append(mirrors.pop(mirrors.index(mirror)))
            else:
                raise _all_failed(file, reasons, folder)
    except OSError as error:
        raise DownloadError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another folder with --data-dir",
            "the data folder cannot be written",
        ) from None


class _MirrorError(Exception):
    """Why one mirror did not give one file, in a few words."""


NO_CONNECTION, NO_ANSWER = "no connection", "no answer"


def _all_failed(file: ArchiveFile, reasons: dict[str, str], folder: Path) -> DownloadError:
    listed = "; ".join(f"{mirror}: {reason}" for mirror, reason in reasons.items())
    silent = set(reasons.values()) <= {NO_CONNECTION, NO_ANSWER}
    return DownloadError(
        f"{file.name} could not be downloaded ({listed}); put the files of the dataset into {folder} by hand",
        "no mirror answered" if silent else listed,
    )


def _fetch(url: str, file: ArchiveFile, path: Path, read_seconds: float) -> None:
    """Write what `url` gives to `path` and check it; raises _MirrorError."""
    import requests

    with path.open("wb") as target:
        body = _Body(target)
        try:
            _transfer(url, file.name, body, read_seconds)
        except requests.RequestException as error:
            raise _MirrorError(_reason(error, body)) from None
        except ValueError:  # a length that is no number
            raise _MirrorError("an answer that is not HTTP") from None
    try:
        read_idx(path, sha256=file.payload_sha256)
    except IdxError as error:
        raise _MirrorError(error.fact) from None
    if file.archive_md5 is not None:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if digest != file.archive_md5:
            raise _MirrorError(f"the contents are not the published ones (MD5 {digest[:12]}…)")


class _Body:
    """The file that is being written: it counts, stops what is too large, and can be cut off by a watch."""

    def __init__(self, target: BinaryIO) -> None:
        self.target = target
        self.bytes = 0
        self.response: requests.Response | None = None
        self.too_slow = False
        self._over = threading.Event()

    def write(self, chunk: bytes) -> None:
        self.bytes += len(chunk)
        if self.bytes > LARGEST_BYTES:
            raise _MirrorError(f"more than {LARGEST_BYTES:,} bytes came")
        self.target.write(chunk)

    def flush(self) -> None:
        """Nothing: the file is flushed once, when it is closed."""

    def opened(self, response: "requests.Response", **_: Any) -> None:
        self.response = response

    def watch(self) -> None:
        """Shut a connection that drips: each drop would start the timeout of a read anew."""
        before = 0
        while not self._over.wait(WATCH_SECONDS):
            if self.bytes - before < SLOWEST_BYTES and self.response is not None:
                self.too_slow = True
                # urllib3 before 2.3 cannot stop a read from outside; there the pace is not watched.
                getattr(self.response.raw, "shutdown", lambda: None)()
                return
            before = self.bytes

    def close(self) -> None:
        self._over.set()
        if self.response is not None:
            self.response.close()


def _transfer(url: str, label: str, body: _Body, read_seconds: float) -> None:
    import pooch

    threading.Thread(target=body.watch, daemon=True).start()
    try:
        with _Bar(label) as bar:
            fetch = pooch.HTTPDownloader(
                progressbar=bar if bar.shown else False,
                chunk_size=2**13,
                timeout=(CONNECT_SECONDS, read_seconds),
                headers={"Accept-Encoding": "identity"},  # the archive itself, not one undone on the way
                hooks={"response": body.opened},
            )
            fetch(url, body, None)
    finally:
        body.close()


class _Bar:
    """A progress bar as pooch wants it, on a terminal only: it sets `total` and calls the rest."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self.total = 0
        self.shown = sys.stderr.isatty()
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=not self.shown
        )
        self._task = self._progress.add_task(label, total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, advance: int) -> None:
        self._progress.update(self._task, total=self.total or None, advance=advance)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Nothing: leaving the block ends the bar, after a failure too."""


def _reason(error: "requests.RequestException", body: _Body) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if body.too_slow:
        return f"fewer than {SLOWEST_BYTES:,} bytes in {WATCH_SECONDS:g} s"
    timed_out = isinstance(error, requests.Timeout) or "timed out" in str(error)
    if body.response is not None:
        return f"{'silence' if timed_out else 'cut off'} after {body.bytes:,} bytes"
    if timed_out:
        return NO_ANSWER
    return NO_CONNECTION if isinstance(error, requests.ConnectionError) else type(error).__name__


def _remove_stale(folder: Path) -> None:
    """Remove what a killed download left; a young one may be another process at work."""
    for path in folder.glob(".*.part"):
        if time.time() - path.stat().st_mtime > STALE_SECONDS:
            path.unlink(missing_ok=True)
