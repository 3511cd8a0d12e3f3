"""PyTorch's side of a comparison, in a process of its own: orders on standard input, rates on standard output.

    {"data": "x.npz", "threads": 2}
    {"widths": [784, 1024, 512, 10], "batch": 64, "mode": "compiled bf16", "samples": 20000}

The first order gives the samples: inputs f32 [N, I], scaled, and targets i64 [N], which lie in memory as tensors.
Each later one trains so many samples with plain SGD and answers {"rate": samples a second}, or {"error": …}.
Modes: eager or compiled (`torch.compile`), f32 or bf16 (autocast). A network is made and warmed up when it is
first named. Every epoch is shuffled; the optimizer is PyTorch's fused SGD.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import nn


def make_network(widths: list[int]) -> nn.Module:
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(inputs, outputs))
        if index < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def make_trainer(
    widths: list[int], mode: str, batch: int, x: torch.Tensor, y: torch.Tensor
) -> Callable[[int], float]:
    torch.manual_seed(0)
    how, precision = mode.split()
    network = make_network(widths)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, fused=True)

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(inputs)
        return nn.functional.cross_entropy(logits.float(), targets)

    compiled = torch.compile(loss_of) if how == "compiled" else loss_of
    per_epoch = len(x) // batch
    box = {"order": torch.randperm(len(x)), "step": 0}

    def train(samples: int) -> float:
        steps = max(3, samples // batch)
        begun = time.perf_counter()
        for _ in range(steps):
            if box["step"] == per_epoch:
                box["order"], box["step"] = torch.randperm(len(x)), 0
            picked = box["order"][box["step"] * batch : (box["step"] + 1) * batch]
            optimizer.zero_grad()
            compiled(x[picked], y[picked]).backward()
            optimizer.step()
            box["step"] += 1
        return steps * batch / (time.perf_counter() - begun)

    train(3 * batch)
    train(samples=2_000)
    return train


def main() -> None:
    first = json.loads(sys.stdin.readline())
    torch.set_num_threads(first["threads"])
    with np.load(first["data"]) as saved:
        x, y = torch.from_numpy(saved["x"]), torch.from_numpy(saved["y"])
    print(json.dumps({"torch": torch.__version__}), flush=True)
    trainers: dict[str, Callable[[int], float]] = {}
    for line in sys.stdin:
        order = json.loads(line)
        key = json.dumps([order["widths"], order["batch"], order["mode"]])
        try:
            if key not in trainers:
                trainers[key] = make_trainer(order["widths"], order["mode"], order["batch"], x, y)
            answer: dict[str, float | str] = {"rate": trainers[key](order["samples"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
