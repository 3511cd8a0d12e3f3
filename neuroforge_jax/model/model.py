"""A model: everything between a sample as it is stored and its logits."""

from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp

from neuroforge_jax import kernels
from neuroforge_jax.data.types import Column, Scaling
from neuroforge_jax.errors import ConfigError, lookup
from neuroforge_jax.kernels.targets import NARROW_MLP, TARGETS
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.losses import LOSSES
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.typing import Array, Float, Num, Params, PRNGKey


@dataclass(frozen=True)
class Model:
    """An architecture with the scaling of its inputs, its precision, and the meaning of its outputs.

    It holds no parameters. Equal models are one to the programs that are compiled for them (`program_cache.py`).
    classes: names by index; empty for a regression. columns: of the table it was trained on, if it was one.
    implementation: of its layers, a name of `kernels.IMPLEMENTATIONS`.
    """

    mlp: MLP
    policy: Policy
    loss: str
    scaling: Scaling
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    implementation: str = "xla"

    def __post_init__(self) -> None:
        loss = lookup(LOSSES, self.loss, "loss")
        nn.abstract_params(self.mlp)
        if self.classes and not loss.for_classes:
            raise ConfigError(f"--loss {self.loss} predicts numbers, and the targets are classes")
        if not self.classes and not loss.for_numbers:
            raise ConfigError(
                f"--loss {self.loss} needs classes, and the targets are numbers; use --loss mse"
            )

    def init(self, key: PRNGKey) -> Params:
        """Initial parameters in the policy's parameter dtype."""
        return nn.init(key, self.mlp, self.policy.param)

    def logits(
        self, params: Params, inputs: Num[Array, "B I"], dropout_key: PRNGKey | None = None
    ) -> Float[Array, "B C"]:
        """f32 [B, C] from samples as stored (uint8 or f32 [B, I]); with dropout only where a key is given."""
        x = (inputs.astype(self.policy.output) - self.scaling.shift) * self.scaling.scale
        if self._is_one_kernel and dropout_key is None:
            layers = [(params[name]["kernel"], params[name]["bias"]) for name in nn.layer_names(self.mlp)]
            logits = kernels.mlp(x, layers, self.mlp.activation, self.policy, self.implementation)
        else:
            dense = partial(kernels.dense, policy=self.policy, implementation=self.implementation)
            logits = nn.apply(self.mlp, params, x, dense=dense, dropout_key=dropout_key)
        return logits.astype(jnp.float32)

    @property
    def _is_one_kernel(self) -> bool:
        """Whether there is a kernel of all its layers together."""
        plain = self.mlp.normalization == "none" and not self.mlp.residual
        target = TARGETS.get(self.implementation)
        widths = self.mlp.inputs, *self.mlp.hidden, self.mlp.outputs
        return plain and target is not None and "mlp" in target.parts and max(widths) <= NARROW_MLP
