"""A version as a process that trains what it is told, and whole processes of it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuroforge_jax.benchmarking.against.versions import PACKAGE, Version
from neuroforge_jax.benchmarking.against.work import Work
from neuroforge_jax.benchmarking.conversation import Conversation, python_path
from neuroforge_jax.errors import ConfigError, DeviceError, UserError

WORKER = Path(__file__).with_name("worker.py")


class MissingError(Exception):
    """The version cannot do this work; the text says why."""


class VersionProcess:
    """With the package of a version imported.

    Where that or a training fails it raises ConfigError for a commit, of which another one can be chosen, and
    DeviceError for the working tree.
    """

    def __init__(self, version: Version) -> None:
        self._version = version
        self._conversation = Conversation(version.name, _command(), version_environment(version))
        try:
            self._import()
        except BaseException:  # Ctrl-C too
            self.close()
            raise

    def _import(self) -> None:
        try:
            file = Path(self._conversation.ask({"import": True})["file"])
        except DeviceError as error:
            reason = str(error).removeprefix(f"{self._version.name}: ")
            raise self._error(f"{self._version.name} cannot be imported here ({reason})") from None
        if file.resolve() != (self._version.folder / PACKAGE / "__init__.py").resolve():
            raise ConfigError(
                f"{self._version.name} was not imported, but another {PACKAGE}; start Python without what puts one "
                "in front (a .pth file, sitecustomize, an import hook)"
            )

    def _error(self, sentence: str) -> UserError:
        """Of what this version does wrong."""
        if self._version.is_commit:
            return ConfigError(f"{sentence}; choose another commit, or install what it needs")
        return DeviceError(sentence)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Those of the conversation into those of this version."""
        try:
            yield
        except DeviceError as error:
            raise self._error(str(error)) from None

    def begin(self, work: Work) -> None:
        """Let it be made ready, and do not wait: two versions can compile at a time."""
        if not work.is_process:
            order = {"start": work.name, "what": work.what, "config": work.config, "data": str(work.data)}
            with self._translate_errors():
                self._conversation.send(order)

    def wait(self, work: Work) -> list[float] | None:
        """Until it is ready; its first training losses, None for a whole process. Raises MissingError."""
        if work.is_process:
            if reason := self._run(work):  # the first time compiles the package to bytecode
                raise MissingError(reason)
            return None
        with self._translate_errors():
            answer = self._conversation.receive()
        if "missing" in answer:
            raise MissingError(answer["missing"])
        return [float(loss) for loss in answer["losses"]]

    def turn(self, work: Work, count: int) -> float:
        """Do it so many times more; the seconds."""
        if not work.is_process:
            with self._translate_errors():
                return float(self._conversation.ask({"case": work.name, "count": count})["seconds"])
        begun = time.perf_counter()
        for _ in range(count):
            if reason := self._run(work):
                raise self._error(f"{self._version.name}: {work.name} failed ({reason})")
        return time.perf_counter() - begun

    def _run(self, work: Work) -> str:
        """A whole process; why it failed, empty where it did not."""
        command = _command(*work.arguments)
        done = subprocess.run(command, env=version_environment(self._version), capture_output=True, text=True)
        if not done.returncode:
            return ""
        return (done.stderr.strip().splitlines() or ["without a word"])[-1]

    def close(self) -> None:
        """End the process."""
        self._conversation.close()


def _command(*arguments: str) -> list[str]:
    # -P: the folder of the worker, with modules such as statistics.py, is not put on the path.
    return [sys.executable, "-P", str(WORKER), *arguments]


def version_environment(version: Version) -> dict[str, str]:
    """Of this process, with the version's package in front."""
    return {
        **os.environ,
        "PYTHONPATH": python_path(version.folder),
        # Kept programs would hide what compiling costs; several processes cannot each take most of a GPU's memory.
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
