"""What a check of a plugin comes to: it holds, or what is wrong and what to do."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from neuroforge_jax.errors import first_line
from neuroforge_jax.verification.verdict import Check, finite_or_none


class ClaimError(Exception):
    """A check that does not hold: what is wrong, and what to do. worst: what was compared, where numbers were."""

    def __init__(self, wrong: str, hint: str, worst: Check | None = None) -> None:
        super().__init__(wrong)
        self.wrong, self.hint, self.worst = wrong, hint, worst


@dataclass(frozen=True)
class Finding:
    """One check of a plugin.

    claim: what must hold. wrong: what is wrong, "" where it holds; hint: what to do about that. worst: of the
    numbers that were compared the ones nearest to their bound, where there were some. cause: the exception that it
    failed by, with its traceback, where there was one.
    """

    claim: str
    wrong: str = ""
    hint: str = ""
    worst: Check | None = None
    cause: BaseException | None = None

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return not self.wrong

    def __str__(self) -> str:
        if self.passed:
            return f"✓ {self.claim}" + (
                f": within {max(self.worst.share, 0.01):.0%} of the bound" if self.worst else ""
            )
        return f"✗ {self.claim}: {self.wrong}" + (f"; {self.hint}" if self.hint else "")

    def record(self) -> dict[str, Any]:
        """The finding for programs; an error that is no number is null."""
        error, bound = (finite_or_none(self.worst.error), self.worst.bound) if self.worst else (None, None)
        return {
            "claim": self.claim,
            "passed": self.passed,
            "wrong": self.wrong,
            "hint": self.hint,
            "error": error,
            "bound": bound,
        }


@dataclass(frozen=True)
class Claim:
    """What must hold, and its check: it gives the comparison nearest to its bound, if it compares any numbers, and
    raises ClaimError. needed: where it does not hold, the claims behind it are not checked.
    """

    text: str
    check: Callable[[], Check | None]
    needed: bool = False


def judge(claims: Iterable[Claim]) -> Iterator[Finding]:
    """The findings, one after the other; after a needed claim that does not hold there are no more."""
    for claim in claims:
        finding = _judge(claim)
        yield finding
        if claim.needed and not finding.passed:
            return


def _judge(claim: Claim) -> Finding:
    try:
        return Finding(claim.text, worst=claim.check())
    except ClaimError as mistake:
        return Finding(claim.text, mistake.wrong, mistake.hint, mistake.worst, mistake.__cause__)
    except Exception as error:
        return Finding(claim.text, f"it fails ({first_line(error)})", cause=error)
