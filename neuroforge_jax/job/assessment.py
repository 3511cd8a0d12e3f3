"""What a trained model says of a split, and how good that is: for the end of a run and its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from neuroforge_jax.data.types import Split
from neuroforge_jax.job.predictor import Predictor
from neuroforge_jax.model.answers import read_answers, score_outputs
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.typing import Params

WORST_MISTAKES = 24

MOST_PROBABILITIES = 2_000_000
"""Numbers that are kept: of more samples × classes, samples at equal distances."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """Predictions of a split, and their metrics.

    scores: by name, as of `scoring.metrics.score`. majority_share: of the most frequent class, which is the
    accuracy of always saying it; None for a regression.
    arrays: for a report that has nothing but the run's folder. Of classes: labels and predicted i32 [N]; confidence
    f32 [N], the probability of the predicted class; probabilities f32 [K, C] of the samples at probability_rows
    i32 [K], which are all samples where N·C is at most 2 million, else at equal distances; the most confident
    mistakes worst i32 [M] with their inputs worst_inputs [M, I]. Of a regression: targets and predicted f32 [N, O].
    """

    scores: Mapping[str, float]
    majority_share: float | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    def named(self, part: str) -> dict[str, float]:
        """For a record: `test_roc_auc`, `test_majority_share`."""
        named = {f"{part}_{name.replace('-', '_')}": value for name, value in self.scores.items()}
        if self.majority_share is not None:
            named[f"{part}_majority_share"] = self.majority_share
        return named


def assess(model: FittedModel, params: Params, split: Split) -> Assessment:
    """Predict a split with targets, and score the predictions, samples by their weights where they have some."""
    outputs = Predictor.build(model, params)(split.inputs)
    scores = score_outputs(model, split.targets, outputs, split.weights)
    answers = read_answers(model, outputs)
    if model.target.task == "classification":
        counts = np.bincount(split.targets, split.weights)
        return Assessment(scores, float(counts.max() / counts.sum()), _describe_classes(split, answers))
    targets = model.target.read_outputs(split.targets) if model.target.task == "regression" else split.targets
    return Assessment(scores, None, {"targets": targets, "predicted": answers})


def _describe_classes(split: Split, probabilities: Float[np.ndarray, "N C"]) -> dict[str, np.ndarray]:
    predicted = probabilities.argmax(axis=1).astype(np.int32)
    confidence = probabilities.max(axis=1).astype(np.float32)
    wrong = np.nonzero(predicted != split.targets)[0]
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST_MISTAKES].astype(np.int32)
    every = -(-probabilities.size // MOST_PROBABILITIES)
    rows = np.arange(0, len(probabilities), every, dtype=np.int32)
    return {
        "labels": split.targets,
        "predicted": predicted,
        "confidence": confidence,
        "probabilities": probabilities[rows].astype(np.float32),
        "probability_rows": rows,
        "worst": worst,
        "worst_inputs": split.inputs[worst],
    }
