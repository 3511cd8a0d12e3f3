"""The recipe of a speedrun in PyTorch, on its standard input a line of JSON an order, on its output the answers.

    {"data": "mnist.npz", "recipe": {…}, "mode": "compiled bf16", "threads": 2}   → {"version": "2.13.0"}
    {"seed": 3}         train from the weights of this seed → {"seconds": 0.9, "accuracy": 0.98}

Network, loss, optimizer and schedule are PyTorch's own, with our numbers: its `OneCycleLR` is our schedule.
The samples lie in memory, standardized; the seconds are those of the training loop alone.
"""

import json
import sys
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
INITIALIZERS = {"he": "relu", "lecun": "linear"}
"""By the `nonlinearity` for which PyTorch's Kaiming initializer has that variance."""


class Speedrun:
    """A recipe on MNIST, read from an .npz with x_train, y_train, x_test, y_test as uint8 [N, I] and i64 [N]."""

    def __init__(self, data: str, recipe: dict[str, Any], mode: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.how, self.precision, *where = mode.split()
        self.recipe, self.device = recipe, torch.device(where[0] if where else "cpu")
        with np.load(data, allow_pickle=False) as saved:
            arrays = {name: torch.from_numpy(saved[name]).to(self.device) for name in saved.files}
        x, x_test = arrays["x_train"].float(), arrays["x_test"].float()
        mean, deviation = x.mean(), x.std()  # of all pixels, as ours
        self.x, self.x_test = (x - mean) / deviation, (x_test - mean) / deviation
        self.y, self.y_test = arrays["y_train"], arrays["y_test"]

    def network(self) -> nn.Sequential:
        """The recipe's activation and variance of the weights, biases of 0."""
        activation, nonlinearity = (
            ACTIVATIONS[self.recipe["activation"]],
            INITIALIZERS[self.recipe["initializer"]],
        )
        widths = [self.x.shape[1], *self.recipe["hidden"], 10]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            linear = nn.Linear(inputs, outputs)
            nn.init.kaiming_normal_(linear.weight, nonlinearity=nonlinearity)
            nn.init.zeros_(linear.bias)
            layers += [linear, activation()]
        return nn.Sequential(*layers[:-1]).to(self.device)

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """PyTorch's own of this name, fused; only matrices decay."""
        recipe = self.recipe
        groups = [
            {
                "params": [p for p in network.parameters() if p.ndim > 1],
                "weight_decay": recipe["weight_decay"],
            },
            {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        if recipe["optimizer"] == "adamw":
            return torch.optim.AdamW(groups, lr=recipe["learning_rate"], fused=True)
        assert recipe["optimizer"] == "nesterov", recipe["optimizer"]
        momentum = recipe["momentum"]
        return torch.optim.SGD(
            groups, lr=recipe["learning_rate"], momentum=momentum, nesterov=True, fused=True
        )

    def run(self, seed: int) -> dict[str, float]:
        """Seconds of training and test accuracy."""
        torch.manual_seed(seed)
        recipe, size = self.recipe, self.recipe["batch_size"]
        network = self.network()
        optimizer = self.optimizer(network)
        per_epoch = -(-len(self.x) // size)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            recipe["learning_rate"],
            total_steps=recipe["epochs"] * per_epoch,
            pct_start=recipe["warmup"],
            cycle_momentum=False,
        )

        def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                logits = network(x)
            return nn.functional.cross_entropy(logits.float(), y, label_smoothing=recipe["label_smoothing"])

        loss = torch.compile(loss_of) if self.how == "compiled" else loss_of
        if self.how == "compiled":  # for both sizes of a batch
            for batch in {size, len(self.x) % size or size}:
                loss(self.x[:batch], self.y[:batch]).backward()
            optimizer.zero_grad()
        self._wait()
        begun = time.perf_counter()
        for _ in range(recipe["epochs"]):
            for batch in torch.randperm(len(self.x), device=self.device).split(size):
                optimizer.zero_grad()
                loss(self.x[batch], self.y[batch]).backward()
                optimizer.step()
                schedule.step()
        self._wait()
        seconds = time.perf_counter() - begun
        with torch.inference_mode():
            right = (network(self.x_test).argmax(1) == self.y_test).float().mean()
        return {"seconds": seconds, "accuracy": float(right)}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Answer orders until standard input ends; given an order and a seed as arguments, answer those and end."""
    speedrun = None
    if len(sys.argv) == 3:
        print(json.dumps(Speedrun(**json.loads(sys.argv[1])).run(int(sys.argv[2]))), flush=True)
        return
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer: dict[str, Any]
            if "data" in order:
                speedrun = Speedrun(order["data"], order["recipe"], order["mode"], order["threads"])
                answer = {"version": torch.__version__}
            else:
                assert speedrun is not None
                answer = speedrun.run(order["seed"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
