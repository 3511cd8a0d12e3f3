"""A model: everything between a sample as it is stored and its logits."""

from dataclasses import dataclass, replace
from functools import partial

import jax.numpy as jnp

from neuroforge_jax import kernels
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.types import Column
from neuroforge_jax.errors import ConfigError, lookup
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS, NARROW_MLP
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.losses import LOSSES
from neuroforge_jax.nn.mlp import MLP, Dense, Dropout
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.typing import Array, Float, Num, Params


@dataclass(frozen=True)
class Model:
    """An architecture with its precision and the meaning of its outputs, as plain values.

    It holds no arrays: equal models are one to the programs that are compiled for them (`program_cache.py`), and
    parameters and what was fitted to the data are given to it.
    classes: names by index; empty for a regression. columns: of the table it was trained on, if it was one.
    implementation: of its layers, as `kernels.dense` takes it.
    """

    mlp: MLP
    policy: Policy
    loss: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    implementation: kernels.Implementation = "xla"

    def __post_init__(self) -> None:
        loss = lookup(LOSSES, self.loss, "loss")
        nn.abstract_params(self.mlp)
        if self.classes and not loss.for_classes:
            raise ConfigError(f"--loss {self.loss} predicts numbers, and the targets are classes")
        if not self.classes and not loss.for_numbers:
            raise ConfigError(
                f"--loss {self.loss} needs classes, and the targets are numbers; use --loss mse"
            )

    def preprocess(self, fitted: Fitted, inputs: Num[Array, "B I"]) -> Float[Array, "B I"]:
        """What the first layer gets of samples as stored (uint8 or f32 [B, I])."""
        return fitted.standardize(inputs.astype(self.policy.output))

    def logits(
        self,
        params: Params,
        fitted: Fitted,
        inputs: Num[Array, "B I"],
        dropout: Dropout | None = None,
        dense: Dense | None = None,
    ) -> Float[Array, "B C"]:
        """f32 [B, C] from samples as stored; with dropout only where it is given. dense: in place of its layer."""
        x = self.preprocess(fitted, inputs)
        if dense is None and dropout is None and self._is_one_kernel:
            layers = [(params[name]["kernel"], params[name]["bias"]) for name in nn.layer_names(self.mlp)]
            logits = kernels.mlp(x, layers, self.mlp.activation, self.policy, self.implementation)
        else:
            own = partial(kernels.dense, policy=self.policy, implementation=self.implementation)
            logits = nn.apply(self.mlp, params, x, dense=dense or own, dropout=dropout)
        return logits.astype(jnp.float32)

    @property
    def without_names(self) -> "Model":
        """All of it that a program depends on: other names of classes and columns are the same program."""
        return replace(self, classes=tuple(map(str, range(len(self.classes)))), columns=())

    @property
    def _is_one_kernel(self) -> bool:
        """Whether there is a kernel of all its layers together."""
        plain = self.mlp.normalization == "none" and not self.mlp.residual
        kernel_set = KERNEL_SETS.get(self.implementation) if isinstance(self.implementation, str) else None
        widths = self.mlp.inputs, *self.mlp.hidden, self.mlp.outputs
        return plain and kernel_set is not None and "mlp" in kernel_set.parts and max(widths) <= NARROW_MLP


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A model with what was fitted to its training data: all but the parameters, for `evaluate` and `predict`."""

    spec: Model
    fitted: Fitted

    @property
    def mlp(self) -> MLP:
        """Its architecture."""
        return self.spec.mlp

    @property
    def policy(self) -> Policy:
        """Its precision."""
        return self.spec.policy

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names by index; empty for a regression."""
        return self.spec.classes

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of the table it was trained on, if it was one."""
        return self.spec.columns

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, (28, 28) for pictures, (I,) for tables."""
        return self.spec.shape

    def logits(
        self, params: Params, inputs: Num[Array, "B I"], dropout: Dropout | None = None
    ) -> Float[Array, "B C"]:
        """f32 [B, C] from samples as stored (uint8 or f32 [B, I])."""
        return self.spec.logits(params, self.fitted, inputs, dropout)
