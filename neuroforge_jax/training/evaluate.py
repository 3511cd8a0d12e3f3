"""Evaluation and prediction over a whole split, in chunks of one size; padding counts for nothing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.data.batch import Batch, DeviceData, gather, to_device
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.types import Split
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.nn.losses import LOSSES, correct
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import start_compiling
from neuroforge_jax.typing import Array, CompileOptions, Float, Params

CHUNK = 1024
"""Samples computed at once: enough to fill the units of a GPU, few enough to stay in a CPU's cache."""


@dataclass(frozen=True)
class Evaluation:
    """numbers: by name; `loss`, the mean over the samples without label smoothing, and where there are classes
    `accuracy`, the share of the samples classified rightly.
    """

    numbers: Mapping[str, float]
    samples: int

    @property
    def loss(self) -> float:
        """The mean over the samples, without label smoothing."""
        return self.numbers["loss"]

    @property
    def accuracy(self) -> float | None:
        """The share of the samples classified rightly; None for a regression."""
        return self.numbers.get("accuracy")

    def named(self, part: str) -> dict[str, float | None]:
        """Names and numbers for a record: `test_loss`, `test_accuracy`; one that is not finite is None."""
        return {
            f"{part}_{name}": number if math.isfinite(number) else None
            for name, number in self.numbers.items()
        }

    @staticmethod
    def from_json(saved: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `asdict`; version 0.1 wrote the two numbers without `numbers`."""
        numbers = saved.get("numbers")
        if numbers is None:
            numbers = {name: saved[name] for name in ("loss", "accuracy") if saved[name] is not None}
        return Evaluation(numbers, saved["samples"])


Evaluator = Callable[[Params], Evaluation]


def prepare_evaluation(
    model: FittedModel,
    split: Split,
    device: jax.Device,
    options: CompileOptions = (),
    params_like: Params | None = None,
) -> Evaluator:
    """A function of the parameters that evaluates this split, which is moved to the device once.

    params_like: their shapes and dtypes, so that the compiler can begin now, in a thread of its own.
    """
    data, fitted = to_device(split, device), jax.device_put(model.fitted, device)
    program = _evaluation(model.spec.without_names, options)
    evaluate = program if params_like is None else start_compiling(program, device, params_like, fitted, data)

    def run(params: Params) -> Evaluation:
        totals = jax.device_get(evaluate(params, fitted, data))
        return Evaluation({name: float(total) / len(split) for name, total in totals.items()}, len(split))

    return run


def predict_logits(
    model: FittedModel, params: Params, split: Split, device: jax.Device, options: CompileOptions = ()
) -> Float[np.ndarray, "N C"]:
    """Logits of every sample of a split; its targets are not looked at."""
    chunks = _prediction(model.spec.without_names, options)(params, model.fitted, to_device(split, device))
    return np.asarray(chunks).reshape(-1, model.mlp.outputs)[: len(split)]


@by_structure
def _evaluation(model: Model, options: CompileOptions) -> jax.stages.Wrapped:
    def program(params: Params, fitted: Fitted, data: DeviceData) -> dict[str, Array]:
        chunk = min(CHUNK, data.rows)

        def add_chunk(index: Array, totals: dict[str, Array]) -> dict[str, Array]:
            batch = _chunk(data, index, chunk)
            logits = model.logits(params, fitted, batch.inputs)
            each = {"loss": LOSSES[model.loss].per_sample(logits, batch.targets, label_smoothing=None)}
            if model.classes:
                each["accuracy"] = correct(logits, batch.targets)
            return {name: totals[name] + (numbers * batch.mask).sum() for name, numbers in each.items()}

        names = ("loss", "accuracy") if model.classes else ("loss",)
        return lax.fori_loop(0, -(-data.samples // chunk), add_chunk, {name: jnp.zeros(()) for name in names})

    return jax.jit(program, compiler_options=dict(options) or None)


@by_structure
def _prediction(model: Model, options: CompileOptions) -> Callable[[Params, Fitted, DeviceData], Array]:
    def program(params: Params, fitted: Fitted, data: DeviceData) -> Float[Array, "K B C"]:
        chunk = min(CHUNK, data.rows)
        return lax.map(
            lambda index: model.logits(params, fitted, _chunk(data, index, chunk).inputs),
            jnp.arange(-(-data.rows // chunk), dtype=jnp.int32),
        )

    return jax.jit(program, compiler_options=dict(options) or None)


def _chunk(data: DeviceData, index: Array, chunk: int) -> Batch:
    positions = index * chunk + jnp.arange(chunk, dtype=jnp.int32)
    mask = (positions < data.samples).astype(jnp.float32)
    return gather(data, jnp.minimum(positions, data.samples - 1), mask)
