"""Flax NNX with optax, a jitted step a batch, as its documentation trains."""

from itertools import pairwise

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from neuroforge_jax.benchmarking.peers.serving import PeerTask, serve


class Network(nnx.Module):
    """Linear layers with a relu between them."""

    def __init__(self, widths: list[int], rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(*pair, rngs=rngs) for pair in pairwise(widths)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of a batch."""
        for layer in self.layers[:-1]:
            x = nnx.relu(layer(x))
        return self.layers[-1](x)


@nnx.jit
def train_step(network: Network, optimizer: nnx.Optimizer, x: jax.Array, y: jax.Array) -> jax.Array:
    """One step; its loss."""

    def loss_of(network: Network) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(network(x), y).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(network)
    optimizer.update(network, gradients)
    return loss


class Trainer:
    """The samples lie on the device; each step is dispatched on its own."""

    version = flax.__version__

    def __init__(self, problem: PeerTask, mode: str, threads: int) -> None:
        widths = [problem.x.shape[1], *(len(bias) for _, bias in problem.weights)]
        self.network = Network(widths, nnx.Rngs(0))
        for layer, (kernel, bias) in zip(self.network.layers, problem.weights, strict=True):
            layer.kernel, layer.bias = nnx.Param(jnp.asarray(kernel)), nnx.Param(jnp.asarray(bias))
        self.optimizer = nnx.Optimizer(self.network, optax.sgd(problem.learning_rate), wrt=nnx.Param)
        self.x, self.y = jnp.asarray(problem.x), jnp.asarray(problem.y)

    def _step(self, batch: np.ndarray) -> jax.Array:
        return train_step(self.network, self.optimizer, self.x[batch], self.y[batch])

    def losses(self, order: np.ndarray) -> list[float]:
        """The loss of each step."""
        return [float(self._step(batch)) for batch in order]

    def train(self, order: np.ndarray) -> None:
        """All steps."""
        for batch in order:
            loss = self._step(batch)
        loss.block_until_ready()


if __name__ == "__main__":
    serve(Trainer)
