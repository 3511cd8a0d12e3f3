"""A version as a process that trains what it is told, and whole processes of it."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from neuroforge_jax.benchmarking.against.versions import PACKAGE, Version
from neuroforge_jax.benchmarking.against.work import Work
from neuroforge_jax.benchmarking.conversation import Conversation
from neuroforge_jax.errors import ConfigError, DeviceError

WORKER = Path(__file__).with_name("worker.py")


class MissingError(Exception):
    """The version cannot do this work; the text says why."""


class VersionProcess:
    """With the package of a version imported. Raises ConfigError where it cannot be."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._conversation = Conversation(version.name, _command(), environment(version))
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
            raise ConfigError(
                f"{self._version.name} cannot be imported here ({reason}); choose another commit, or install what "
                "it needs"
            ) from None
        if file.resolve() != (self._version.folder / PACKAGE / "__init__.py").resolve():
            raise ConfigError(
                f"{self._version.name} was not imported, but another {PACKAGE}; start Python without what puts one "
                "in front (a .pth file, sitecustomize, an import hook)"
            )

    def begin(self, work: Work) -> None:
        """Let it be made ready, and do not wait: two versions can compile at a time."""
        if not work.arguments:
            order = {"start": work.name, "what": work.what, "config": work.config, "data": str(work.data)}
            self._conversation.send(order)

    def wait(self, work: Work) -> float | None:
        """Until it is ready; a training loss, None for a whole process. Raises MissingError."""
        if work.arguments:
            if reason := self._run(work):  # the first time compiles the package to bytecode
                raise MissingError(reason)
            return None
        answer = self._conversation.receive()
        if "missing" in answer:
            raise MissingError(answer["missing"])
        return float(answer["loss"])

    def turn(self, work: Work, count: int) -> float:
        """Do it so many times more; the seconds."""
        if not work.arguments:
            return float(self._conversation.ask({"case": work.name, "count": count})["seconds"])
        begun = time.perf_counter()
        for _ in range(count):
            if reason := self._run(work):
                raise DeviceError(f"{self._version.name}: {work.name} failed ({reason})")
        return time.perf_counter() - begun

    def _run(self, work: Work) -> str:
        """A whole process; why it failed, empty where it did not."""
        command = _command(*work.arguments)
        done = subprocess.run(command, env=environment(self._version), capture_output=True, text=True)
        if not done.returncode:
            return ""
        return (done.stderr.strip().splitlines() or ["without a word"])[-1]

    def close(self) -> None:
        """End the process."""
        self._conversation.close()


def _command(*arguments: str) -> list[str]:
    # -P: the folder of the worker, with modules such as statistics.py, is not put on the path.
    return [sys.executable, "-P", str(WORKER), *arguments]


def environment(version: Version) -> dict[str, str]:
    """Of this process, with the version's package in front."""
    behind = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(version.folder), *([behind] if behind else [])])
    # Kept programs would hide what compiling costs; three processes cannot each take most of a GPU's memory.
    settings: dict[str, Any] = {
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    return {**os.environ, **settings, "PYTHONPATH": path}
