"""A version as a process that trains what it is told, and whole processes of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from neuroforge_jax.benchmarking.against.versions import PACKAGE, Version
from neuroforge_jax.benchmarking.against.work import Work
from neuroforge_jax.benchmarking.conversation import Conversation
from neuroforge_jax.benchmarking.harness import time_call
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
            file = self._conversation.ask({"import": True})["file"]
        except DeviceError as error:
            self.close()
            raise ConfigError(
                f"{error}: this version cannot be imported here; choose a commit that can"
            ) from None
        expected = version.folder / PACKAGE / "__init__.py"
        if not expected.samefile(file):
            self.close()
            raise ConfigError(
                f"{version.name}: another {PACKAGE} than this version's was imported; start Python without what "
                "puts one in front (a .pth file, sitecustomize, an import hook)"
            )

    def start(self, work: Work) -> float | None:
        """Make ready; a training loss, None for a whole process. Raises MissingError."""
        if work.arguments:
            try:
                self._run(work)  # the first time compiles the package to bytecode
            except DeviceError as error:
                raise MissingError(str(error)) from None
            return None
        order = {"start": work.name, "what": work.what, "config": work.config, "data": str(work.data)}
        answer = self._conversation.ask(order)
        if "missing" in answer:
            raise MissingError(answer["missing"])
        return float(answer["loss"])

    def turn(self, work: Work, count: int) -> float:
        """Do it so many times more; the seconds."""
        if work.arguments:
            return sum(time_call(lambda: self._run(work)) for _ in range(count))
        return float(self._conversation.ask({"case": work.name, "count": count})["seconds"])

    def _run(self, work: Work) -> None:
        done = subprocess.run(
            _command(*work.arguments), env=environment(self._version), capture_output=True, text=True
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
            raise DeviceError(f"{self._version.name}: {work.name} failed ({last})")

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
