"""Small git repositories that hold a package named as ours."""

import subprocess
from pathlib import Path

PACKAGE = "neuroforge_jax"


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit_all(root: Path, message: str) -> None:
    git(root, "add", "--all", "--force")
    git(root, "commit", "--quiet", "--message", message)


def make_repository(root: Path, *contents: str) -> Path:
    """A commit for each content of the package's __init__.py."""
    (root / PACKAGE).mkdir(parents=True)
    git(root, "init", "--quiet", "--initial-branch=main")
    for number, content in enumerate(contents):
        (root / PACKAGE / "__init__.py").write_text(content)
        commit_all(root, f"commit {number}")
    return root
