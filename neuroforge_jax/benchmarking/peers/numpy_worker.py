"""NumPy by hand: float32, whole batches, updates in place."""

import numpy as np

from neuroforge_jax.benchmarking.peers.serving import PeerTask, serve


class Trainer:
    """The forward pass, the backward pass and the update, as one would write them on paper."""

    version = np.__version__

    def __init__(self, problem: PeerTask, mode: str, threads: int) -> None:
        self.problem = problem
        self.weights = [(kernel.copy(), bias.copy()) for kernel, bias in problem.weights]

    def losses(self, order: np.ndarray) -> list[float]:
        """The loss of each step."""
        return [self.step(batch) for batch in order]

    def train(self, order: np.ndarray) -> None:
        """All steps."""
        for batch in order:
            self.step(batch)

    def step(self, batch: np.ndarray) -> float:
        """One step; its loss."""
        x, y = self.problem.x[batch], self.problem.y[batch]
        inputs = [x]
        for kernel, bias in self.weights[:-1]:
            inputs.append(np.maximum(inputs[-1] @ kernel + bias, 0))
        kernel, bias = self.weights[-1]
        logits = inputs[-1] @ kernel + bias
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        rows = np.arange(len(y))
        loss = float(np.mean(np.log(sums[:, 0]) - logits[rows, y]))
        slope = exponentials / sums
        slope[rows, y] -= 1
        slope /= len(y)
        rate = np.float32(self.problem.learning_rate)
        for index in reversed(range(len(self.weights))):
            kernel, bias = self.weights[index]
            kernel_gradient, bias_gradient = inputs[index].T @ slope, slope.sum(axis=0)
            if index:
                slope = slope @ kernel.T
                slope *= inputs[index] > 0
            kernel -= rate * kernel_gradient
            bias -= rate * bias_gradient
        return loss


if __name__ == "__main__":
    serve(Trainer)
