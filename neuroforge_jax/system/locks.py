"""A folder for one process at a time: an advisory lock that ends with the process, however that ends."""

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from neuroforge_jax.errors import ConfigError
from neuroforge_jax.system.files import probe


@dataclass(frozen=True)
class Lock:
    """descriptor: holds the lock until it is closed. warning: a sentence where the file system has no locks, so
    that nothing keeps another process out; else empty.
    """

    descriptor: int
    warning: str = ""


def take_lock(path: Path, flag: str) -> Lock:
    """Make the folder, and lock it where that is possible.

    flag: what named the folder, for the sentence. Raises ConfigError where it cannot be written or is in use.
    """
    warning = ""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe(path)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            f"{flag} {path}: this folder cannot be written ({reason}); give one that can"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise ConfigError(
                f"{flag} {path} is in use by process {holder or 'unknown'}; wait until that has ended, or give "
                "another folder"
            ) from None
        warning = (
            f"note      {path}: its file system has no locks ({error.strerror}); see to it that no other process "
            "trains in this folder"
        )
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return Lock(lock, warning)
