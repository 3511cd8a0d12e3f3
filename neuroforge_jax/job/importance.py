"""How much a model needs each column of a table: what its loss rises by where the column is shuffled.

Permutation importance (Breiman, 2001, Random Forests; Fisher et al., 2019, arXiv:1801.01489). A column that others
stand in for shows little, and what it says is of the model, not of the world.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float64

from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.data.batch import Batch, DeviceData, gather, to_device
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.shuffle import order_bits, sample_order
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.evaluate import CHUNK, count_samples, judge_samples, take_chunk
from neuroforge_jax.training.predict import device_of
from neuroforge_jax.typing import Array, Bool, CompileOptions, Float, Integer, Params, PRNGKey


def permutation_importance(
    model: FittedModel,
    params: Params,
    split: Split,
    *,
    metric: str = "loss",
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, float]:
    """What each column of a table is worth to a model: by how much its mean loss over a split rises, or its
    accuracy (metric "accuracy", a share) falls, where the values of the column are shuffled among the samples; the
    mean of so many shuffles, by name, the largest first. Samples that have weights count by them.

    Inputs of arrays are called input 0, input 1, … Raises ConfigError for another metric.
    """
    positions = name_positions(model)
    changes = measure_changes(model, params, split, list(positions.values()), metric, repeats, seed)
    means = dict(zip(positions, changes.mean(axis=1).tolist(), strict=True))
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def name_positions(model: FittedModel) -> dict[str, tuple[int, ...]]:
    """Where the values of each input lie in a stored sample."""
    if model.schema is not None:
        return model.schema.positions()
    return {f"input {at}": (at,) for at in range(model.spec.plan.record)}


def measure_changes(
    model: FittedModel,
    params: Params,
    split: Split,
    groups: Sequence[Sequence[int]],
    metric: str = "loss",
    repeats: int = 5,
    seed: int = 0,
) -> Float64[np.ndarray, "K R"]:
    """How much worse the model is for each of K columns, in each of R shuffles: by how much the mean loss rises, or
    the accuracy falls. A column that the model does not look at has exactly 0.

    groups: of each column, its positions in a stored sample; they are shuffled together. Every column is shuffled
    alike, so that columns are compared on the same draws. All of it is one call of one program, which costs K · R
    predictions of the split; no copy of the data is made. Raises ConfigError for another metric, ValueError for
    positions that a sample has not.
    """
    known = ("loss", "accuracy") if model.classes else ("loss",)
    if metric not in known:
        raise ConfigError(f"importance by {metric!r}: this model has {' and '.join(known)}")
    shuffled = _mark_positions(groups, split.inputs.shape[1])
    device = device_of(params)
    program = _importance(
        model.spec.without_names, metric, compile_options(device.platform, model.policy, CHUNK)
    )
    keys = jax.random.split(jax.random.key(seed), repeats)
    falls = program(params, model.fitted, to_device(split, device), shuffled, keys)
    changes = np.asarray(falls, np.float64) / (split.total_weight or math.nan)
    return changes if metric == "loss" else -changes


def _mark_positions(groups: Sequence[Sequence[int]], inputs: int) -> Bool[np.ndarray, "K I"]:
    marks = np.zeros((len(groups), inputs), bool)
    for index, positions in enumerate(groups):
        if any(not 0 <= position < inputs for position in positions):
            raise ValueError(f"column {index} has positions {list(positions)}, and a sample {inputs} numbers")
        marks[index, list(positions)] = True
    return marks


@by_structure
def _importance(model: Model, metric: str, options: CompileOptions) -> jax.stages.Wrapped:
    def program(
        params: Params,
        fitted: Fitted,
        data: DeviceData,
        shuffled: Bool[Array, "K I"],
        keys: Integer[Array, " R"],
    ) -> Float[Array, "K R"]:
        chunk = min(CHUNK, data.rows)
        chunks = jnp.arange(-(-data.rows // chunk), dtype=jnp.int32)

        def judge(batch: Batch) -> Float[Array, " B"]:
            return judge_samples(model, params, fitted, batch)[metric]

        plain = lax.map(lambda index: judge(take_chunk(data, index, chunk)), chunks)

        def change_of(marks: Bool[Array, " I"], key: PRNGKey) -> Float[Array, ""]:
            def of_chunk(index: Array) -> Float[Array, ""]:
                batch = take_chunk(data, index, chunk)
                donors = gather(data, _draw_donors(data, key, index, chunk), batch.mask).inputs
                mixed = replace(batch, inputs=jnp.where(marks, donors, batch.inputs))
                # Sample by sample, for the difference of two long sums is mostly their rounding.
                return ((judge(mixed) - plain[index]) * count_samples(batch)).sum()

            return lax.map(of_chunk, chunks).sum()

        return lax.map(lambda marks: lax.map(lambda key: change_of(marks, key), keys), shuffled)

    return jax.jit(program, compiler_options=dict(options) or None)


def _draw_donors(
    data: DeviceData, key: PRNGKey, index: Integer[Array, ""], chunk: int
) -> Integer[Array, " B"]:
    """Whose values the samples of a chunk get: those at their positions in a shuffled order of all samples."""
    positions = index * chunk + jnp.arange(chunk, dtype=jnp.int32)
    return sample_order(key, 0, data.samples, positions, order_bits(data.rows))
