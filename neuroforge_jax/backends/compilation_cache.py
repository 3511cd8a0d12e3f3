"""Programs that were compiled before: jax's persistent cache, in the user's cache folder, wherever that is sound.

What lies there is code that will be run, so the folder is the user's alone. Three kinds of programs stay out:
those through oneDNN, which cannot be serialised; those of CPUs on which XLA complains of every program that it
loads; and those that compile in a moment. JAX_COMPILATION_CACHE_DIR puts the cache elsewhere, and
JAX_ENABLE_COMPILATION_CACHE=false switches it off.
"""

import hashlib
import math
import os
import platform as host
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from platformdirs import user_cache_path

from neuroforge_jax.backends.compiler import ONEDNN
from neuroforge_jax.system.cpu import cpu_flags
from neuroforge_jax.typing import CompileOptions

MIN_SECONDS = 0.1
"""What takes less to compile is not kept; of a training on a CPU this keeps the steps and the evaluation."""

MAX_BYTES = 1 << 30
"""Of all programs together; the oldest go first."""

_TROUBLE = r"Error (reading|writing) persistent compilation cache entry for '(\w+)': "


@dataclass(frozen=True)
class Place:
    """folder: where compiled programs are kept; None where they are not. reason: who chose it, or why not."""

    folder: str | None
    reason: str


def place(device: jax.Device) -> Place:
    """Where the programs of this device are kept. Makes no folder."""
    if not jax.config.jax_enable_compilation_cache:
        return Place(None, "JAX_ENABLE_COMPILATION_CACHE is false")
    if jax.config.jax_compilation_cache_dir:
        return Place(jax.config.jax_compilation_cache_dir, "by JAX_COMPILATION_CACHE_DIR")
    if device.platform == "cpu" and not loads_in_silence(device):
        return Place(None, "XLA complains of every compiled program that it loads on this CPU")
    # A home may be shared by machines that do not understand each other's code.
    kind = hashlib.sha256(" ".join([host.machine(), *sorted(cpu_flags())]).encode()).hexdigest()[:12]
    return Place(str(user_cache_path("neuroforge-jax") / "compiled" / kind), "")


@contextmanager
def keep_programs(device: jax.Device, options: CompileOptions, tell: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, what is compiled for this device with these options is looked up and kept.

    tell: called with a sentence where the cache cannot be used; nothing worse comes of it.
    """
    there = place(device)
    with ExitStack() as stack:
        if ONEDNN in dict(options):
            # jax would try, fail and warn; there is no other way to keep one program out.
            stack.enter_context(_settings(jax_persistent_cache_min_compile_time_secs=math.inf))
        elif there.folder and not there.reason:
            try:
                folder = private_folder(Path(there.folder))
            except OSError as error:
                tell(f"compiled programs are not kept: {error.strerror or error} ({error.filename})")
            else:
                settings: dict[str, Any] = {
                    "jax_compilation_cache_dir": str(folder),
                    "jax_persistent_cache_min_compile_time_secs": MIN_SECONDS,
                }
                stack.enter_context(_settings(**settings))
                stack.enter_context(_troubles_told(folder, tell))
        yield


def private_folder(folder: Path) -> Path:
    """Make it, for its owner alone, and keep it within bounds.

    Raises OSError for one that cannot be written to, or that others could write to.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
        raise PermissionError(0, "others may write to their folder; chmod 700 it, or remove it", str(folder))
    folder.chmod(0o700)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(0, "their folder cannot be written to", str(folder))
    _remove_oldest(folder)
    return folder


@cache
def _remove_oldest(folder: Path) -> None:
    """Keep the newest programs that fit in; once a process, as looking at hundreds of files takes milliseconds."""
    total = 0
    with suppress(FileNotFoundError):  # another process keeps it within bounds now
        for entry in sorted(folder.glob("*-cache"), key=lambda entry: -entry.stat().st_mtime):
            total += entry.stat().st_size
            if total > MAX_BYTES:
                entry.unlink()


@cache
def loads_in_silence(device: jax.Device) -> bool:
    """Whether XLA loads, on this CPU, a program that it compiled here without a word.

    On CPUs for which it prefers to do without some instructions, its loader may take the preference for an
    instruction that is missing, and write two screens to standard error each time (openxla/xla#44565). It is seen
    only by doing it: the smallest program is serialised and loaded while standard error is read, in a millisecond.
    """
    from jax.experimental import serialize_executable

    with jax.default_device(device):
        compiled = jax.jit(lambda: jnp.zeros(())).lower().compile()
    try:
        with _standard_error() as written:
            payload, inputs, outputs = serialize_executable.serialize(compiled)
            serialize_executable.deserialize_and_load(payload, inputs, outputs, device.platform, [device])
    except Exception:  # whatever it is, this device's programs are not for keeping
        return False
    return not written()


@contextmanager
def _standard_error() -> Iterator[Callable[[], bytes]]:
    """Take what this process, C++ and all, writes to standard error; what is given reads it."""
    written = b""
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: written
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            written = file.read()


@contextmanager
def _settings(**values: Any) -> Iterator[None]:
    """These settings of jax while this lasts."""
    before = {name: getattr(jax.config, name) for name in values}
    for name, value in values.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


@contextmanager
def _troubles_told(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """A program that cannot be read is removed, for jax would leave it there; each is a sentence, not a warning."""
    show_others = warnings.showwarning

    def show(message: Warning | str, *rest: Any, **more: Any) -> None:
        found = re.match(_TROUBLE, str(message))
        if found is None:
            show_others(message, *rest, **more)
        elif found[1] == "writing":
            tell(f"a compiled program could not be kept ({str(message)[found.end() :]})")
        else:
            for entry in folder.glob(f"{found[2]}-*"):
                entry.unlink(missing_ok=True)
            tell("a compiled program that was kept is damaged: it is removed and compiled anew")

    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=_TROUBLE)
        warnings.showwarning = show
        yield
