"""Every step of a backend beside the same step by `stepped`: the first that is wrong, and what it is like."""

from collections.abc import Iterator, Sequence

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.checkpoint.writer import named_leaves
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.verification.bounds import relative_error
from neuroforge_jax.verification.checks import flatten
from neuroforge_jax.verification.findings import ClaimError
from neuroforge_jax.verification.trial import (
    RAGGED,
    STEPS,
    STEPS_PER_EPOCH,
    Trial,
    describe_error,
    on_device,
    same_bits,
    with_stepped,
)
from neuroforge_jax.verification.verdict import Check


def follow_stepped(trial: Trial) -> Check:
    """Parameters, loss and samples that are right after each step. Raises ClaimError on the first that is wrong."""
    state, after = trial.job.start(), with_stepped(trial.job).start()
    worst = None
    for step in range(STEPS):
        before = jax.device_get(state)
        state, metrics = trial.run(state, step, step + 1)
        after, wanted = trial.run_stepped(after, step, step + 1)
        # Each step begins where the other is: what is wrong is wrong at the first step that is.
        for check in _checks(trial, step, (state, metrics), (after, wanted)):
            if not check.passed:
                raise ClaimError(
                    f"{_place(step)}: {describe_error(check)}", _advice(trial, step, before, state), check
                )
            worst = check if worst is None or check.share > worst.share else worst
        state = on_device(jax.device_get(after), trial.job.device)
    assert worst is not None
    trial.follows = True
    return worst


def _checks(
    trial: Trial,
    step: int,
    found: tuple[TrainState, SegmentMetrics],
    wanted: tuple[TrainState, SegmentMetrics],
) -> Iterator[Check]:
    case, params = f"step {step}", [named_leaves(state.params) for state, _ in (found, wanted)]
    distances = {
        name: relative_error(leaf, flatten(params[1][name]).reshape(leaf.shape))
        for name, leaf in params[0].items()
    }
    what = f"parameters, {max(distances, key=lambda name: distances[name])} most of all,"
    error = relative_error(*map(flatten, params))
    yield Check("parameters", case, what, error, trial.bounds.gradient)
    error = relative_error(found[1].loss, wanted[1].loss.astype(np.float64))
    yield Check("metrics", case, "loss", error, trial.bounds.logits)
    # One sample whose two best classes are within rounding of each other may count or not.
    error = float(np.abs(found[1].correct - wanted[1].correct).max())
    yield Check("metrics", case, "samples classified rightly", error, 1.5)


def _advice(trial: Trial, step: int, before: TrainState, after: TrainState) -> str:
    """What the step looks like, by what `stepped` makes of the same state."""
    if same_bits(before.params, after.params):
        return "it trains nothing"
    for other in range(min(STEPS, 3 * STEPS_PER_EPOCH)):
        if other != step and _is_like(trial, before, after, (other,)):
            return f"it trains on the batch of step {other}"
    if _is_like(trial, before, after, (step, step)):
        return "it takes the step twice"
    return (
        "draw each batch by nf.draw_batch(data, state.order_key, step, batch_size), and give it to spec.step"
    )


def _is_like(trial: Trial, before: TrainState, after: TrainState, steps: Sequence[int]) -> bool:
    state = on_device(before, trial.job.device)
    for step in steps:
        state, _ = trial.run_stepped(state, step, step + 1)
    pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(after.params), strict=True)
    return all(np.allclose(one, other, rtol=1e-5, atol=1e-6) for one, other in pairs)


def _place(step: int) -> str:
    if (step + 1) % STEPS_PER_EPOCH:
        return f"step {step}"
    return f"step {step}, an epoch's last batch, of {RAGGED} samples"
