"""The two versions that are compared: a commit, and the working tree as it is.

The package of each is copied into a temporary folder before anything is measured, the commit's by `git archive`.
So the repository is only read, both lie side by side under like conditions, and who goes on editing disturbs
nothing.
"""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import neuroforge_jax
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.system.git import ask_git, ask_git_for_bytes

PACKAGE = "neuroforge_jax"
ROOT = Path(neuroforge_jax.__file__).parents[1]
SHORT = 8


@dataclass(frozen=True)
class Version:
    """name: for tables and errors. commit: in full; of the working tree the one that it is based on. date: of the
    commit. changed_files: of the package, by which the working tree differs from it. folder: where the package
    lies.
    """

    name: str
    commit: str
    date: str
    changed_files: int
    folder: Path

    @property
    def is_commit(self) -> bool:
        """Else it is the working tree."""
        return self.name == self.commit[:SHORT]

    def __str__(self) -> str:
        if self.is_commit:
            return f"{self.name} of {self.date}"
        changes = f"changes in {self.changed_files} of its files" if self.changed_files else "no changes"
        return f"{self.name} at {self.commit[:SHORT]} of {self.date}, with {changes}"

    def to_json(self) -> dict[str, Any]:
        """For a record."""
        return {"commit": self.commit, "date": self.date, "changed_files": self.changed_files}


@contextmanager
def open_versions(revision: str, root: Path = ROOT) -> Iterator[tuple[Version, Version]]:
    """The commit of a revision and the working tree, until the block is left.

    Raises ConfigError where `root`, which holds the package, is no repository of it, or has no such revision.
    """
    _check_repository(revision, root)
    commit = _find(revision, root)
    with TemporaryDirectory(prefix="neuroforge-against-") as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        _extract(commit, revision, root, before)
        shutil.copytree(root / PACKAGE, after / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
        head = ask_git(root, "rev-parse", "HEAD")
        changed = ask_git(root, "status", "--porcelain", "--", PACKAGE).splitlines()
        yield (
            Version(commit[:SHORT], commit, _date(commit, root), 0, before),
            Version("the working tree", head, _date(head, root), len(changed), after),
        )


def _check_repository(revision: str, root: Path) -> None:
    try:
        ask_git(root, "ls-files", "--error-unmatch", f"{PACKAGE}/__init__.py")
    except FileNotFoundError:
        raise ConfigError(f"--against {revision}: git cannot be found; install it") from None
    except subprocess.SubprocessError as error:
        raise ConfigError(
            f"--against {revision}: this {PACKAGE} lies in no git repository of its own ({_reason(error)}); run it "
            "in a clone"
        ) from None


def _find(revision: str, root: Path) -> str:
    """The full hash of a commit."""
    try:
        return ask_git(root, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except subprocess.SubprocessError:
        shallow = ask_git(root, "rev-parse", "--is-shallow-repository") == "true"
        hint = "; this clone is shallow, and git fetch --unshallow brings the rest" if shallow else ""
        raise ConfigError(
            f"--against {revision}: this repository has no such commit; give a hash, a tag, a branch or "
            f"HEAD~1{hint}"
        ) from None


def _extract(commit: str, revision: str, root: Path, folder: Path) -> None:
    try:
        archive = ask_git_for_bytes(root, "archive", "--format=tar", commit, "--", PACKAGE)
    except subprocess.SubprocessError as error:
        raise ConfigError(
            f"--against {revision}: the package of this commit cannot be read ({_reason(error)}); choose another"
        ) from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def _date(commit: str, root: Path) -> str:
    """Of a commit, as 2026-11-27 09:40."""
    return ask_git(root, "show", "--no-patch", "--date=format:%Y-%m-%d %H:%M", "--format=%cd", commit)


def _reason(error: subprocess.SubprocessError) -> str:
    """Git's last line."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else b""
    return (said.decode(errors="replace").strip().splitlines() or [type(error).__name__])[-1]
