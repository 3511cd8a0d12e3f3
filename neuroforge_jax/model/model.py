"""A model: everything between a sample as it is stored and its logits."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jax.numpy as jnp
import numpy as np

from neuroforge_jax import kernels
from neuroforge_jax.data.pictures import PictureStyle
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.errors import ConfigError, join_words
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS, NARROW_MLP
from neuroforge_jax.model.network_inputs import looks_up, lookup_rows, network_inputs, scale_numbers
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.nn.dropout import Dropout
from neuroforge_jax.nn.losses import LOSSES, Loss, make_loss
from neuroforge_jax.nn.mlp import MLP, Dense
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.typing import Array, Float, Num, Params


@dataclass(frozen=True)
class Model:
    """An architecture with its precision and the meaning of its outputs, as plain values.

    It holds no arrays: equal models are one to the programs that are compiled for them (`program_cache.py`), and
    parameters and what was fitted to the data are given to it.
    plan: what becomes of a row before the first layer. shape: of one sample. classes: names by index; empty for a
    regression and for labels. implementation: of its layers, as `kernels.dense` takes it. quantiles: that the
    outputs are, of the loss `quantile`; empty for any other.
    """

    mlp: MLP
    policy: Policy
    loss: str
    plan: Preprocessor
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    implementation: kernels.Implementation = "xla"
    quantiles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        loss = self.objective
        nn.abstract_params(self.mlp)
        if self.classes and "classes" not in loss.takes:
            raise ConfigError(
                f"--loss {self.loss} predicts numbers, and the targets are classes; use --loss cross-entropy, or "
                "--task regression where they are quantities"
            )
        if not self.classes and loss.takes == {"classes"}:
            others = join_words((name for name, other in LOSSES.items() if "numbers" in other.takes), "or")
            raise ConfigError(
                f"--loss {self.loss} needs classes, and the targets are numbers or labels; use --loss {others}, or "
                "of labels binary-cross-entropy"
            )
        if self.mlp.outputs % loss.outputs_per_target:
            raise ConfigError(
                f"{len(self.quantiles)} quantiles need as many outputs a number, and the network has "
                f"{self.mlp.outputs}"
            )

    @property
    def objective(self) -> Loss:
        """Its loss."""
        return make_loss(self.loss, self.quantiles)

    def preprocess(self, fitted: Fitted, rows: Num[Array, "B I"]) -> Float[Array, "B W"]:
        """What the first layer gets of rows as stored (uint8 or f32 [B, I])."""
        return network_inputs(self.plan, fitted, rows.astype(self.policy.output))

    def logits(
        self,
        params: Params,
        fitted: Fitted,
        inputs: Num[Array, "B I"],
        dropout: Dropout | None = None,
        dense: Dense | None = None,
    ) -> Float[Array, "B C"]:
        """f32 [B, C] from rows as stored; with dropout only where it is given. dense: in place of its layer."""
        rows = inputs.astype(self.policy.output)
        if dense is None and dropout is None and self._is_one_kernel:
            x = network_inputs(self.plan, fitted, rows)
            layers = [(params[name]["kernel"], params[name]["bias"]) for name in nn.layer_names(self.mlp)]
            logits = kernels.mlp(x, layers, self.mlp.activation, self.policy, self.implementation)
        else:
            own = dense or self.dense
            if self._looks_up:
                x, own = scale_numbers(self.plan, fitted, rows), self._look_up(params, rows, own)
            else:
                x = network_inputs(self.plan, fitted, rows)
            logits = nn.apply(self.mlp, params, x, dense=own, dropout=dropout)
        return logits.astype(jnp.float32)

    @property
    def dense(self) -> Dense:
        """Its layer: by its implementation, in its precision."""
        return partial(kernels.dense, policy=self.policy, implementation=self.implementation)

    @property
    def _looks_up(self) -> bool:
        """Whether the first layer looks categories up; a residual layer needs them as its inputs."""
        return looks_up(self.plan) and not self.mlp.residual

    def _look_up(self, params: Params, rows: Num[Array, "B I"], dense: Dense) -> Dense:
        """The layer, but that the first adds rows of its kernel for categories in the place of their product."""
        first = params[nn.layer_names(self.mlp)[0]]["kernel"]
        places, counts = lookup_rows(self.plan, rows)

        def dense_of_codes(x: Array, kernel: Array, bias: Array, activation: str) -> Array:
            if kernel is not first:
                return dense(x, kernel, bias, activation)
            numbers = x.shape[1]
            looked_up = jnp.take(kernel[numbers:], places, axis=0, mode="clip") * counts[..., None]
            z = dense(x, kernel[:numbers], bias, "identity")
            return ACTIVATIONS[activation].function(z + looked_up.sum(axis=1).astype(z.dtype))

        return dense_of_codes

    @property
    def without_names(self) -> "Model":
        """All of it that a program depends on: other names of classes are the same program."""
        return replace(self, classes=tuple(map(str, range(len(self.classes)))))

    @property
    def _is_one_kernel(self) -> bool:
        """Whether there is a kernel of all its layers together."""
        plain = self.mlp.normalization == "none" and not self.mlp.residual
        kernel_set = KERNEL_SETS.get(self.implementation) if isinstance(self.implementation, str) else None
        widths = self.mlp.inputs, *self.mlp.hidden, self.mlp.outputs
        return plain and kernel_set is not None and "mlp" in kernel_set.parts and max(widths) <= NARROW_MLP


@dataclass(frozen=True, eq=False)
class FittedModel:
    """A model with what was fitted to its training data: all but the parameters, for `evaluate` and `predict`.

    target: what it predicts. schema: of the table that it was trained on, if it was one. origins: f64 [I], what is
    subtracted from arrays before they become float32. missing: numbers, as texts, that mean a missing one in
    arrays, of a model that was trained on such. measure_style: how the pictures looked that it was
    trained on, measured when it is asked for; None of what are no pictures.
    """

    spec: Model
    fitted: Fitted
    target: Target
    schema: Schema | None = None
    origins: np.ndarray | None = None
    missing: tuple[str, ...] = ()
    measure_style: Callable[[], PictureStyle | None] = lambda: None

    @property
    def marks(self) -> tuple[str, ...]:
        """Numbers and texts that the training named as missing values, which they are in later rows too."""
        return self.missing if self.schema is None else self.schema.missing

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
        """Their names by index; empty for a regression and for labels."""
        return self.spec.classes

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, (28, 28) for pictures, (I,) for tables."""
        return self.spec.shape

    def logits(
        self, params: Params, inputs: Num[Array, "B I"], dropout: Dropout | None = None
    ) -> Float[Array, "B C"]:
        """f32 [B, C] from samples as stored (uint8 or f32 [B, I])."""
        return self.spec.logits(params, self.fitted, inputs, dropout)

    @np.errstate(over="ignore", invalid="ignore")
    def probabilities(self, outputs: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
        """Of each class, or of each label being true, f64, from the network's outputs.

        cross-entropy: softmax; binary-cross-entropy: sigmoid, of classes divided by their sum; mse of classes: the
        outputs within 0 and 1, divided by their sum. NaN where an output is not finite. Raises ValueError for a
        regression.
        """
        if self.target.task == "regression":
            raise ValueError("a model of quantities has no probabilities; use predict")
        wide = np.asarray(outputs, np.float64)
        if self.spec.loss == "cross-entropy":
            shares = np.exp(wide - wide.max(axis=1, keepdims=True, initial=-np.inf))
        elif self.spec.loss == "mse":
            shares = np.clip(wide, 1e-12, 1)
        else:
            shares = 0.5 * (1 + np.tanh(0.5 * wide))
        if self.target.task == "multilabel":
            return shares
        shares = np.clip(shares, 1e-300, None)  # all sigmoids of a row may be 0
        return shares / shares.sum(axis=1, keepdims=True)

    @np.errstate(over="ignore", invalid="ignore")
    def read_outputs(self, outputs: Float[np.ndarray, "N O"]) -> Float[np.ndarray, "N O"]:
        """What the outputs of a regression mean, in the units of its data, float64; those of others as they are."""
        if self.target.task != "regression":
            return outputs
        wide = np.asarray(outputs, np.float64)
        if self.spec.loss == "poisson":
            return np.exp(wide)
        if self.fitted.target_shift is not None and self.fitted.target_scale is not None:
            each = wide.shape[1] // len(self.fitted.target_shift)
            shift, scale = (np.repeat(np.float64(x), each) for x in self.fitted[-2:])
            wide = wide / scale + shift
        return self.target.read_outputs(wide)
