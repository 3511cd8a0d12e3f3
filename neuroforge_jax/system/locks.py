"""A folder for one process at a time: an advisory lock that ends with the process, however that ends."""

import errno
import fcntl
import os
from pathlib import Path

from neuroforge_jax.errors import ConfigError
from neuroforge_jax.system.files import probe


def take_lock(path: Path, flag: str) -> int:
    """Make the folder, and lock it; the descriptor that holds the lock, to be closed.

    flag: what named the folder, for the sentence. Raises ConfigError where it cannot be written or is in use.
    """
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
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise ConfigError(
                f"{flag} {path}: its file system has no locks ({error.strerror}); give a folder on another one"
            ) from None
        raise ConfigError(
            f"{flag} {path} is in use by process {holder or 'unknown'}; wait until that has ended, or give "
            "another folder"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, f"{os.getpid()}\n".encode())
    return lock
