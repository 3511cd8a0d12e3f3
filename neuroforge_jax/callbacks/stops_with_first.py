"""A signal in one of several processes: the first saves, and the others wait for it."""

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.system.peers import Peers
from neuroforge_jax.system.signals import SignalWatch
from neuroforge_jax.training.progress import Record


class StopsWithFirst(Callback):
    """Ends a process that is not the first by the signal that all have received, once the first has saved."""

    def __init__(self, signals: SignalWatch, peers: Peers) -> None:
        self._signals, self._peers = signals, peers

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """Raises Stopped."""
        self._look_up()

    def epoch(self, trainer: Trainer, record: Record) -> None:
        """Raises Stopped."""
        self._look_up()

    def _look_up(self) -> None:
        if self._signals.received is not None:
            self._peers.wait_for_end(0)
            raise self._signals.stopped(silent=True)
