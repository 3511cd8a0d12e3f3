"""A process of another Python that is asked by lines of JSON, and answers so."""

import json
import os
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import neuroforge_jax
from neuroforge_jax.errors import DeviceError

ROOT = Path(neuroforge_jax.__file__).parents[1]


def environment(threads: int) -> dict[str, str]:
    """Of a peer: it finds its worker here, and has as many threads as we have."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


class Conversation:
    """With the worker of this name, a module beside this one. Raises DeviceError where it ends or fails."""

    def __init__(self, name: str, python: Path, worker: str, threads: int) -> None:
        self._name = name
        self._folder = tempfile.TemporaryDirectory()
        self._errors = (Path(self._folder.name) / "errors").open("w+")
        self._process = subprocess.Popen(
            [str(python), "-m", f"neuroforge_jax.benchmarking.peers.{worker}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=self._folder.name,
            env=environment(threads),
        )

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
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
        """End the process."""
        with suppress(OSError):  # it may have ended
            self._process.communicate(timeout=30)
        self._errors.close()
        self._folder.cleanup()
