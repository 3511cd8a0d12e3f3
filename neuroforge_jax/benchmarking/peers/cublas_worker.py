"""CUDA C with cuBLAS: hand-written kernels, float32 products by cuBLAS, the launches of a step recorded as a graph.

The kernels are those of `cublas_kernels.cu`, which NVRTC compiles at the start. The host is Python, and costs no
more than one in C: a step is one call that replays its graph, and the number of the step is a counter on the device
that a kernel moves on. A C program that launches kernel by kernel gives the device the same work, and makes a call
for each kernel.

The samples lie on the device. The update of the weights is part of the product that gives their gradient: as SGD is
plain, W = W - rate xᵀ slopes is one sgemm, and no gradient is stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuroforge_jax.benchmarking.peers.cuda_device import Array, Device
from neuroforge_jax.benchmarking.peers.cuda_libraries import open_libraries, versions
from neuroforge_jax.benchmarking.peers.serving import PeerTask, serve

KERNELS = Path(__file__).with_name("cublas_kernels.cu")

STEPS_AT_ONCE = 1024
"""That the device has room for: the order of their samples, and their losses."""

ROW_THREADS = 256
"""Of a block that goes along a row."""

WARP, ROWS_PER_BLOCK = 32, 4
TILE_ROWS, TILE_LANES = 32, 8
"""As the kernels have them."""


@dataclass(frozen=True)
class Layer:
    """weights: [I, O]. bias: [O]. outputs: [B, O]. slopes: [B, O], of the loss; those of the last layer replace its
    outputs.
    """

    weights: Array
    bias: Array
    outputs: Array
    slopes: Array


class Trainer:
    """On a GPU, whose memory it holds until the process ends."""

    def __init__(self, problem: PeerTask, mode: str, threads: int) -> None:
        libraries = open_libraries()
        self.version = versions(libraries)
        self.device = device = Device(libraries, KERNELS.read_text(encoding="utf-8"))
        self.rate = float(problem.learning_rate)
        self.rows = problem.order.shape[1]
        self.samples, self.labels = device.upload(problem.x), device.upload(problem.y.astype(np.int32))
        self.order = device.allocate(STEPS_AT_ONCE, self.rows)
        self.step_losses = device.allocate(STEPS_AT_ONCE)
        self.step, self.blocks_done = device.allocate(1), device.allocate(1)
        self.batch = device.allocate(self.rows, problem.x.shape[1])
        self.layers: list[Layer] = []
        for weights, bias in problem.weights:
            outputs = device.allocate(self.rows, len(bias))
            is_last = len(self.layers) == len(problem.weights) - 1
            slopes = outputs if is_last else device.allocate(self.rows, len(bias))
            arrays = device.allocate(*weights.shape), device.allocate(len(bias))
            self.layers.append(Layer(*arrays, outputs, slopes))
        self.replay = device.capture(self._launch_step)
        # Only now, for to capture a step is to try it.
        for layer, (weights, bias) in zip(self.layers, problem.weights, strict=True):
            device.write(layer.weights, weights)
            device.write(layer.bias, bias)

    def losses(self, order: np.ndarray) -> list[float]:
        """The loss of each step."""
        found: list[float] = []
        for batches in _parts(order):
            self._replay_steps(batches)
            found += self.device.read(self.step_losses)[: len(batches)].tolist()
        return found

    def train(self, order: np.ndarray) -> None:
        """All steps."""
        for batches in _parts(order):
            self._replay_steps(batches)
        self.device.synchronize()

    def _replay_steps(self, batches: np.ndarray) -> None:
        self.device.write(self.order, batches.astype(np.int32))
        self.device.zero(self.step_losses)
        self.device.zero(self.step)
        for _ in batches:
            self.replay()

    def _launch_step(self) -> None:
        multiply, launch = self.device.multiply, self.device.launch
        self._launch_along_rows("gather_batch", self.samples, self.order, self.step, self.batch)
        inputs = [self.batch]
        *hidden, last = self.layers
        for layer in hidden:
            multiply(inputs[-1], layer.weights, layer.outputs)
            self._launch_along_rows("add_bias_relu", layer.bias, layer.outputs)
            inputs.append(layer.outputs)
        multiply(inputs[-1], last.weights, last.outputs)
        rows, classes = last.outputs.shape
        launch(
            "softmax_cross_entropy", (-(-rows // ROWS_PER_BLOCK), 1), (WARP, ROWS_PER_BLOCK),
            last.outputs, last.bias, self.labels, self.order, self.step, self.step_losses, self.blocks_done,
            rows, classes,
        )  # fmt: skip
        for index in reversed(range(len(self.layers))):
            layer = self.layers[index]
            width = layer.slopes.shape[1]
            launch(
                "update_bias_through_relu", (-(-width // WARP), -(-rows // TILE_ROWS)), (WARP, TILE_LANES),
                layer.slopes, None if layer is last else layer.outputs, layer.bias, self.rate, rows, width,
            )  # fmt: skip
            if index:  # before the weights change
                multiply(layer.slopes, layer.weights, self.layers[index - 1].slopes, transpose=(False, True))
            multiply(
                inputs[index], layer.slopes, layer.weights, transpose=(True, False), scale=-self.rate, keep=1
            )

    def _launch_along_rows(self, kernel: str, *arrays: Array) -> None:
        """A thread for each element of the last array, whose width is the kernel's last argument."""
        rows, columns = arrays[-1].shape
        self.device.launch(kernel, (rows, -(-columns // ROW_THREADS)), (ROW_THREADS, 1), *arrays, columns)


def _parts(order: np.ndarray) -> Iterator[np.ndarray]:
    """Batches, i64 [S, B], so many at once as the device has room for."""
    for first in range(0, len(order), STEPS_AT_ONCE):
        yield order[first : first + STEPS_AT_ONCE]


if __name__ == "__main__":
    serve(Trainer)
