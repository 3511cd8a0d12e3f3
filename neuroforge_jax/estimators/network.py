"""What is kept of a trained estimator: plain values and arrays of NumPy, which can be copied and pickled."""

import weakref
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import numpy as np

from neuroforge_jax.data.preprocess import Fitted, Inputs
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.job.predictor import Predictor
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.typing import Params

OF_OUTPUTS = ("kernel", "bias")
"""Leaves of the last layer that have a number for each output."""


@dataclass(frozen=True, eq=False)
class Network:
    """A fitted model and its parameters f32, without anything of a device or a process. members: of an ensemble,
    whose parameters are [P, …]; None for one network.
    """

    spec: Model
    fitted: Fitted
    target: Target
    params: Params
    schema: Schema | None = None
    members: int | None = None

    @staticmethod
    def of(model: FittedModel, params: Any, members: int | None = None) -> "Network":
        """Of what a training came to."""
        host = jax.tree.map(np.asarray, jax.device_get(params))
        return Network(model.spec, model.fitted, model.target, host, model.schema, members)

    @cached_property
    def each(self) -> "tuple[Network, ...]":
        """The networks of an ensemble, one by one; a single one is its own only member."""
        if self.members is None:
            return (self,)
        return tuple(
            replace(self, params=jax.tree.map(lambda leaf, at=at: leaf[at], self.params), members=None)
            for at in range(self.members)
        )

    @property
    def model(self) -> FittedModel:
        """For `nf.predict`, `nf.evaluate` and to be saved."""
        return FittedModel(self.spec, self.fitted, self.target, self.schema)

    def outputs(self, rows: Inputs) -> np.ndarray:
        """What one network says of rows as it stores them, f32 [N, C]."""
        predictor = _PREDICTORS.get(self)
        if predictor is None:
            params, fitted = jax.device_put((self.params, self.fitted))
            predictor = Predictor.build(replace(self.model, fitted=fitted), params)
            _PREDICTORS[self] = predictor
        return predictor(rows)

    def with_params(self, params: Params) -> "Network":
        """The same with other parameters."""
        return replace(self, params=params)

    def with_classes(self, classes: tuple[str, ...]) -> "Network":
        """Of a network whose one output tells two classes apart: the equal one with an output for each, 0 for the
        first, whose softmax are their probabilities. Of a single class it is the same output.
        """
        last: dict[str, Any] = dict(self.params["output"])
        if len(classes) == 2:
            last |= {name: np.concatenate([0 * last[name], last[name]], axis=-1) for name in OF_OUTPUTS}
        return self._rebuild(
            Target("classification", self.target.names, classes),
            last,
            outputs=len(classes),
            loss="cross-entropy",
        )

    def with_one_output(self, target: Target) -> "Network":
        """The inverse of `with_classes`. target: that of the one output."""
        last: dict[str, Any] = dict(self.params["output"])
        if len(self.target.classes) == 2:
            last |= {name: last[name][..., 1:] - last[name][..., :1] for name in OF_OUTPUTS}
        return self._rebuild(target, last, outputs=1, loss="binary-cross-entropy")

    def with_scaled_outputs(self, factor: float) -> "Network":
        """The network whose outputs are so many times those of this one."""
        last = {
            name: (leaf * factor).astype(leaf.dtype) if name in OF_OUTPUTS else leaf
            for name, leaf in self.params["output"].items()
        }
        return self.with_params({**self.params, "output": last})

    def _rebuild(self, target: Target, last: dict[str, Any], *, outputs: int, loss: str) -> "Network":
        spec = replace(
            self.spec, mlp=replace(self.spec.mlp, outputs=outputs), loss=loss,
            classes=target.classes if target.task == "classification" else (),
        )  # fmt: skip
        schema = None if self.schema is None else replace(self.schema, target=target)
        params = {**self.params, "output": last}
        return replace(self, spec=spec, target=target, params=params, schema=schema)


_PREDICTORS: "weakref.WeakKeyDictionary[Network, Predictor]" = weakref.WeakKeyDictionary()
"""Programs and arrays on a device, apart from the estimator that is pickled and compared."""
