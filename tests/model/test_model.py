"""A model: which kernels compute its logits."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax import kernels
from neuroforge_jax.data.types import Scaling
from neuroforge_jax.kernels.targets import NARROW_MLP
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.policy import POLICIES

AS_IT_IS = Scaling(np.zeros(4, np.float32), np.ones(4, np.float32))


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
    model = Model(mlp, POLICIES["f32"], "mse", AS_IT_IS, (4,), implementation=implementation)
    widths = (4, *mlp.hidden, 3)
    params = {
        name: {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[1]), "scale": jnp.ones(shape[1])}
        for name, shape in zip(("layer0", "output"), pairwise(widths), strict=True)
    }
    model.logits(params, jnp.ones((2, 4)))
    assert called == expected
