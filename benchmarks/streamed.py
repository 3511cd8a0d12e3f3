"""One epoch from a mapped training set, in a process whose memory is that of the training alone:

    python benchmarks/streamed.py FOLDER

prints rate and memory as a line of JSON. `write_copies` makes such a folder.
"""

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

import neuroforge_jax as nf


def write_copies(folder: Path, samples: int) -> None:
    """MNIST over and over: `x_train.npy` of so many samples, and the other arrays of a folder."""
    mnist = nf.load_dataset("mnist")
    x = np.lib.format.open_memmap(folder / "x_train.npy", "w+", np.uint8, (samples, 784))
    for first in range(0, samples, len(mnist.train)):
        x[first : first + len(mnist.train)] = mnist.train.inputs[: samples - first]
    x.flush()
    copies = -(-samples // len(mnist.train))
    np.save(folder / "y_train.npy", np.tile(mnist.train.targets, copies)[:samples].astype(np.uint8))
    np.save(folder / "x_test.npy", mnist.test.inputs)
    np.save(folder / "y_test.npy", mnist.test.targets.astype(np.uint8))


def stream(folder: str) -> None:
    """Train a part of an epoch from the mapped folder and print rate and memory as JSON."""
    dataset = nf.load_dataset(folder)
    config = nf.TrainConfig(batch_size=64, backend="async", precision="bf16")
    model, state = nf.init(config, dataset)
    before = _anonymous_bytes()
    peak, over = [before], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak.append(_anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    run = nf.prepare(config, model, dataset)
    steps = nf.steps_per_epoch(config, dataset)
    begun = time.perf_counter()
    for first in range(0, steps, steps // 8):
        state, metrics = run(state, first, min(steps, first + steps // 8))
        assert np.isfinite(metrics.loss).all()
    seconds = time.perf_counter() - begun
    over.set()
    watcher.join()
    print(
        json.dumps(
            {
                "training_set_bytes": int(dataset.train.inputs.nbytes),
                "samples": steps * 64,
                "samples_per_second": steps * 64 / seconds,
                "anonymous_bytes_before": before,
                "extra_anonymous_bytes": max(peak) - before,
                "last_loss": float(metrics.loss[-100:].mean()),
            }
        )
    )


def _anonymous_bytes() -> int:
    """Memory of this process that is no mapped file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


if __name__ == "__main__":
    stream(sys.argv[1])
