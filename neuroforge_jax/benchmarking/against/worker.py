"""The process of one version: trainings by whichever neuroforge_jax lies first on its path.

    {"import": true}                       → {"file": "…/neuroforge_jax/__init__.py"}
    {"start": "b64/mixed", "what": "steps", "config": {…}, "data": "0.npz"}
                                           → {"losses": [2.3, …]} or {"missing": "…"}
    {"case": "b64/mixed", "count": 100}    → {"seconds": 0.5}

Orders are lines of JSON on standard input, answers on standard output; whatever goes wrong is {"error": "…"}. With
arguments, `worker.py import` or `worker.py train CONFIG DATA`, it does that and ends, and its caller measures how
long that takes.

The version may be old. So this file uses what is public and has been from the beginning: TrainConfig, Dataset,
init, prepare, fit. It is run as a file, for the version has another one or none.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

COMPARED_STEPS = 20

Train = Callable[[int], None]
"""Do the work so many times more, and wait until it is done."""


def main() -> None:
    """What the arguments say, or orders until standard input ends."""
    if len(sys.argv) > 1:
        WHOLE_PROCESSES[sys.argv[1]](*sys.argv[2:])
    else:
        serve()


def serve() -> None:
    """Answer orders. What a version prints goes to standard error."""
    answers, sys.stdout = sys.stdout, sys.stderr
    trainings: dict[str, Train] = {}
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = answer_to(order, trainings)
        except Exception as error:
            answer = {"error": sentence_of(error)}
        print(json.dumps(answer), file=answers, flush=True)


def answer_to(order: dict[str, Any], trainings: dict[str, Train]) -> dict[str, Any]:
    """Of an order; a training that it starts is put among the others."""
    if "import" in order:
        return {"file": import_package()}
    if "start" in order:
        try:
            start = WORK[order["what"]]
            trainings[order["start"]], losses = start(*read_training(order["config"], order["data"]))
        except Exception as error:
            return {"missing": sentence_of(error)}
        return {"losses": losses}
    begun = time.perf_counter()
    trainings[order["case"]](order["count"])
    return {"seconds": time.perf_counter() - begun}


def import_package() -> str:
    """All that is needed of it; where it lies."""
    nf = import_module("neuroforge_jax")
    for name in ("TrainConfig", "Dataset", "init", "prepare", "fit"):
        getattr(nf, name)
    return str(nf.__file__)


def read_training(config: dict[str, Any], data: str) -> tuple[Any, Any]:
    """A config and a dataset of this version. config: the fields that are not at their defaults."""
    nf = import_module("neuroforge_jax")
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    with np.load(data, allow_pickle=False) as saved:
        arrays = [saved[name] for name in ("x", "y", "x_test", "y_test")]
        classes = saved["classes"].tolist()
    return nf.TrainConfig(**fields), nf.Dataset.from_arrays(*arrays, name="bench", classes=classes or None)


def start_steps(config: Any, dataset: Any, steps: int = COMPARED_STEPS) -> tuple[Train, list[float]]:
    """Compile, and take the first steps; their losses, of which the very first one knows nothing of an update."""
    nf = import_module("neuroforge_jax")
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset)
    jax = import_module("jax")  # after the package, which may say first how jax is to start
    state, metrics = run(state, 0, steps)
    box = [(state, steps)]

    def train(steps: int) -> None:
        state, at = box[0]
        state, _ = run(state, at, at + steps)
        jax.block_until_ready(state)
        box[0] = state, at + steps

    return train, np.asarray(metrics.loss, np.float64).tolist()


def start_fits(config: Any, dataset: Any) -> tuple[Train, list[float]]:
    """Whole fits, each from the beginning, after a first one that compiles; its training loss of each epoch."""
    nf = import_module("neuroforge_jax")
    result = nf.fit(config, dataset)

    def train(fits: int) -> None:
        for _ in range(fits):
            nf.fit(config, dataset)

    return train, [float(epoch["train_loss"]) for epoch in result.history]


WORK = {"steps": start_steps, "fits": start_fits}


def train_first_step(config: str, data: str) -> None:
    """To the end of the first step."""
    start_steps(*read_training(json.loads(config), data), steps=1)


WHOLE_PROCESSES: dict[str, Callable[..., object]] = {"import": import_package, "train": train_first_step}


def sentence_of(error: Exception) -> str:
    """Its kind and its first line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


if __name__ == "__main__":
    main()
