"""The checks of a backend: the table's hold them, and each planted mistake is named by the line for it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.backends.executors.scanned import SCANNED
from neuroforge_jax.backends.executors.stepped import STEPPED
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.verification.backend_claims import backend_claims
from tests.verification.findings import first_failure


def backend_with(mistake, name="planted"):
    """`stepped`, or `scanned` for populations, with a mistake in what is run.

    mistake: of the spec and the right run, gives a run.
    """
    right = SCANNED if mistake in OF_POPULATIONS else STEPPED

    def prepare(spec):
        return mistake(spec, right.prepare(spec))

    return nf.Backend(name, replace(right, name=name, prepare=prepare), "f32")


def drops_the_last_batch(spec, run):
    steps = -(-len(spec.train) // spec.batch_size)

    def wrong(state, first, last):
        chunks = []
        for step in range(first, last):
            before = jax.tree.map(jnp.copy, state)
            state, metrics = run(state, step, step + 1)
            chunks += metrics.chunks
            if (step + 1) % steps == 0:
                state = replace(before, step=state.step)
        return state, SegmentMetrics(tuple(chunks), first, last)

    return wrong


def trains_each_step_twice(spec, run):
    def wrong(state, first, last):
        chunks = []
        for step in range(first, last):
            count = jnp.copy(state.step)
            state, _ = run(state, step, step + 1)
            state, metrics = run(replace(state, step=count), step, step + 1)
            chunks += metrics.chunks
        return state, SegmentMetrics(tuple(chunks), first, last)

    return wrong


def shifts_the_order(spec, run):
    def wrong(state, first, last):
        state, metrics = run(state, first + 1, last + 1)
        return state, replace(metrics, first_step=first, last_step=last)

    return wrong


def swaps_two_batches(spec, run):
    def wrong(state, first, last):
        chunks = []
        for step in range(first, last):
            state, metrics = run(state, step + (1, -1, 0)[step % 3], step + (2, 0, 1)[step % 3])
            chunks += metrics.chunks
        return state, SegmentMetrics(tuple(chunks), first, last)

    return wrong


def changes_the_metrics(change):
    def mistake(spec, run):
        def wrong(state, first, last):
            state, metrics = run(state, first, last)
            return state, change(metrics, first, last)

        return wrong

    return mistake


def changes_the_state(change):
    def mistake(spec, run):
        def wrong(state, first, last):
            after, metrics = run(state, first, last)
            return change(after, first, last), metrics

        return wrong

    return mistake


def does_not_donate(spec, run):
    return lambda state, first, last: run(jax.tree.map(jnp.copy, state), first, last)


def counts_from_its_own(spec, run):
    done = []

    def wrong(state, first, last):
        if not done and last - first == 8:  # a run that is prepared anew begins at its own first step
            first, last = 0, 8
        done.append(last)
        return run(state, first, last)

    return wrong


def compiles_each_length(spec, run):
    def wrong(state, first, last):
        jax.jit(lambda x: x + last)(np.zeros(last - first))
        return run(state, first, last)

    return wrong


def forgets_weights(spec, run):
    return STEPPED.prepare(replace(spec, train=replace(spec.train, weights=None)))


def all_samples_count(metrics, first, last):
    chunks = tuple((replace(each, samples=jnp.float32(67)), valid) for each, valid in metrics.chunks)
    return replace(metrics, chunks=chunks)


def jitters(state, first, last):
    nudge = 1e-7 if last - first == 3 else 0
    return replace(state, params=jax.tree.map(lambda leaf: leaf + nudge, state.params))


def to_bf16(state, dtype):
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(dtype), state.params)
    return replace(state, params=rounded)


def copies_the_first_member(spec, run):
    def wrong(state, first, last):
        state, metrics = run(state, first, last)
        if spec.members is None:
            return state, metrics
        params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), state.params)
        return replace(state, params=params), metrics

    return wrong


OF_POPULATIONS = (copies_the_first_member,)


def shuffles_all_the_same(spec, run):
    return STEPPED.prepare(replace(spec, shuffles=True))


def never_lowers_the_loss_scale(spec, run):
    def wrong(state, first, last):
        before = jax.tree.map(jnp.copy, state.loss_scale)
        state, metrics = run(state, first, last)
        return replace(state, loss_scale=before), metrics

    return wrong


def trains_small_batches_slowly(spec, run):
    """The training that the other checks are about has larger ones."""

    def wrong(state, first, last):
        before = jax.tree.map(jnp.copy, state.params)
        after, metrics = run(state, first, last)
        if spec.batch_size < 67 and state.loss_scale is None:
            after = replace(after, params=jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, after.params, before))
        return after, metrics

    return wrong


BACKEND_MISTAKES = {
    "drops the last batch": (
        drops_the_last_batch,
        "trains on each batch once, in its order, the smaller last one too",
        "step 2, an epoch's last batch, of 47 samples: parameters, ",
    ),
    "trains each step twice": (
        trains_each_step_twice,
        "trains on each batch once, in its order, the smaller last one too",
        "it takes the step twice",
    ),
    "shifts the order": (
        shifts_the_order,
        "gives the metrics of every step",
        "step 1 has 47 samples, and should have 67",
    ),
    "swaps two batches": (
        swaps_two_batches,
        "trains on each batch once, in its order, the smaller last one too",
        "it trains on the batch of step 1",
    ),
    "counts each step twice": (
        changes_the_state(lambda state, first, last: replace(state, step=state.step + last - first)),
        "counts each step once",
        "state.step is 36 after 18 steps",
    ),
    "does not donate": (does_not_donate, "donates the state that it is given", "donate_argnums=0"),
    "counts padding as samples": (
        changes_the_metrics(all_samples_count),
        "gives the metrics of every step",
        "step 2 has 67 samples, and should have 47",
    ),
    "gives too few metrics": (
        changes_the_metrics(lambda metrics, first, last: replace(metrics, chunks=metrics.chunks[:-1])),
        "gives the metrics of every step",
        "17 numbers of loss for 18 steps",
    ),
    "gives a pair of something else": (
        changes_the_metrics(lambda metrics, first, last: metrics.loss),
        "prepares a training, and runs all of its steps",
        "run gives a TrainState and a ndarray",
    ),
    "prepares nothing": (
        lambda spec, run: None,
        "prepares a training, and runs all of its steps",
        "prepare gives a NoneType",
    ),
    "rounds the parameters": (
        changes_the_state(lambda state, first, last: to_bf16(state, jnp.float32)),
        "trains on each batch once, in its order, the smaller last one too",
        "step 0: parameters, ",
    ),
    "changes a dtype": (
        changes_the_state(lambda state, first, last: to_bf16(state, jnp.bfloat16)),
        "keeps the structure of the state",
        "params/layer0/bias was float32 [33] and is bfloat16 [33]",
    ),
    "depends on where it is cut": (
        changes_the_state(jitters),
        "gives the same bits wherever a run is cut",
        "let programs of one step and of many compute it alike",
    ),
    "compiles each length": (
        compiles_each_length,
        "compiles nothing after its first run",
        "let the steps be arguments of the program",
    ),
    "keeps a count of its own": (
        counts_from_its_own,
        "goes on from a saved state as if it had never stopped",
        "nothing may be kept between two runs",
    ),
    "forgets weights": (forgets_weights, "weighs samples by their weights", "hand on batch.weight"),
    "shuffles all the same": (
        shuffles_all_the_same,
        "takes samples in the order in which they are stored",
        "give nf.draw_batch shuffles=spec.shuffles",
    ),
    "copies the first member": (
        copies_the_first_member,
        "trains each member of a population as it trains one network",
        "parameters of the second of two networks off by",
    ),
    "trains small batches slowly": (
        trains_small_batches_slowly,
        "trains as the oracle does: sgd, small batches",
        "mend what is wrong above",
    ),
    "never lowers the loss scale": (
        never_lowers_the_loss_scale,
        "trains as the oracle does: overflowing",
        "mend what is wrong above",
    ),
    "changes the learning rate": (
        changes_the_state(
            lambda state, first, last: replace(state, hyper=jax.tree.map(lambda leaf: leaf * 2, state.hyper))
        ),
        "leaves the values of the training (state.hyper) and the seed's key alone",
        "state.hyper has changed",
    ),
}


SHOWN = ("drops the last batch", "does not donate")
"""The others take as long together as all other tests of a room."""


@pytest.mark.parametrize(
    "name",
    [name if name in SHOWN else pytest.param(name, marks=pytest.mark.slow) for name in BACKEND_MISTAKES],
)
def test_a_mistake_in_a_backend_is_named_by_its_line(name):
    mistake, claim, words = BACKEND_MISTAKES[name]
    finding = first_failure(backend_claims(backend_with(mistake)))
    assert finding is not None
    assert finding.claim == claim, str(finding)
    assert words in str(finding), str(finding)


@pytest.mark.slow
@pytest.mark.full_effort
@pytest.mark.parametrize("name", ["optimized", "async"])
def test_the_executions_of_the_table_hold_every_check(name):
    outcome = nf.verify_plugin(BACKENDS[name])
    assert outcome.passed, str(outcome)
    planted = {claim for _, claim, _ in BACKEND_MISTAKES.values()}
    checked = {finding.claim for finding in outcome.findings}
    # So that no check can come to nothing unseen; a device that is not there has a test of its own.
    assert checked - planted == {"finds its device (any)"}
