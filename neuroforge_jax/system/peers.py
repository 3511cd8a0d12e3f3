"""Small texts between the processes of a run, through the store of jax's own coordination service.

jax's public interface has collectives of the devices alone, within which a process cannot see that another has
ended. So this module takes the service's client from `jax._src.distributed`; jax 0.10.2 to 0.12 have it there.

    peers = find_peers()
    steps = peers.decide(lambda: count_steps())     # what process 0 says, on all of them
    texts = peers.gather(json.dumps(facts))         # what each of them says, by process
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from typing import Any, TypeVar

import jax
from jax._src import distributed

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import DeviceError, first_line

T = TypeVar("T")

LOOK_MS = 500
"""How often a process that waits looks whether another has ended."""

FAREWELL_SECONDS = 5.0
"""How long a process that fails waits until the others know; after that jax tells them that it is gone. It is less
than jax's abort is held up (`LossWatch`)."""

KEPT = 64
"""Decisions that lie in the store: no process is as far behind the first as that."""

ROOT = "neuroforge"

SETTLING_SECONDS = 10.0
"""What is allowed beyond a heartbeat, until all have heard of a lost process."""

_FAILED = re.compile(
    "(ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|INTERNAL|UNAVAILABLE|UNKNOWN): "
)
"""How XLA's errors begin that a lost process may be behind."""


class PeerEndedError(DeviceError):
    """Another process has ended with an error of its own."""


class Peers:
    """The processes of a run, one or several. All must make the same calls in the same order: `gather`, `decide`
    and `wait` are met by each of them, and a call that waits raises PeerEndedError where another process has ended.

    process: which this one is, from 0. count: how many there are.
    """

    def __init__(self, client: Any = None, process: int = 0, count_: int = 1, root: str = ROOT) -> None:
        self._client, self._root = client, root
        self.process, self.count = process, count_
        self._calls = count()
        self._gathered = ""

    def apart(self) -> "Peers":
        """The same processes, for another thread of each: its calls have an order of their own."""
        return Peers(self._client, self.process, self.count, f"{self._root}/{next(self._calls)}")

    @property
    def are_several(self) -> bool:
        """Whether there is another."""
        return self.count > 1

    def gather(self, text: str) -> list[str]:
        """What each process says, by process."""
        if not self.are_several:
            return [text]
        call = f"{self._root}/{next(self._calls)}"
        self._client.key_value_set(f"{call}/{self.process}", text)
        texts = [self._read(f"{call}/{process}") for process in range(self.count)]
        if self._gathered:  # who has said something here has read all that was said there
            self._client.key_value_delete(f"{self._gathered}/{self.process}")
        self._gathered = call
        return texts

    def decide(self, make: Callable[[], T]) -> T:
        """What `make` gives on process 0, a plain value of JSON; on the others it is not called."""
        if not self.are_several:
            return make()
        call = next(self._calls)
        if self.process == 0:
            decided = make()
            self._client.key_value_set(f"{self._root}/{call}", json.dumps(decided))
            if call >= KEPT:
                self._client.key_value_delete(f"{self._root}/{call - KEPT}")
            return decided
        result: T = json.loads(self._read(f"{self._root}/{call}"))
        return result

    def wait(self) -> None:
        """Until all are here."""
        self.gather("")

    def post(self, topic: str, text: str) -> None:
        """Leave a text of this process under a topic, in the place of an earlier one."""
        if self.are_several:
            self._client.key_value_set(f"{ROOT}/{topic}/{self.process}", text, allow_overwrite=True)

    def posted(self, topic: str) -> dict[int, str]:
        """Process → what it has left under a topic."""
        if not self.are_several:
            return {}
        there = self._client.key_value_dir_get(f"{ROOT}/{topic}/")
        return {int(key.rpartition("/")[2]): text for key, text in there}

    def check(self) -> None:
        """Raises PeerEndedError where another process has ended with an error, DeviceError where process 0 does
        not answer.
        """
        try:
            ended = self.posted("ended")
        except jax.errors.JaxRuntimeError:
            raise DeviceError(f"process 0 of {self.count}, which coordinates them, is gone") from None
        ended.pop(self.process, None)
        for process, text in sorted(ended.items()):
            raise PeerEndedError(f"process {process} of {self.count} has ended ({text}), and all end with it")

    def wait_for_end(self, process: int) -> None:
        """Until this process has said farewell."""
        self._read(f"{ROOT}/ended/{process}", watchful=False)

    def say_farewell(self, text: str) -> None:
        """Tell the others that this process ends and why, and wait a moment until they have ended too."""
        if self.are_several:
            # In a thread: a question to a process 0 that has gone before may wait for long.
            telling = threading.Thread(target=self._tell_end, args=(text,), daemon=True)
            telling.start()
            telling.join(FAREWELL_SECONDS)

    def _tell_end(self, text: str) -> None:
        with suppress(jax.errors.JaxRuntimeError):
            self.post("ended", text)
            while len(self.posted("ended")) < self.count:
                time.sleep(LOOK_MS / 5000)
        if self.process == 0:
            time.sleep(LOOK_MS / 1000)  # the store ends with this process, and the others are to see the same

    def _read(self, key: str, *, watchful: bool = True) -> str:
        while True:
            try:
                text: str = self._client.blocking_key_value_get(key, LOOK_MS)
                return text
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise DeviceError(f"process 0 of {self.count}, which coordinates them, is gone") from None
            if watchful:
                self.check()


@contextmanager
def explain_failed_collectives(peers: Peers, options: RunOptions) -> Iterator[None]:
    """Where a computation fails that another process had a part in, find out who has ended.

    One that was lost without a word is found by jax within the heartbeat, which ends this process (`LossWatch`).
    Raises PeerEndedError, or DeviceError where nobody is known to have ended.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not peers.are_several or not _FAILED.match(str(error)):
            raise
        patient_until = time.monotonic() + options.heartbeat_seconds + SETTLING_SECONDS
        while time.monotonic() < patient_until:
            peers.check()
            time.sleep(LOOK_MS / 1000)
        hint = f"go on with --resume {options.run_dir}" if options.run_dir else "start them again"
        raise DeviceError(
            f"process {peers.process} of {peers.count}: a computation of all processes failed "
            f"({first_line(error)}); {hint}"
        ) from error


def find_peers() -> Peers:
    """Those that this process has joined; itself alone where there are none."""
    state = distributed.global_state
    return Peers() if state.client is None else _peers_of(state.client, state.process_id, state.num_processes)


@cache
def _peers_of(client: Any, process: int, count_: int) -> Peers:
    """One of each client: it counts its calls."""
    return Peers(client, process, count_)
