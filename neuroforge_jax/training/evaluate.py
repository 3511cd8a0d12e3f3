"""Evaluation and prediction over a whole split, in chunks of one size; padding counts for nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.data.batch import Batch, DeviceData, gather, to_device
from neuroforge_jax.data.types import Split
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.losses import LOSSES, correct
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import Compiling
from neuroforge_jax.typing import Array, CompileOptions, Float, Params

CHUNK = 1024
"""Samples computed at once: enough to fill the units of a GPU, few enough to stay in a CPU's cache."""


@dataclass(frozen=True)
class Evaluation:
    """loss: mean over the samples, without label smoothing; accuracy: share of them classified rightly, None
    for a regression.
    """

    loss: float
    accuracy: float | None
    samples: int


Evaluator = Callable[[Params], Evaluation]


def prepare_evaluation(
    model: Model,
    split: Split,
    device: jax.Device,
    options: CompileOptions = (),
    params_like: Params | None = None,
) -> Evaluator:
    """A function of the parameters that evaluates this split, which is moved to the device once.

    params_like: their shapes and dtypes, so that the compiler can begin now, in a thread of its own.
    """
    data = to_device(split, device)
    program = _evaluation(model, options)
    evaluated = program if params_like is None else Compiling(program.lower(params_like, data))

    def run(params: Params) -> Evaluation:
        loss, right = jax.device_get(evaluated(params, data))
        accuracy = float(right) / len(split) if model.classes else None
        return Evaluation(float(loss) / len(split), accuracy, len(split))

    return run


def predict_logits(
    model: Model, params: Params, split: Split, device: jax.Device, options: CompileOptions = ()
) -> Float[np.ndarray, "N C"]:
    """Logits of every sample of a split; its targets are not looked at."""
    chunks = _prediction(model, options)(params, to_device(split, device))
    return np.asarray(chunks).reshape(-1, model.mlp.outputs)[: len(split)]


@by_structure
def _evaluation(model: Model, options: CompileOptions) -> jax.stages.Wrapped:
    def program(params: Params, data: DeviceData) -> tuple[Array, Array]:
        chunk, chunks = _chunks(data)

        def add_chunk(index: Array, total: tuple[Array, Array]) -> tuple[Array, Array]:
            batch = _chunk(data, index, chunk)
            logits = model.logits(params, batch.inputs)
            losses = LOSSES[model.loss].per_sample(logits, batch.targets, label_smoothing=0.0)
            right = correct(logits, batch.targets) if model.classes else jnp.zeros_like(losses)
            return total[0] + (losses * batch.weights).sum(), total[1] + (right * batch.weights).sum()

        return lax.fori_loop(0, chunks, add_chunk, (jnp.zeros(()), jnp.zeros(())))

    return jax.jit(program, compiler_options=dict(options) or None)


@by_structure
def _prediction(model: Model, options: CompileOptions) -> Callable[[Params, DeviceData], Array]:
    def program(params: Params, data: DeviceData) -> Float[Array, "K B C"]:
        chunk, chunks = _chunks(data)
        return lax.map(
            lambda index: model.logits(params, _chunk(data, index, chunk).inputs),
            jnp.arange(chunks, dtype=jnp.int32),
        )

    return jax.jit(program, compiler_options=dict(options) or None)


def _chunks(data: DeviceData) -> tuple[int, int]:
    chunk = min(CHUNK, len(data))
    return chunk, -(-len(data) // chunk)


def _chunk(data: DeviceData, index: Array, chunk: int) -> Batch:
    positions = index * chunk + jnp.arange(chunk, dtype=jnp.int32)
    weights = (positions < len(data)).astype(jnp.float32)
    return gather(data, jnp.minimum(positions, len(data) - 1), weights)
