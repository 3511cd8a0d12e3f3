"""A lost process in one line: jax tells its log that another is gone, and then aborts.

There is no other way to hear of it: the function that jax's client would call fails, in jax 0.10.2 to 0.12, before
it is called. So what compiled code writes to standard output and error goes through a pipe, and what Python writes
does not; a thread reads it, keeps the log of the coordination service from people, and when that says that the
process is about to be ended, ends it with one line and exit code 5. To give the thread the time, the handler of
SIGABRT is C's own `sleep`: called with the signal's number, 6, it holds the abort up for 6 seconds and returns.
"""

import contextlib
import ctypes
import io
import os
import re
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.system.peers import Peers, find_peers
from neuroforge_jax.system.signals import SHOW_CURSOR

FATAL = "Terminating process because the JAX distributed service"
GREETING = re.compile(r"\[Gloo\]|.*is connected to|.*peer ranks|\s*\d*\s*$")
"""What the collectives of CPUs say of their connections, each device into the other's lines, to the last number."""

HEADER = re.compile(r"[IWEF]\d{4} ")
OF_THE_SERVICE = re.compile(r"[IWEF]\d{4} .*(coordination_service|preemption|distributed|client\.h)")

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""Variables by which the service's connections go another way."""

SETTLE_SECONDS = 0.3
"""How long the rest of what is being written may take."""

KEPT_CHARACTERS = 1 << 14


class LossWatch:
    """Listens while its block runs. hint: what to do when a process is lost, such as to resume the run."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self.hint = "start them again"
        self._leaving = False
        self._recent = ""

    def __enter__(self) -> "LossWatch":
        self._streams = sys.stdout, sys.stderr
        self._real = tuple(_duplicate(stream) for stream in self._streams)
        self._ear, mouth = os.pipe()
        self._kept = os.dup(1), os.dup(2)
        os.dup2(mouth, 1)
        os.dup2(mouth, 2)
        os.close(mouth)
        sys.stdout, sys.stderr = self._real
        self._abort = _LIBC.signal(signal.SIGABRT, _LIBC.sleep)
        self._thread = threading.Thread(target=self._listen, name="lost processes", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _LIBC.signal(signal.SIGABRT, self._abort)
        for stream in self._real:
            stream.flush()
        for number, kept in enumerate(self._kept, 1):
            os.dup2(kept, number)
        sys.stdout, sys.stderr = self._streams
        self._thread.join(1.0)  # a program that was started on the way may hold the pipe open
        if not self._thread.is_alive():
            for descriptor in (*self._kept, self._ear):
                os.close(descriptor)

    def leave(self) -> None:
        """From here on the process ends anyway, and it is no matter who has gone before."""
        self._leaving = True

    def _listen(self) -> None:
        begun = ""  # a line that is not ended yet
        while content := os.read(self._ear, 1 << 16):
            text = content.decode(errors="replace")
            self._recent = (self._recent + text)[-KEPT_CHARACTERS:]
            if FATAL in self._recent and not self._leaving:
                self._end()
            lines, newline, begun = (begun + text).rpartition("\n")
            self._forward(lines + newline)
        self._forward(begun)

    def _forward(self, text: str) -> None:
        """What is not of the coordination service, to standard error; a message of that comes as a whole."""
        if self._options.debug:
            os.write(self._kept[1], text.encode())
        elif not self._leaving:
            os.write(self._kept[1], "".join(_foreign_lines(text)).encode())

    def _end(self) -> None:
        while select.select([self._ear], [], [], SETTLE_SECONDS)[0]:
            if not (content := os.read(self._ear, 1 << 16)):
                break
            self._recent += content.decode(errors="replace")
        peers = find_peers()
        sentence = describe_end(self._recent, peers, self._options, self.hint)
        with contextlib.suppress(OSError, DeviceError):
            if self._options.debug:
                os.write(self._kept[1], self._recent.encode())
            if os.isatty(self._kept[0]):
                os.write(self._kept[0], SHOW_CURSOR)
            os.write(self._kept[1], f"error: {sentence}\n".encode())
        os._exit(DeviceError.exit_code)


def _foreign_lines(text: str) -> Iterator[str]:
    is_foreign = True
    for line in text.splitlines(keepends=True):
        if HEADER.match(line):
            is_foreign = OF_THE_SERVICE.match(line) is None
        if is_foreign and not GREETING.match(line):
            yield line


def describe_end(text: str, peers: Peers, options: RunOptions, hint: str) -> str:
    """A sentence on why jax ends this process. text: of its log."""
    # Before it has joined, only the options know who this process is.
    count = options.num_processes or peers.count
    me = peers.process if options.process_id is None else options.process_id
    if found := re.search(r"(\d+) unexpectedly tried to connect with|request from a newer incarnation", text):
        who = me if found[1] is None else int(found[1])
        return f"two processes have the id {who}; give each of the {count} its own, from 0 to {count - 1}"
    if "RegisterTask" in text and "DEADLINE_EXCEEDED" in text:
        wait = f"within {options.join_seconds} s"
        if me == 0:
            return (
                f"not all of the {count} processes came {wait}; start all of them with the same coordinator and "
                "number of processes, or wait longer by --join-seconds"
            )
        address = options.coordinator or "the launcher's address"
        return (
            f"the coordinator at {address} did not answer process {me} {wait}; see that process 0 runs and can be "
            f"reached there{_describe_proxies()}, or wait longer by --join-seconds"
        )
    if found := re.search(r"stopped sending heartbeats\):\n((?:\d+\n)+)", text):
        lost = [number for number in found[1].split() if int(number) != me]
        if lost:
            named = f"process {lost[0]}" if len(lost) == 1 else f"processes {', '.join(lost)}"
            gone = "is gone" if len(lost) == 1 else "are gone"
            return (
                f"{named} of {count} {gone}: no sign of life for {options.heartbeat_seconds} s; {hint} on the "
                "processes that are left"
            )
    other = f"a process of the {count}" if me == 0 else f"process 0 of {count}, which coordinates them,"
    return f"{other} is gone, or cannot be reached any more; {hint} on the processes that are left"


def _describe_proxies() -> str:
    """What may be in the way, where the environment names it."""
    named = [name for name in PROXIES if os.environ.get(name) or os.environ.get(name.upper())]
    return f" without the proxy of {', '.join(named)}" if named else ""


def _duplicate(stream: TextIO) -> TextIO:
    """A stream of Python's to where this one goes now."""
    stream.flush()
    raw = os.fdopen(os.dup(stream.fileno()), "wb")
    return io.TextIOWrapper(
        raw,
        stream.encoding,
        getattr(stream, "errors", "replace"),
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=getattr(stream, "write_through", False),
    )


_LIBC = ctypes.CDLL(None)
_LIBC.signal.restype = ctypes.c_void_p
_LIBC.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
