"""How a suite is run: which of its rows, for how long, with what, and what is a change."""

import fnmatch
import sys
from dataclasses import dataclass
from pathlib import Path

MARGIN = 0.05
FAIL_MARGIN = 0.25
SEEDS = 30


@dataclass(frozen=True)
class BenchOptions:
    """only: a pattern of names of rows, or of a part that is no training. peer_python: an interpreter that has the
    peers. data_dir, seeds: of the speedrun and the tables. tables: the folder of these, where it is given.
    repetitions, turn_seconds: in the place of the suite's own.
    """

    only: str = "*"
    repetitions: int | None = None
    turn_seconds: float | None = None
    peer_python: Path | None = None
    data_dir: Path | None = None
    seeds: int = SEEDS
    tables: Path | None = None

    @property
    def python(self) -> Path:
        """The interpreter of peers of other frameworks."""
        return self.peer_python or Path(sys.executable)

    def selects(self, name: str) -> bool:
        """Whether the row of this name is asked for."""
        return fnmatch.fnmatch(name, self.only)

    def words(self) -> list[str]:
        """The flags that change what is measured, where they are not at their defaults; no path of this machine."""
        plain = BenchOptions()
        changed = (
            (f"--{name.replace('_', '-')}", str(getattr(self, name)))
            for name in ("only", "repetitions", "turn_seconds", "seeds")
            if getattr(self, name) != getattr(plain, name)
        )
        return [word for pair in changed for word in pair]


@dataclass(frozen=True)
class Margins:
    """same: the change that is still called the same. fail: the slow-down that fails, once it is confirmed."""

    same: float = MARGIN
    fail: float = FAIL_MARGIN

    def words(self) -> list[str]:
        """The flags, where they are not at their defaults."""
        same = ["--margin", str(self.same)] if self.same != MARGIN else []
        return same + (["--fail-margin", str(self.fail)] if self.fail != FAIL_MARGIN else [])
