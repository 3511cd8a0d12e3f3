"""What several processes decide together while they train: how far a segment goes, and whether a signal ends it."""

import secrets
from collections.abc import Callable
from typing import TypeVar

from neuroforge_jax.system.peers import Peers
from neuroforge_jax.system.signals import SignalWatch

T = TypeVar("T")


class Agreement:
    """Process 0 decides, by its own clock and what the others have heard; one process asks nobody.

    signals: of this process, which answers from here on to what all have agreed on.
    """

    def __init__(self, peers: Peers, signals: SignalWatch) -> None:
        self._peers, self._signals = peers, signals
        self._topic = peers.decide(lambda: f"signals-{secrets.token_hex(4)}")
        signals.shared = peers.are_several

    def decide(self, make: Callable[[], T]) -> T:
        """What `make` gives on process 0, a plain value."""
        return self._peers.decide(make)

    def decide_segment(self, make: Callable[[], int]) -> int:
        """The same of the step that a segment ends at; where a process has heard a signal, all have received it
        from here on.
        """
        if not self._peers.are_several:
            return make()
        if self._signals.heard is not None:
            self._peers.post(self._topic, str(self._signals.heard))
        last, signum = self._peers.decide(lambda: (make(), self._find_signal()))
        self._signals.agree(signum)
        return int(last)

    def _find_signal(self) -> int | None:
        heard = self._peers.posted(self._topic)
        return next((int(text) for text in heard.values()), None)
