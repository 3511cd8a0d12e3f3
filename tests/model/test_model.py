"""A model: which kernels compute its logits."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax import kernels
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.targets import Target
from neuroforge_jax.kernels.kernel_sets import NARROW_MLP
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.policy import POLICIES

AS_IT_IS = Fitted(np.zeros(4, np.float32), np.ones(4, np.float32))


@pytest.mark.parametrize(
    ("implementation", "how", "expected"),
    [
        ("interpret", {}, ["mlp"]),
        ("interpret", {"hidden": (NARROW_MLP,)}, ["mlp"]),
        ("interpret", {"hidden": (NARROW_MLP + 1,)}, ["dense", "dense"]),
        ("interpret", {"residual": True}, ["dense", "dense"]),
        ("interpret", {"normalization": "rms"}, ["dense", "dense"]),
        ("triton", {}, ["dense", "dense"]),
        ("xla", {}, ["dense", "dense"]),
    ],
)
def test_a_plain_narrow_network_is_one_kernel_where_there_is_one(implementation, how, expected, monkeypatch):
    called = []

    def layer(x, kernel, bias, activation, **_):
        called.append("dense")
        return x @ kernel + bias

    def network(x, layers, *_):
        called.append("mlp")
        return jnp.zeros((len(x), 3))

    monkeypatch.setattr(kernels, "dense", layer)
    monkeypatch.setattr(kernels, "mlp", network)
    mlp = MLP(4, **{"hidden": (8,), **how}, outputs=3)
    model = Model(mlp, POLICIES["f32"], "mse", Preprocessor(4), (4,), implementation=implementation)
    widths = (4, *mlp.hidden, 3)
    params = {
        name: {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[1]), "scale": jnp.ones(shape[1])}
        for name, shape in zip(("layer0", "output"), pairwise(widths), strict=True)
    }
    model.logits(params, AS_IT_IS, jnp.ones((2, 4)))
    assert called == expected


def test_equal_models_are_one_and_what_was_fitted_is_none_of_it():
    one, same = (Model(MLP(4, (8,), 3), POLICIES["f32"], "mse", Preprocessor(4), (4,)) for _ in range(2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Model(MLP(4, (9,), 3), POLICIES["f32"], "mse", Preprocessor(4), (4,))


def test_a_fitted_model_scales_inputs_by_its_own_numbers():
    spec = Model(MLP(4, (), 3), POLICIES["f32"], "mse", Preprocessor(4), (4,))
    params = {"output": {"kernel": jnp.ones((4, 3)), "bias": jnp.zeros(3)}}
    fitted = Fitted(np.float32([1, 2, 3, 4]), np.float32([2, 2, 2, 0]))
    model = FittedModel(spec, fitted, Target("regression"))
    np.testing.assert_array_equal(model.logits(params, jnp.full((1, 4), 5.0)), [[18.0] * 3])
    assert (model.mlp, model.policy, model.classes) == (spec.mlp, spec.policy, ())
