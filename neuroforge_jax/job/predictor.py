"""A trained network that is asked: with which compile options, and on which device, whoever asks it."""

import math
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.data.preprocess import Inputs
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.nn.mlp import forward_flops
from neuroforge_jax.training.predict import CHUNK, device_of, predict_outputs
from neuroforge_jax.typing import CompileOptions, Params


@dataclass(frozen=True, eq=False)
class Predictor:
    """Rows as the model stores them [N, I] → the network's outputs f32 [N, C]: logits, or scaled quantities."""

    model: FittedModel
    params: Params
    device: jax.Device
    options: CompileOptions

    @staticmethod
    def build(model: FittedModel, params: Params, rows_at_once: float = math.inf) -> "Predictor":
        """On the device of the parameters. rows_at_once: rows that are asked for, by which programs that cannot be
        kept for the next process repay their compiling, or not; no end of them where one asks again and again.
        """
        device = device_of(params)
        flops = rows_at_once * forward_flops(model.mlp)
        return Predictor(model, params, device, compile_options(device.platform, model.policy, CHUNK, flops))

    def __call__(self, rows: Inputs) -> Float[np.ndarray, "N C"]:
        """The outputs of each row; nothing of no rows."""
        return predict_outputs(self.model, self.params, rows, self.device, self.options)
