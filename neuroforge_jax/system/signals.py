"""Ctrl-C, SIGTERM and SIGHUP: the first asks a run to stop where nothing is lost, the second ends it at once.

    with SignalWatch() as signals:
        prepare()                     # a signal raises Stopped wherever it arrives
        with signals.deferred():
            while training():         # a signal is noted, and the loop asks for it between two segments
                if signals.received:
                    save()
                    raise signals.stopped("saved")

Python runs a handler only between two of its own instructions, and XLA compiles for seconds without one. So a
thread listens too, through the descriptor that the interpreter's C handler writes to: it ends the process on a
second signal, and on a first one that nobody has answered for PATIENCE_SECONDS outside of `deferred`.

An exception within the import of a compiled module can crash the process (jaxlib's modules, written in C++, end
it with SIGSEGV or SIGABRT), and one within a `__del__` or a callback of the garbage collector (jax has one) is
ignored by Python, and jax swallows every exception of a plugin that it loads (the one for CUDA, say): a signal that
arrives there is raised a moment later. What C++ makes of one that passed through
it (a SystemError, with the signal as its cause) leaves the block as the signal.
"""

import _thread
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 8.0
"""How long a program that is being compiled may keep a signal waiting."""

LOOK_SECONDS = 0.05
"""How often the thread looks, once a signal has come."""

COMPILED_IMPORT = (ExtensionFileLoader.create_module.__code__, ExtensionFileLoader.exec_module.__code__)
LOADS_PLUGINS = ("jax._src.xla_bridge", "discover_pjrt_plugins")
"""Module and function within which jax swallows whatever is raised."""

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "the terminal was closed"}
SHOW_CURSOR = b"\x1b[?25h"


class Stopped(KeyboardInterrupt):
    """A signal ended the run; the text says what was saved. Like any Ctrl-C it passes `except Exception`.

    silent: whether another process says it.
    """

    def __init__(self, signum: int, what: str = "", *, silent: bool = False) -> None:
        word = WORDS[signal.Signals(signum)]
        super().__init__(f"{word}: {what}" if what else word)
        self.exit_code = EXIT_CODES[signal.Signals(signum)]
        self.silent = silent


class SignalWatch:
    """Listens while its block runs, and puts everything back after it; in other threads than the main one, where
    there are no signals, it does nothing. A signal that is ignored, as Ctrl-C is by a job in the background, stays
    ignored.

    heard: the number of the first signal that came to this process, or None. shared: whether several processes
    agree on signals, so that one that has come to any of them is received by all at the same step. hint: what a
    Stopped raised at once says.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        self.shared = False
        self._agreed: int | None = None
        self.hint = ""
        self._deferred = 0
        self._postponed = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is not threading.main_thread():
            return self
        listened = [signum for signum in SIGNALS if signal.getsignal(signum) is not signal.SIG_IGN]
        self._ear, self._mouth = os.pipe()
        os.set_blocking(self._mouth, False)
        self._mouth_before = signal.set_wakeup_fd(self._mouth, warn_on_full_buffer=False)
        self._before = {signum: signal.signal(signum, self._note) for signum in listened}
        self._hook_before, sys.unraisablehook = sys.unraisablehook, self._note_ignored
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if sys.unraisablehook == self._note_ignored:  # else a library has put its own around it since
            sys.unraisablehook = self._hook_before
        for signum, handler in self._before.items():
            signal.signal(signum, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._mouth_before)
        os.close(self._mouth)  # the thread reads the end of the pipe, and ends
        self._thread.join()
        os.close(self._ear)
        cause = error
        while cause is not None and not isinstance(cause, Stopped):
            cause = cause.__cause__
        if cause is not None and cause is not error:
            raise cause from None

    @property
    def received(self) -> int | None:
        """The number of the signal to stop for, or None: the first that was heard, or that was agreed on."""
        return self._agreed if self.shared else self.heard

    def agree(self, signum: int | None) -> None:
        """Receive what all processes have agreed on."""
        self._agreed = self._agreed or signum

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a first signal raises nothing: the block looks at `received` itself."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def stopped(self, what: str = "", *, silent: bool = False) -> Stopped:
        """What to raise for the signal that was received, with a word on what was saved."""
        assert self.received is not None
        return Stopped(self.received, what, silent=silent)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.heard = self.heard or signum
        if self._deferred:
            return
        if _would_be_lost(frame):
            self._postponed = True
            return
        raise Stopped(signum, self.hint)

    def _note_ignored(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if isinstance(unraisable.exc_value, Stopped):
            self._postponed = True
        else:
            self._hook_before(unraisable)

    def _listen(self) -> None:
        heard, patient_until = list[int](), math.inf
        while True:
            ready, _, _ = select.select([self._ear], [], [], LOOK_SECONDS if heard else None)
            numbers = os.read(self._ear, 64) if ready else b""
            if ready and not numbers:
                return
            now = time.monotonic()
            if not heard or self._deferred:
                patient_until = now + PATIENCE_SECONDS
            # A terminal that is closed says so twice, by the system and by the shell: the second is no haste.
            heard += [n for n in numbers if n in EXIT_CODES and not (n == signal.SIGHUP and heard)]
            if len(heard) > 1 or (heard and now > patient_until):
                _end(heard[-1])
            if self._postponed:
                # Sent again, and heard as the first one.
                self._postponed = False
                _thread.interrupt_main(signal.Signals(heard.pop()))


def _would_be_lost(frame: FrameType | None) -> bool:
    """An exception raised in `frame`: whether it would crash the process or be swallowed."""
    while frame is not None:
        if frame.f_code in COMPILED_IMPORT:
            return True
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) == LOADS_PLUGINS:
            return True
        frame = frame.f_back
    return False


def _end(signum: int) -> None:
    """Leave at once: whatever is being written has not got its name yet, and never will."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), SHOW_CURSOR)
    os._exit(EXIT_CODES[signal.Signals(signum)])
