"""One temperature that makes a classifier's probabilities mean what they say (Guo et al., 2017, arXiv:1706.04599).

The outputs of the network are divided by it, which changes no decision. It is the one of least log-loss on rows
that were held out of the training.
"""

import warnings

import numpy as np
import scipy.optimize
from jaxtyping import Float
from sklearn.model_selection import train_test_split

from neuroforge_jax.data.mapped import select_rows
from neuroforge_jax.data.targets import Targets
from neuroforge_jax.data.types import Split
from neuroforge_jax.estimators.classes import Classes
from neuroforge_jax.estimators.rows import Part

LARGEST_TEMPERATURE = 64.0
"""And the smallest is 1 in so many: of rows that are all classified rightly the best one would be 0."""

SHARE = 0.1
"""Of the rows, held out for it where nothing else holds out any."""

FEWEST_ROWS = 50
"""Below which nothing is held out for it."""


def hold_out(
    part: Part, random: np.random.RandomState, strata: np.ndarray | None
) -> tuple[Part, Split | None]:
    """The rows to train on and a tenth to calibrate by; all and None, with a warning, where they are too few."""
    rows, targets, weights = part
    if len(rows) < FEWEST_ROWS:
        warnings.warn(
            f"calibrate holds out a tenth of the rows, and {len(rows)} are fewer than {FEWEST_ROWS}; "
            "the probabilities are not calibrated: give fit X_val and y_val",
            stacklevel=5,
        )
        return part, None
    stay, held = train_test_split(np.arange(len(rows)), random_state=random, test_size=SHARE, stratify=strata)
    kept, own = (None, None) if weights is None else (weights[stay], weights[held])
    return (select_rows(rows, stay), targets[stay], kept), Split(select_rows(rows, held), targets[held], own)


def fit_temperature(
    classes: Classes, outputs: Float[np.ndarray, "N C"], targets: Targets, weights: np.ndarray | None
) -> float:
    """The temperature of least log-loss on these rows, weighted where they have weights f32 [N]."""

    def loss(logarithm: float) -> float:
        likelihoods = classes.log_likelihoods(outputs / np.exp(logarithm), targets)
        return -float(np.average(likelihoods, weights=weights))

    bound = np.log(LARGEST_TEMPERATURE)
    found = scipy.optimize.minimize_scalar(
        loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))
