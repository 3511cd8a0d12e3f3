"""A process that is asked by lines of JSON on its standard input, and answers so on its standard output."""

import json
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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["without a word"])[-1]
            raise DeviceError(f"{self._name}: its process ended ({last})") from None
        if "error" in answer:
            raise DeviceError(f"{self._name}: {answer['error']}")
        return dict(answer)

    def close(self) -> None:
        """End the process at once: it has nothing to save, and who interrupts a benchmark does not wait."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()
