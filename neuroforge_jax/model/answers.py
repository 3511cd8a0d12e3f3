"""What the outputs of a network mean to a person, and how right they are."""

import numpy as np

from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.scoring.metrics import score
from neuroforge_jax.typing import Float


def read_answers(model: FittedModel, outputs: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """What outputs of the network mean: probabilities, or quantities in the units of the data; f64."""
    return model.read_outputs(outputs) if model.target.task == "regression" else model.probabilities(outputs)


def score_outputs(
    model: FittedModel,
    targets: np.ndarray,
    outputs: Float[np.ndarray, "N C"],
    weights: Float[np.ndarray, " N"] | None = None,
) -> dict[str, float]:
    """Every metric of these outputs of the network, by name. targets: as a split stores them."""
    task, answers = model.target.task, read_answers(model, outputs)
    if task == "regression":
        quantiles = model.spec.quantiles
        if quantiles and targets.shape[1] > 1:  # of several quantities only the medians are scored
            if 0.5 not in quantiles:
                return {}
            answers, quantiles = answers[:, quantiles.index(0.5) :: len(quantiles)], ()
        return score(task, model.target.read_outputs(targets), answers, weights, quantiles)
    return score(task, targets, answers, weights)
