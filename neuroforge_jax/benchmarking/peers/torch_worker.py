"""PyTorch: eager or compiled, in float32 or in bf16 by autocast, on the CPU or on a GPU."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from neuroforge_jax.benchmarking.peers.serving import PeerTask, serve


class Trainer:
    """nn.Sequential, the fused SGD, and `torch.compile` of the loss where the mode says compiled."""

    version = torch.__version__

    def __init__(self, problem: PeerTask, mode: str, threads: int) -> None:
        how, precision, *where = mode.split()
        torch.set_num_threads(threads)
        self.device = torch.device(where[0] if where else "cpu")
        widths = [problem.x.shape[1], *(len(bias) for _, bias in problem.weights)]
        layers: list[nn.Module] = []
        for (inputs, outputs), (kernel, bias) in zip(pairwise(widths), problem.weights, strict=True):
            linear = nn.Linear(inputs, outputs)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(kernel.T.copy()))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1]).to(self.device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=problem.learning_rate, fused=True)
        self.x = torch.from_numpy(problem.x).to(self.device)
        self.y = torch.from_numpy(problem.y).to(self.device)
        self.precision = precision
        self.loss_of = torch.compile(self._loss) if how == "compiled" else self._loss

    def _loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        enabled = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            logits = self.network(x)
        return nn.functional.cross_entropy(logits.float(), y)

    def _step(self, batch: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad()
        loss = self.loss_of(self.x[batch], self.y[batch])
        loss.backward()
        self.optimizer.step()
        return loss

    def losses(self, order: np.ndarray) -> list[float]:
        """The loss of each step."""
        return [float(self._step(batch).detach()) for batch in torch.from_numpy(order).to(self.device)]

    def train(self, order: np.ndarray) -> None:
        """All steps."""
        for batch in torch.from_numpy(order).to(self.device):
            self._step(batch)
        if self.device.type == "cuda":
            torch.cuda.synchronize()


if __name__ == "__main__":
    serve(Trainer)
