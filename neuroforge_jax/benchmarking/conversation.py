"""A process that is asked by lines of JSON on its standard input, and answers so on its standard output."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuroforge_jax.errors import DeviceError


class Conversation:
    """With the process of a command. name: what errors call it. Raises DeviceError where it ends or fails."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = name
        self._folder = tempfile.TemporaryDirectory()
        self._errors = (Path(self._folder.name) / "errors").open("w+")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=self._folder.name,
            env=environment,
        )

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to this order."""
        self.send(order)
        return self.receive()

    def send(self, order: Mapping[str, Any]) -> None:
        """Give an order, and do not wait for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def receive(self) -> dict[str, Any]:
        """Wait for the answer to the order before."""
        assert self._process.stdout is not None
        try:
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise self._ended() from None
        if "error" in answer:
            raise DeviceError(f"{self._name}: {answer['error']}")
        return dict(answer)

    def _ended(self) -> DeviceError:
        self._errors.seek(0)
        last = (self._errors.read().strip().splitlines() or ["without a word"])[-1]
        return DeviceError(f"{self._name}: its process ended ({last})")

    def close(self) -> None:
        """End the process at once: it has nothing to save, and who interrupts a benchmark does not wait."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()


def python_path(first: Path) -> str:
    """The value of PYTHONPATH that puts this folder before those that the user has put there."""
    return os.pathsep.join(filter(None, (str(first), os.environ.get("PYTHONPATH"))))
