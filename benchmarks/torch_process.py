"""The process that trains with PyTorch, `torch_peer.py`, as seen from the benchmarks."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT

import neuroforge_jax as nf


class Peer:
    """The process that trains with PyTorch."""

    def __init__(self, python: Path, dataset: nf.Dataset, folder: Path) -> None:
        x = (dataset.train.inputs.astype(np.float32) - dataset.scaling.shift) * dataset.scaling.scale
        np.savez(folder / "peer.npz", x=x, y=dataset.train.targets.astype(np.int64))
        self._process = subprocess.Popen(
            [str(python), str(ROOT / "benchmarks" / "torch_peer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threads = len(os.sched_getaffinity(0))
        self.version = self._ask({"data": str(folder / "peer.npz"), "threads": threads})["torch"]

    def contender(self, widths: list[int], batch: int, mode: str, samples: int) -> Callable[[], float]:
        order = {"widths": widths, "batch": batch, "mode": mode, "samples": samples}

        def go() -> float:
            answer = self._ask(order)
            if "error" in answer:
                raise SystemExit(f"torch, {mode}, batch {batch}: {answer['error']}")
            return float(answer["rate"])

        go()
        return go

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
