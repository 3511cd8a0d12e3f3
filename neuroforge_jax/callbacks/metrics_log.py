"""metrics.jsonl: a line for each epoch and each logged step."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from neuroforge_jax.callbacks.base import RecordsOnly
from neuroforge_jax.training.progress import Record


class JsonLines(RecordsOnly):
    """Appends each record to a file as one line of JSON.

    Where the disk is full, `warn` hears of it once, and the lines wait in memory for room.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn
        self._file = path.open("ab", buffering=0)
        self._size = path.stat().st_size
        self._waiting = b""
        self._warned = False

    def record(self, record: Record) -> None:
        """One line, handed to the system at once."""
        line = json.dumps(record).encode() + b"\n"
        self._size += len(line)
        self._waiting += line
        try:
            # Where only a part fits, the rest of the line follows its beginning.
            self._waiting = self._waiting[self._file.write(self._waiting) :]
            reason = "the disk is full" if self._waiting else ""
        except OSError as error:
            reason = error.strerror or type(error).__name__
        if reason and not self._warned:
            self._warned = True
            self._warn(
                f"{self._path} cannot be written ({reason}); training goes on, and its lines wait for room"
            )

    def synced_size(self) -> int:
        """Bytes of the file with all lines so far, those that are there brought to the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._file.fileno())
        return self._size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
