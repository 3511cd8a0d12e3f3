"""What a verification came to: checks, their verdict, the rows of its table and its record."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from neuroforge_jax.verification.cases import LARGER, SCALED

RIGHT_ANSWERS = "right answers"

GROUPS = (
    "logits",
    "loss",
    RIGHT_ANSWERS,
    "gradients",
    "1 step",
    "20 steps",
    "losses",
    "adam, 1 step",
    "adam, 20 steps",
    "adam, losses",
    SCALED,
    LARGER,
)
"""The rows of the table, in its order."""


@dataclass(frozen=True)
class Check:
    """One comparison: relative error in norm, and how much of it a correct program may have."""

    group: str
    case: str
    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the error is within the bound; NaN is not."""
        return self.error <= self.bound

    @property
    def share(self) -> float:
        """Error ÷ bound; NaN counts as infinite."""
        return math.inf if math.isnan(self.error) else self.error / self.bound

    def __str__(self) -> str:
        return f"{self.what} of {self.case!r}: error {self.error:.1e}, allowed {self.bound:.1e}"


@dataclass(frozen=True)
class Verdict:
    """What a backend came to.

    what: its execution, precision and kernels in a line. fault: the one planted in it, if any.
    """

    backend: str
    what: str
    checks: tuple[Check, ...]
    seconds: float
    fault: str | None = None

    @property
    def passed(self) -> bool:
        """Whether every check is; a verdict on nothing is none."""
        return bool(self.checks) and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks beyond their bounds."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def worst(self) -> Check:
        """The check that is nearest to its bound, or furthest beyond it."""
        return max(self.checks, key=lambda check: check.share)

    def rows(self) -> list[tuple[str, int, Check]]:
        """Of the table: group, how many checks, and the worst of them."""
        by_group = {group: [check for check in self.checks if check.group == group] for group in GROUPS}
        return [
            (group, len(checks), max(checks, key=lambda check: check.share))
            for group, checks in by_group.items()
            if checks
        ]

    def sentence(self) -> str:
        """The verdict in a line."""
        count, worst = len(self.checks), self.worst
        if self.passed:
            return f"{count} checks against a float64 oracle; at most {worst.share:.0%} of what is allowed"
        return f"{len(self.failed)} of {count} checks failed: {worst}"

    def record(self) -> dict[str, Any]:
        """The verdict for programs; an error that is no number is null."""
        return {
            "backend": self.backend,
            "what": self.what,
            "fault": self.fault,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "checks": [
                asdict(check) | {"error": finite_or_none(check.error), "passed": check.passed}
                for check in self.checks
            ],
        }


def finite_or_none(value: float) -> float | None:
    """The value if JSON can hold it."""
    return value if math.isfinite(value) else None
