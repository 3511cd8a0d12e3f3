"""The fenced blocks of a Markdown page, and what the comment before one says of it."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<key>not run|exit code): (?P<value>.+?) -->\n)?"
    r"^(?P<fence>```+|:::+)(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """reason: why a shell block is not run, or empty. exit_code: with which it ends."""

    page: Path
    line: int
    language: str
    code: str
    reason: str = ""
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)} line {self.line}"


def blocks_of(page: Path) -> list[Block]:
    """All of them, in their order."""
    text, found = page.read_text(encoding="utf-8"), []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("fence")) + 1
        notes = {match["key"]: match["value"]}
        found.append(
            Block(
                page,
                line,
                match["language"].strip(),
                match["code"],
                notes.get("not run", ""),
                int(notes.get("exit code", 0)),
            )
        )
    return found
