"""Full-batch training by L-BFGS (Liu and Nocedal, 1989): SciPy's search over the compiled loss, in float64.

The search compares losses that differ by less than float32 can tell, so the network is computed in float64 here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.typing import ArrayLike
from jaxtyping import Float64

from neuroforge_jax.backends.jax_settings import OwnSettings
from neuroforge_jax.data.batch import bucket
from neuroforge_jax.data.packing import pad_rows
from neuroforge_jax.estimators.interrupt import note_interrupts
from neuroforge_jax.job.job import Job
from neuroforge_jax.model.model import Model
from neuroforge_jax.model.network_inputs import scale_targets
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.mlp import MLP, AbstractParam, abstract_params
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.typing import Array, Params

Vector = TypeVar("Vector", Array, np.ndarray)


@dataclass(frozen=True, eq=False)
class Minimum:
    """What the search found. params: f64. loss: penalty included. iterations: of the search."""

    params: Params
    loss: float
    iterations: int
    complaint: str = ""
    interrupted: bool = False


def minimize(
    job: Job,
    params: Params,
    *,
    factor: float,
    alpha: float,
    total_weight: float,
    max_iter: int,
    max_fun: int,
    tol: float,
) -> Minimum:
    """Search from these parameters. factor: of the engine's loss; alpha, total_weight: of the penalty ½·α·Σw²/W.

    Ctrl-C ends the search with the best so far.
    """
    with (
        OwnSettings(),
        jax.enable_x64(True),
        jax.default_device(job.device),
        note_interrupts() as interrupted,
    ):
        start = _flatten(job.model.mlp, params)
        data = _place(job)
        penalty = np.float64(alpha / total_weight)
        program = _objective(job.model.spec.without_names)

        def evaluate(vector: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = jax.device_get(program(vector, data, np.float64(factor), penalty))
            return float(value), np.asarray(slope)

        def look(intermediate_result: Any) -> None:
            if interrupted():
                raise StopIteration

        found = scipy.optimize.minimize(
            evaluate, start, method="L-BFGS-B", jac=True, callback=look,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )  # fmt: skip
        stopped = interrupted()
    complaint = (
        f"lbfgs failed to converge after {found.nit} iteration(s) (status={found.status}): {found.message}. "
        "Increase max_iter, or scale the data."
    )
    best = _restore(job.model.mlp, found.x)
    iterations = min(int(found.nit), max_iter)
    return Minimum(best, float(found.fun), iterations, complaint if found.status else "", stopped)


def _leaves(mlp: MLP) -> Iterator[tuple[str, str, AbstractParam]]:
    """Layer and leaf of each parameter, in the order of the vector that is searched."""
    for layer, leaves in abstract_params(mlp).items():
        for leaf, param in leaves.items():
            yield layer, leaf, param


def _flatten(mlp: MLP, params: Params) -> Float64[np.ndarray, " P"]:
    return np.concatenate(
        [np.asarray(params[layer][leaf], np.float64).ravel() for layer, leaf, _ in _leaves(mlp)]
    )


def _restore(mlp: MLP, vector: Vector) -> dict[str, dict[str, Vector]]:
    """Parameters of a vector, of NumPy or of jax."""
    params: dict[str, dict[str, Vector]] = {}
    first = 0
    for layer, leaf, param in _leaves(mlp):
        size = math.prod(param.shape)
        params.setdefault(layer, {})[leaf] = vector[first : first + size].reshape(param.shape)
        first += size
    return params


def _place(job: Job) -> tuple[Any, ...]:
    """Inputs of the network, targets and weights of all rows, padded to a bucket; the weights' mean is 1."""
    split, model = job.dataset.weighted_train, job.model
    rows = len(split)
    size = bucket(rows)
    inputs = np.asarray(model.spec.preprocess(model.fitted, jnp.asarray(split.inputs)), np.float64)
    targets = np.asarray(scale_targets(model.fitted, jnp.asarray(split.targets)))
    weights = np.ones(rows) if split.weights is None else split.weights.astype(np.float64)
    share = np.zeros(size)
    share[:rows] = weights / weights.sum()
    if targets.dtype.kind == "f":
        targets = targets.astype(np.float64)
    return jax.device_put((pad_rows(inputs, size), pad_rows(targets, size), share), job.device)


@by_structure
def _objective(model: Model) -> Any:
    """(vector f64 [P], data, factor, penalty) → the loss f64 [] and its gradient f64 [P]."""

    def objective(
        vector: Array, data: tuple[Array, Array, Array], factor: ArrayLike, penalty: ArrayLike
    ) -> Array:
        inputs, targets, share = data
        params = _restore(model.mlp, vector)
        outputs = nn.apply(model.mlp, params, inputs)
        losses = model.objective.per_sample(outputs, targets, label_smoothing=None)
        squares = sum(
            (params[layer][leaf] ** 2).sum() for layer, leaf, param in _leaves(model.mlp) if param.decays
        )
        return jnp.asarray(factor * (share * losses).sum() + penalty / 2 * squares)

    return jax.jit(jax.value_and_grad(objective))
