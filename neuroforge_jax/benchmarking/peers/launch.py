"""The process of a peer: a module beside this one, in a Python that has the peer's framework."""

import os
from pathlib import Path

import neuroforge_jax
from neuroforge_jax.benchmarking.conversation import Conversation, python_path

ROOT = Path(neuroforge_jax.__file__).parents[1]


def launch_peer(name: str, python: Path, worker: str, threads: int) -> Conversation:
    """Start the worker of this module name. Raises DeviceError where it ends or fails."""
    command = [str(python), "-m", f"neuroforge_jax.benchmarking.peers.{worker}"]
    return Conversation(name, command, peer_environment(threads))


def peer_environment(threads: int) -> dict[str, str]:
    """It finds its worker here and its framework wherever we would, and has as many threads as we have."""
    return {
        **os.environ,
        "PYTHONPATH": python_path(ROOT),
        "OMP_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
