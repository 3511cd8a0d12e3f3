"""The oracle against itself: its formulas for gradients, and central differences that know no formula."""

import time

import numpy as np

from neuroforge_jax.verification.bounds import UNIT
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.draws import draw
from neuroforge_jax.verification.oracle import Tree, central_difference, gradients
from neuroforge_jax.verification.verdict import Check, Verdict

WIDTH = 1e-6

BOUND = 1e-6
"""A difference over 2·WIDTH of a loss near 1 is rounded by 2⁻⁵³ / WIDTH = 1e-10, and leaves out WIDTH² of the
third derivative, which is less. The norm of a leaf's gradient is above 1e-3 in every case."""


def verify_oracle() -> Verdict:
    """Every leaf of every standard network: the derivative along a direction, by formula and by difference."""
    begun, checks = time.perf_counter(), []
    for case in standard_cases():
        if not (case.standard and case.parts):
            continue
        # Away from kinks by more than the difference moves a sum: as far as for float16.
        problem = draw(case, UNIT["float16"], _no_order, _no_rates)
        _, _, grads = gradients(problem.network, problem.params, problem.batch)
        rng = np.random.default_rng(0)
        for name, leaves in grads.items():
            for leaf, gradient in leaves.items():
                direction: Tree = {n: {k: 0 * v for k, v in ls.items()} for n, ls in grads.items()}
                # Partly along the gradient: across it the derivative is 0, and no error relative to it is small.
                along = rng.normal(size=gradient.shape)
                along = along / np.linalg.norm(along) + gradient / np.linalg.norm(gradient)
                direction[name][leaf] = along
                by_difference = central_difference(
                    problem.network, problem.params, problem.batch, direction, WIDTH
                )
                by_formula = float((gradient * along).sum())
                error = abs(by_difference - by_formula) / abs(by_formula)
                checks.append(Check("gradients", case.name, f"gradient of {name}/{leaf}", error, BOUND))
    what = "float64 NumPy, against central differences"
    return Verdict("oracle", what, tuple(checks), time.perf_counter() - begun)


def _no_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    raise AssertionError("a batch has no order")


def _no_rates(case: object) -> tuple[float, ...]:
    return ()
