"""The side of a peer: orders as lines of JSON on standard input, answers as lines on standard output.

    {"data": "problem.npz", "mode": "eager f32", "threads": 2}   → {"version": "2.13.0"}
    {"losses": 20}      train so many steps, and give the loss of each before its update → {"losses": [2.3, …]}
    {"steps": 100}      train so many steps more → {"seconds": 0.5}
    {"memory": true}    → {"peak_resident_bytes": 400000000}

Whatever goes wrong is {"error": "…"}. Runs in any Python that has NumPy and the peer's framework.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from neuroforge_jax.system.memory import peak_resident_bytes


@dataclass(frozen=True, eq=False)
class PeerTask:
    """x: f32 [N, I], scaled. y: i64 [N]. order: i64 [S, B], the samples of each step. weights: W f32 [I, O] and
    b f32 [O] of each layer. Between the layers is a relu; the loss is the mean softmax cross-entropy; the update is
    plain SGD.
    """

    x: np.ndarray
    y: np.ndarray
    order: np.ndarray
    weights: list[tuple[np.ndarray, np.ndarray]]
    learning_rate: float

    def write(self, path: Path) -> None:
        """As an .npz."""
        arrays = {
            "x": self.x,
            "y": self.y,
            "order": self.order,
            "learning_rate": np.asarray(self.learning_rate),
        }
        for index, (kernel, bias) in enumerate(self.weights):
            arrays |= {f"W{index}": kernel, f"b{index}": bias}
        np.savez(path, allow_pickle=False, **arrays)

    @staticmethod
    def read(path: Path) -> "PeerTask":
        """What `write` wrote."""
        with np.load(path, allow_pickle=False) as saved:
            layers = sum(name.startswith("W") for name in saved.files)
            weights = [(saved[f"W{index}"], saved[f"b{index}"]) for index in range(layers)]
            return PeerTask(saved["x"], saved["y"], saved["order"], weights, float(saved["learning_rate"]))


class Trainer(Protocol):
    """A training of a framework, ready to go. version: of the framework."""

    version: str

    def losses(self, order: np.ndarray) -> list[float]:
        """Train on these batches, i64 [S, B]; the loss of each before its update."""
        ...

    def train(self, order: np.ndarray) -> None:
        """Train on these batches, and wait until it is done."""
        ...


MakeTrainer = Callable[[PeerTask, str, int], Trainer]
"""(problem, mode, threads) → a trainer at the problem's first weights."""


def serve(make: MakeTrainer) -> None:
    """Answer orders until standard input ends. What a framework prints goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    trainer, problem, at = None, None, 0
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer: dict[str, object]
            if "data" in order:
                problem = PeerTask.read(Path(order["data"]))
                trainer = make(problem, order["mode"], order["threads"])
                answer = {"version": trainer.version}
            elif "memory" in order:
                answer = {"peak_resident_bytes": peak_resident_bytes()}
            else:
                assert trainer is not None
                assert problem is not None
                count = order.get("losses", order.get("steps"))
                batches = problem.order[np.arange(at, at + count) % len(problem.order)]
                at += count
                if "losses" in order:
                    answer = {"losses": trainer.losses(batches)}
                else:
                    begun = time.perf_counter()
                    trainer.train(batches)
                    answer = {"seconds": time.perf_counter() - begun}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), file=answers, flush=True)
