"""Peers as candidates: processes that train the same problem, after their losses were seen to be ours."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from neuroforge_jax.benchmarking.harness import Started
from neuroforge_jax.benchmarking.peers.cuda_libraries import absent_library
from neuroforge_jax.benchmarking.peers.launch import launch_peer, peer_environment
from neuroforge_jax.benchmarking.peers.serving import PeerTask
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.shuffle import order_on_host, round_keys
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.job.pieces import init, prepare, steps_per_epoch

COMPARED_STEPS = 20
TOLERANCE = {"f32": 1e-4, "bf16": 2e-2}
"""Of the mean relative difference of the losses of 20 steps. float32 sums of up to 1,024 terms differ by some 1e-6
of their size from one order of adding to another, and 20 updates multiply that; bf16 keeps 8 bits, 4e-3, of every
product. A wrong rate, order or loss differs by more than a tenth (the tests plant one)."""

CUDA = "CUDA"
"""What a peer needs that is no module of Python: the driver, NVRTC and cuBLAS."""


@dataclass(frozen=True)
class Peer:
    """worker: a module beside this one. mode: what it is told. needs: what its Python must be able to import, or
    CUDA.
    """

    name: str
    worker: str
    mode: str
    needs: str

    @property
    def foreign(self) -> bool:
        """Whether it may be of another Python, by --peer-python."""
        return self.needs in ("torch", "tensorflow")

    @property
    def on_gpu(self) -> bool:
        """Whether it trains on an NVIDIA GPU."""
        return self.needs == CUDA or "cuda" in self.mode

    @property
    def tolerance(self) -> float:
        """Within which its losses must be ours."""
        return TOLERANCE["bf16" if "bf16" in self.mode else "f32"]


PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("numpy", "numpy_worker", "f32", "numpy"),
        Peer("scikit-learn", "sklearn_worker", "f32", "sklearn"),
        Peer("flax nnx", "flax_worker", "f32", "flax"),
        *(
            Peer(f"torch {mode}", "torch_worker", mode, "torch")
            for mode in ("eager f32", "eager bf16", "compiled f32", "compiled bf16")
        ),
        Peer("keras", "keras_worker", "f32", "tensorflow"),
        Peer("keras xla", "keras_worker", "f32 xla", "tensorflow"),
        *(
            Peer(f"torch cuda {mode}", "torch_worker", f"{mode} cuda", "torch")
            for mode in ("eager f32", "eager bf16", "compiled f32", "compiled bf16")
        ),
        Peer("CUDA C", "cublas_worker", "f32", CUDA),
    )
}
ON_CPUS = tuple(name for name, peer in PEERS.items() if not peer.on_gpu)
ON_CUDA = tuple(name for name, peer in PEERS.items() if peer.on_gpu)


@cache
def absence(needs: str, python: Path) -> str:
    """Why this Python cannot run a peer that needs this module, or CUDA; "" where it can."""
    if needs == CUDA:
        return absent_library()
    try:
        done = subprocess.run(
            [str(python), "-c", f"import {needs}"],
            env=peer_environment(threads=1),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{python.name} does not run ({type(error).__name__})"
    if not done.returncode:
        return ""
    reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
    return f"{needs} cannot be imported ({reason}); give a Python that has it as --peer-python"


def make_task(config: TrainConfig, dataset: Dataset, steps: int) -> PeerTask:
    """The training of a config as a peer is given it: our first weights, our batches, whole ones only."""
    model, state = init(config, dataset)
    x = np.asarray(model.spec.preprocess(model.fitted, jnp.asarray(dataset.train.inputs)), np.float32)
    layers = [state.params[name] for name in sorted(state.params)]
    weights = [(np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in layers]
    per_epoch = len(x) // config.batch_size
    whole = np.arange(per_epoch * config.batch_size)
    orders = []
    for epoch in range(-(-steps // per_epoch)):
        keys = np.asarray(round_keys(state.order_key, epoch))
        order_of_epoch = order_on_host(keys, len(x), whole) if config.shuffle else whole
        orders.append(order_of_epoch.reshape(per_epoch, config.batch_size))
    order = np.concatenate(orders)[:steps]
    targets = dataset.train.targets.astype(np.int64)
    return PeerTask(x, targets, order, weights, config.learning_rate)


def our_losses(config: TrainConfig, dataset: Dataset, steps: int = COMPARED_STEPS) -> np.ndarray:
    """The losses of our first steps, f64 [steps], in float32 and one step at a time."""
    assert steps <= steps_per_epoch(config, dataset)
    config = replace(config, backend="stepped", precision=None)
    model, state = init(config, dataset)
    _, metrics = prepare(config, model, dataset)(state, 0, steps)
    return metrics.loss.astype(np.float64)


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The mean relative difference of two lists of losses; infinite where one is no number."""
    relative = np.abs(theirs - ours) / np.abs(ours)
    return float(relative.mean()) if np.isfinite(relative).all() else float("inf")


class PeerProcess:
    """A peer that has read its problem. Raises DeviceError where its process ends or answers with an error."""

    def __init__(self, peer: Peer, python: Path, problem: PeerTask, threads: int) -> None:
        self.peer = peer
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "problem.npz"
        problem.write(path)
        self._conversation = launch_peer(f"peer {peer.name}", python, peer.worker, threads)
        try:
            answer = self._conversation.ask({"data": str(path), "mode": peer.mode, "threads": threads})
        except DeviceError:
            self.close()
            raise
        self.version = str(answer["version"])

    def compare(self, ours: np.ndarray) -> None:
        """Train as many steps as we did, and keep how far the losses are from ours."""
        self.difference = difference(ours, self.losses(len(ours)))

    def losses(self, steps: int = COMPARED_STEPS) -> np.ndarray:
        """Train so many steps; the loss of each, f64 [steps]."""
        return np.asarray(self._conversation.ask({"losses": steps})["losses"], np.float64)

    def turn(self, steps: int) -> float:
        """Train so many steps more; the seconds, as the process measured them."""
        return float(self._conversation.ask({"steps": steps})["seconds"])

    def started(self) -> Started:
        """As a candidate of the harness; its first steps were those whose losses were compared."""
        return Started(self.turn)

    def peak_resident_bytes(self) -> int:
        """The most memory that the process has had."""
        return int(self._conversation.ask({"memory": True})["peak_resident_bytes"])

    def close(self) -> None:
        """End the process."""
        self._conversation.close()
        self._folder.cleanup()


OURS = """
import json, sys
import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.commands.config_files import config_from_data
from neuroforge_jax.system.memory import peak_resident_bytes
config = config_from_data(json.loads(sys.argv[1]), "config")
data = random_pixels(int(sys.argv[2]), int(sys.argv[3]))
model, state = nf.init(config, data)
state, metrics = nf.prepare(config, model, data)(state, 0, 50)
metrics.loss
print(peak_resident_bytes())
"""


def our_peak_resident_bytes(config: TrainConfig, dataset: Dataset) -> int:
    """Of a process that does what a peer's does: it reads samples of this size and trains 50 steps."""
    words = [json.dumps(asdict(config)), str(len(dataset.train)), str(dataset.inputs)]
    done = subprocess.run([sys.executable, "-c", OURS, *words], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])
