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
from neuroforge_jax.model.network_inputs import scale_targets
from neuroforge_jax.nn.losses import correct
from neuroforge_jax.system.placing import put
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import start_compiling
from neuroforge_jax.training.monitor import Monitor
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.predict import CHUNK
from neuroforge_jax.typing import Array, CompileOptions, Float, Params


@dataclass(frozen=True)
class Evaluation:
    """numbers: by name; `loss`, the mean over the samples without label smoothing, and where there are classes
    `accuracy`, the share of the samples classified rightly; and what is monitored beside them. Samples that have
    weights count by them in each.
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
            f"{part}_{name.replace('-', '_')}": number if math.isfinite(number) else None
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
    placement: Placement,
    options: CompileOptions = (),
    params_like: Params | None = None,
    *,
    monitor: Monitor | None = None,
) -> Evaluator:
    """A function of the parameters that evaluates this split, which is moved to where they lie once.

    params_like: their shapes and dtypes, so that the compiler can begin now, in a thread of its own. monitor: a
    number more; where the host computes it, the outputs of all samples are brought there.
    """
    metric = _computed_by_host(monitor)
    data, fitted = _place(model, split, placement)
    program = _evaluation(model.spec.without_names, options, metric is not None, placement)
    like = params_like, fitted, data
    evaluate = program if params_like is None else start_compiling(program, placement.device, *like)

    def run(params: Params) -> Evaluation:
        totals, chunks = jax.device_get(evaluate(params, fitted, data))
        return _read_totals(split, totals, chunks, metric)

    return run


EvaluatorOfMembers = Callable[[Params], list[Evaluation]]


def prepare_evaluation_of_members(
    model: FittedModel,
    split: Split,
    placement: Placement,
    options: CompileOptions = (),
    *,
    monitor: Monitor | None = None,
) -> EvaluatorOfMembers:
    """The same of all networks of a population at once, from their parameters [P, …]."""
    metric = _computed_by_host(monitor)
    data, fitted = _place(model, split, placement)
    program = _evaluation(model.spec.without_names, options, metric is not None, placement, many=True)

    def run(params: Params) -> list[Evaluation]:
        totals, chunks = jax.device_get(program(params, fitted, data))
        members = len(totals["loss"])
        return [
            _read_totals(
                split,
                {name: total[index] for name, total in totals.items()},
                None if chunks is None else chunks[index],
                metric,
            )
            for index in range(members)
        ]

    return run


def _place(model: FittedModel, split: Split, placement: Placement) -> tuple[DeviceData, Fitted]:
    everywhere = placement.sharding()
    return to_device(split, everywhere), put(model.fitted, everywhere)


def _computed_by_host(monitor: Monitor | None) -> Monitor | None:
    return None if monitor is None or monitor.compute is None else monitor


def _read_totals(
    split: Split,
    totals: Mapping[str, np.ndarray],
    chunks: Float[np.ndarray, "K B C"] | None,
    metric: Monitor | None,
) -> Evaluation:
    """chunks: the outputs, of which the metric is computed where there is one."""
    weight = split.total_weight or math.nan
    numbers = {name: float(total) / weight for name, total in totals.items()}
    if metric is not None and chunks is not None:
        outputs = _in_rows(chunks, len(split))
        numbers[metric.name] = metric.measure(split.targets, outputs, split.weights)
    return Evaluation(numbers, len(split))


def _in_rows(chunks: Float[np.ndarray, "K B C"], samples: int) -> Float[np.ndarray, "N C"]:
    return chunks.reshape(-1, chunks.shape[-1])[:samples]


@by_structure
def _evaluation(
    model: Model, options: CompileOptions, keeps_outputs: bool, placement: Placement, many: bool = False
) -> jax.stages.Wrapped:
    """A program that gives the totals of a split and, where they are kept, the outputs f32 [K, B, C]. many: of the
    networks of a population, with an axis [P] before all others.
    """
    model = placement.sum_in_float32(model)

    def program(params: Params, fitted: Fitted, data: DeviceData) -> tuple[dict[str, Array], Array | None]:
        chunk = placement.round_up(min(CHUNK, data.rows), "batch")
        params = placement.mark_params(params)

        def add_chunk(
            index: Array, carry: tuple[dict[str, Array], Array | None]
        ) -> tuple[dict[str, Array], Array | None]:
            totals, outputs = carry
            batch = placement.mark_batch(take_chunk(data, index, chunk))
            logits = model.logits(params, fitted, batch.inputs, dense=placement.divide_kernels(model))
            each = judge_outputs(model, fitted, logits, batch)
            if outputs is not None:
                outputs = outputs.at[index].set(logits)
            counts = count_samples(batch)
            totals = {name: totals[name] + (numbers * counts).sum() for name, numbers in each.items()}
            return totals, outputs

        totals = {name: jnp.zeros(()) for name in (("loss", "accuracy") if model.classes else ("loss",))}
        kept = jnp.zeros((-(-data.rows // chunk), chunk, model.mlp.outputs)) if keeps_outputs else None
        return lax.fori_loop(0, -(-data.samples // chunk), add_chunk, (totals, kept))

    every = placement.vmap(program, in_axes=(0, None, None)) if many else program
    return jax.jit(every, compiler_options=dict(options) or None)


def judge_samples(
    model: Model, params: Params, fitted: Fitted, batch: Batch
) -> dict[str, Float[Array, " B"]]:
    """Of each sample its loss, without label smoothing, and with classes 1 if it is classified rightly, else 0."""
    return judge_outputs(model, fitted, model.logits(params, fitted, batch.inputs), batch)


def judge_outputs(
    model: Model, fitted: Fitted, outputs: Float[Array, "B C"], batch: Batch
) -> dict[str, Float[Array, " B"]]:
    """The same of what the network says of the samples."""
    targets = scale_targets(fitted, batch.targets)
    each = {"loss": model.objective.per_sample(outputs, targets, label_smoothing=None)}
    if model.classes:
        each["accuracy"] = correct(outputs, batch.targets)
    return each


def count_samples(batch: Batch) -> Float[Array, " B"]:
    """How much each sample counts: its weight, 0 for padding."""
    return batch.mask if batch.weight is None else batch.mask * batch.weight


def take_chunk(data: DeviceData, index: Array, chunk: int) -> Batch:
    """So many samples from index · chunk on, those behind the last one masked."""
    positions = index * chunk + jnp.arange(chunk, dtype=jnp.int32)
    mask = (positions < data.samples).astype(jnp.float32)
    return gather(data, jnp.minimum(positions, data.samples - 1), mask)
