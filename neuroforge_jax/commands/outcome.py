"""What all commands share: an error or a signal becomes one line and an exit code, a broken pipe ends quietly."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from neuroforge_jax.errors import UserError, first_line
from neuroforge_jax.system.signals import EXIT_CODES, SignalWatch, Stopped

INTERRUPTED = 130


def run_command(body: Callable[[], int | None], *, debug: bool = False) -> int:
    """Run a command's body and return its exit code; with `debug`, errors keep their traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show × or an accent gets a question mark, not an exception.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    if not debug:
        logging.getLogger("jax._src.xla_bridge").addFilter(_shorten)
    try:
        with SignalWatch():
            code = body() or 0
        sys.stdout.flush()
        return code
    except UserError as error:
        if debug:
            raise
        _tell(f"error: {error}")
        return error.exit_code
    except Stopped as stop:
        if not stop.silent:
            _tell(str(stop))
        return stop.exit_code
    except KeyboardInterrupt:
        _tell("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has what it wanted; not even the interpreter's last flush may complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _tell(text: str) -> None:
    """On standard error; where the terminal is gone nobody hears it, and the exit code is the same."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _has_joined() -> bool:
    distributed = sys.modules.get("jax.distributed")
    return distributed is not None and bool(distributed.is_initialized())


def _shorten(record: logging.LogRecord) -> bool:
    """What jax logs of a plugin that it cannot load, in a line: the reason in the place of its traceback."""
    if record.exc_info and record.exc_info[1] is not None:
        record.msg, record.args = f"{record.getMessage()}: {first_line(record.exc_info[1])}", ()
        record.exc_info = record.exc_text = None
    return True


def leave(code: int) -> NoReturn:
    """End the process with a command's exit code.

    After a signal nothing is waited for: a thread within a compiler would hold the interpreter's end up, and one
    that imports compiled modules could crash it. Nor is it after an error of one of several processes: jax would
    wait for the others.
    """
    if code in EXIT_CODES.values() or (code and _has_joined()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
