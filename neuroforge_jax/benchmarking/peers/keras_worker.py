"""Keras on TensorFlow: a Sequential model, compiled with plain SGD, trained batch by batch."""

import keras
import numpy as np
import tensorflow as tf

from neuroforge_jax.benchmarking.peers.serving import PeerTask, serve


class Trainer:
    """`train_on_batch`, whose program Keras compiles with XLA where the mode says so."""

    version = f"{keras.__version__}, TensorFlow {tf.__version__}"

    def __init__(self, problem: PeerTask, mode: str, threads: int) -> None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        for device in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(device, True)  # others are measured beside it
        layers: list[keras.Layer] = [keras.Input((problem.x.shape[1],))]
        last = len(problem.weights) - 1
        for index, (_, bias) in enumerate(problem.weights):
            layers.append(keras.layers.Dense(len(bias), activation=None if index == last else "relu"))
        self.network = keras.Sequential(layers)
        self.network.set_weights([part for pair in problem.weights for part in pair])
        self.network.compile(
            optimizer=keras.optimizers.SGD(problem.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile="xla" in mode.split(),
        )
        self.problem = problem

    def losses(self, order: np.ndarray) -> list[float]:
        """The loss of each step."""
        told = []
        for batch in order:
            self.network.reset_metrics()
            told.append(float(self.network.train_on_batch(self.problem.x[batch], self.problem.y[batch])))
        return told

    def train(self, order: np.ndarray) -> None:
        """All steps."""
        for batch in order:
            self.network.train_on_batch(self.problem.x[batch], self.problem.y[batch])


if __name__ == "__main__":
    serve(Trainer)
