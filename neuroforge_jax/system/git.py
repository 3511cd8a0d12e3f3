"""What git says of a checkout."""

import subprocess
from pathlib import Path

ANSWER_SECONDS = 30.0


def ask_git(root: Path, *words: str) -> str:
    """The answer of `git -C root words…`.

    Raises OSError where there is no git, and SubprocessError where it refuses or takes longer than 30 s.
    """
    return ask_git_for_bytes(root, *words).decode(errors="replace").strip()


def ask_git_for_bytes(root: Path, *words: str) -> bytes:
    """As `ask_git`, as it comes: an archive, say."""
    # Without its optional locks git status writes nothing into the repository.
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, check=True, timeout=ANSWER_SECONDS).stdout
