"""First weights as scikit-learn draws them, and a network's parameters as its `coefs_` and `intercepts_`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from neuroforge_jax.nn.mlp import MLP, abstract_params, layer_names
from neuroforge_jax.typing import Params

Matrices = list[Float[np.ndarray, "I O"]]
Vectors = list[Float[np.ndarray, " O"]]


def draw_weights(
    random: np.random.RandomState, widths: Sequence[int], activation: str
) -> tuple[Matrices, Vectors]:
    """Uniform within ±√(6 / (inputs + outputs)), biases too, of the logistic activation ±√(2 / …) (Glorot and
    Bengio, 2010): number for number what scikit-learn's networks begin with, float64.
    """
    matrices, vectors = [], []
    for inputs, outputs in pairwise(widths):
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (inputs + outputs))
        matrices.append(random.uniform(-bound, bound, (inputs, outputs)))
        vectors.append(random.uniform(-bound, bound, outputs))
    return matrices, vectors


def to_params(mlp: MLP, matrices: Sequence[np.ndarray], vectors: Sequence[np.ndarray]) -> Params:
    """Parameters f32 of these matrices [I, O] and biases [O]; scales of normalizations begin at 1."""
    params: dict[str, dict[str, Any]] = {}
    described = abstract_params(mlp)
    for name, kernel, bias in zip(layer_names(mlp), matrices, vectors, strict=True):
        given = {"kernel": kernel, "bias": bias}
        params[name] = {
            leaf: np.asarray(given[leaf], np.float32) if leaf in given else _first_value(leaf, wanted.shape)
            for leaf, wanted in described[name].items()
        }
    return params


def _first_value(leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    """Of a normalization, which changes nothing at first."""
    return np.full(shape, 1 if leaf == "scale" else 0, np.float32)


def from_params(mlp: MLP, params: Params, dtype: np.dtype) -> tuple[Matrices, Vectors]:
    """Matrices [I, O] and biases [O] of every layer."""
    names = layer_names(mlp)
    return (
        [np.asarray(params[name]["kernel"]).astype(dtype) for name in names],
        [np.asarray(params[name]["bias"]).astype(dtype) for name in names],
    )
