"""scikit-learn's MLPClassifier, a batch at a time through partial_fit."""

import warnings

import numpy as np
import sklearn
from sklearn.neural_network import MLPClassifier

from neuroforge_jax.benchmarking.peers.serving import PeerTask, serve


class Trainer:
    """Plain SGD without its L2 penalty; its first weights are replaced by the problem's."""

    version = sklearn.__version__

    def __init__(self, problem: PeerTask, mode: str, threads: int) -> None:
        self.problem = problem
        batch_size = problem.order.shape[1]
        self.network = MLPClassifier(
            hidden_layer_sizes=[len(bias) for _, bias in problem.weights[:-1]],
            solver="sgd",
            momentum=0.0,
            alpha=0.0,
            batch_size=batch_size,
            learning_rate_init=problem.learning_rate,
            shuffle=False,
        )
        self.classes = np.arange(len(problem.weights[-1][1]))
        with warnings.catch_warnings():
            # A rate of 0 makes what the first call makes, and moves nothing.
            self.network.set_params(learning_rate_init=1e-300)
            self.network.partial_fit(problem.x[:batch_size], problem.y[:batch_size], classes=self.classes)
        self.network.set_params(learning_rate_init=problem.learning_rate)
        for index, (kernel, bias) in enumerate(problem.weights):
            self.network.coefs_[index][...] = kernel
            self.network.intercepts_[index][...] = bias
        self.network._optimizer.learning_rate = problem.learning_rate

    def losses(self, order: np.ndarray) -> list[float]:
        """The loss of each step, as the network tells it."""
        told = []
        for batch in order:
            self.network.partial_fit(self.problem.x[batch], self.problem.y[batch])
            told.append(float(self.network.loss_))
        return told

    def train(self, order: np.ndarray) -> None:
        """All steps."""
        for batch in order:
            self.network.partial_fit(self.problem.x[batch], self.problem.y[batch])


if __name__ == "__main__":
    serve(Trainer)
