"""What Linux tells in files: the control groups of this process, and a file's text where there is one."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
"""Below it lie proc, sys and dev; tests put others there."""


def group_files(root: Path, controller: str, name: str) -> Iterator[str]:
    """The contents of this file in the process's control group and in all around it, version 1 or 2."""
    mounts = root / "sys/fs/cgroup"
    for line in read_text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        folder = path.strip("/")
        for mount in (mounts / controllers, mounts / controller) if controllers else (mounts,):
            # In a container the path may be the host's, which is not there: its root is, and has the limits.
            inner = [mount / folder, *(mount / folder).parents]
            for place in inner[: len(Path(folder).parts) + 1]:
                if text := read_text(place / name).strip():
                    yield text
            if mount.is_dir():
                break


def read_text(path: Path) -> str:
    """Its text; empty where there is no such file that can be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
