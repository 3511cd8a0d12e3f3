"""Parameters of an estimator that do not go together, told before anything is trained."""

from collections.abc import Mapping
from typing import Any

OF_STEPS = {"monitor": None, "dropout": 0, "schedule": "constant", "callbacks": None, "max_time": None}
"""Parameters for a training in steps, and at what they ask for nothing."""


def check_combinations(
    parameters: Mapping[str, Any], *, steps: bool, held_out: bool, incremental: bool, members: int | None
) -> None:
    """Raises ValueError for those that contradict each other.

    steps: whether it trains in steps, and not by L-BFGS. held_out: whether rows are given to select by.
    incremental: whether it is one pass more. members: networks whose training goes on; None for one that begins.
    """
    monitor, early = parameters["monitor"], parameters["early_stopping"]
    refused = {"early_stopping=True": early, "calibrate": parameters.get("calibrate"), "monitor": monitor}
    if incremental and any(refused.values()):
        raise ValueError(f"partial_fit does not support {next(name for name, on in refused.items() if on)}")
    idle = [name for name, usual in OF_STEPS.items() if parameters[name] != usual]
    if idle and not steps:
        raise ValueError(
            f"{' and '.join(idle)} would change nothing, for solver='lbfgs' has no steps and no epochs: use "
            "solver='adam' or 'sgd'"
        )
    if held_out and not steps and not parameters.get("calibrate"):
        raise ValueError(
            "X_val and y_val would select nothing, for solver='lbfgs' has no epochs: leave them out"
        )
    if monitor and not (held_out or early):
        raise ValueError(
            f"monitor={monitor!r} is measured on rows held out: set early_stopping=True, or give X_val and y_val"
        )
    wanted = parameters["n_ensemble"]
    if members is not None and members != wanted:
        raise ValueError(
            f"n_ensemble is {wanted}, and a training of {members} goes on: their number stays; fit anew for another"
        )
