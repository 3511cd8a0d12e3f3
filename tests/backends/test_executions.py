"""Every execution: one compile, donated state, the same bits wherever it is cut, no weight to padding."""

import dataclasses
from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors import scanned
from neuroforge_jax.backends.executors.orders import prepare_orders
from neuroforge_jax.data.batch import to_device
from neuroforge_jax.data.shuffle import sample_order
from neuroforge_jax.job.job import Job
from neuroforge_jax.population import build_population
from tests.conftest import make_blobs
from tests.tiers import with_further

COMPILED = ("optimized", "stepped", "mixed", "async")
EXECUTIONS = (*COMPILED, "naive")

VARIANTS = {
    "plain": {},
    "everything at once": {
        "hidden": (16, 16),
        "normalization": "layer",
        "residual": True,
        "dropout": 0.3,
        "accumulate": 4,
        "clip_norm": 0.5,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "schedule": "one-cycle",
        "learning_rate": 0.01,
    },
    "stored order": {"shuffle": False, "batch_size": 16},
    "fp16 with loss scaling": {"precision": "fp16", "loss_scale": "dynamic", "optimizer": "momentum"},
}

COSTLY = ("everything at once", "fp16 with loss scaling")


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state.replace(key_data=None))]


def whole_order(key, epoch, samples):
    return np.asarray(sample_order(key, epoch, samples, jnp.arange(samples, dtype=jnp.int32)))


def train(config, dataset, cuts):
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset)
    losses = []
    for first, last in pairwise(cuts):
        state, metrics = run(state, first, last)
        losses.append(metrics.loss)
    return leaves(state), np.concatenate(losses)


@pytest.mark.parametrize(
    ("backend", "variant"),
    with_further(
        [*product(["optimized"], (*COSTLY, "stored order")), *product(COMPILED, ["plain"])],
        [*product(["stepped", "async"], COSTLY), ("naive", "plain")],
    ),
)
def test_a_run_cut_anywhere_is_the_same_bits(backend, variant, blobs, small_config):
    config = dataclasses.replace(small_config, backend=backend, **VARIANTS[variant])
    steps = 3 * nf.steps_per_epoch(config, blobs)
    assert steps == 3 * -(-203 // config.batch_size) >= 21
    whole, whole_losses = train(config, blobs, [0, steps])
    cut, cut_losses = train(config, blobs, [0, 1, 2, 6, 7, 8, 15, 15, steps])
    np.testing.assert_array_equal(whole_losses, cut_losses)
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", with_further(["optimized", "async"], ["stepped", "mixed", "naive"]))
def test_the_same_seed_is_the_same_bits_and_another_is_not(backend, blobs, small_config):
    config = dataclasses.replace(small_config, backend=backend)
    first, _ = train(config, blobs, [0, 9])
    second, _ = train(config, blobs, [0, 9])
    other, _ = train(dataclasses.replace(config, seed=1), blobs, [0, 9])
    assert all((a == b).all() for a, b in zip(first, second, strict=True))
    assert not all((a == b).all() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("backend", ["stepped", "async", "naive"])
def test_every_execution_sees_the_same_batches_in_the_same_order(backend, blobs, small_config):
    """203 samples in batches of 32: had one batch another sample, its loss would be another."""
    config = small_config
    losses = train(config, blobs, [0, 21])[1]
    others = train(dataclasses.replace(config, backend=backend), blobs, [0, 21])[1]
    np.testing.assert_allclose(losses, others, rtol=2e-5)


@pytest.mark.parametrize(
    ("backend", "batch_size"),
    with_further(
        [("optimized", 16), ("optimized", 203), ("async", 32), ("stepped", 32), ("population", 16)],
        [("optimized", 32), ("async", 16), ("async", 203), ("naive", 32)],
    ),
)
def test_without_shuffling_every_execution_takes_the_samples_as_they_are_stored(backend, batch_size):
    """Softmax regression, for which the loop in NumPy is short; 208 rows lie on the device, 13 batches of 16."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(203, 5)).astype(np.float32), rng.integers(0, 3, 203)
    dataset = nf.Dataset.from_arrays(x, y, sample_weight=rng.uniform(0.5, 1.5, 203))
    config = nf.TrainConfig(hidden=(), batch_size=batch_size, learning_rate=0.5, epochs=2, shuffle=False)
    many = backend == "population"
    config = dataclasses.replace(config, backend="optimized" if many else backend)
    job = build_population(config, dataset, (0, 1)) if many else Job.build(config, dataset)
    state = job.start()
    kernel, bias = (
        np.float64(state.params["output"][leaf][-1] if many else state.params["output"][leaf])
        for leaf in ("kernel", "bias")
    )
    _, metrics = job.compile()(state, 0, job.training.steps)

    inputs, weights, expected = (np.float64(x) - x.mean(0)) / x.std(0), dataset.train.weights, []
    for first in [*range(0, 203, batch_size)] * 2:
        batch = slice(first, first + batch_size)
        logits, rows = inputs[batch] @ kernel + bias, weights[batch]
        log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        expected.append(-(rows * log_p[range(len(rows)), y[batch]]).mean())
        slope = rows[:, None] * (np.exp(log_p) - np.eye(3)[y[batch]]) / len(rows)
        kernel, bias = kernel - 0.5 * inputs[batch].T @ slope, bias - 0.5 * slope.sum(0)
    np.testing.assert_allclose(metrics.loss[-1] if many else metrics.loss, expected, rtol=1e-5)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.smoke
def test_a_run_compiles_once(backend, blobs, small_config, compilations):
    config = dataclasses.replace(small_config, backend=backend, hidden=(17,))  # a program of its own
    model, state = nf.init(config, blobs)
    compilations.clear()
    run = nf.prepare(config, model, blobs)
    assert len([name for name in compilations if "program" in name]) == 1
    compilations.clear()
    for first, last in ((0, 1), (1, 5), (5, 5), (5, 14), (14, 21)):
        state, metrics = run(state, first, last)
        assert metrics.loss.shape == (last - first,)
    assert compilations == []


@pytest.mark.parametrize("parts", [1, 2])
def test_operation_by_operation_all_is_compiled_before_the_first_step_counts(
    parts, blobs, small_config, compilations
):
    """The loop over the parts of a batch was compiled in every step."""
    config = dataclasses.replace(
        small_config, backend="naive", hidden=(19,), optimizer="adam", accumulate=parts
    )
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs)
    compilations.clear()
    _, metrics = run(state, 0, 2)
    assert np.isfinite(metrics.loss).all()
    assert compilations == []


@pytest.mark.parametrize("backend", [name for name in COMPILED if name != "async"])
def test_the_state_is_donated_and_live_buffers_do_not_grow(backend, blobs, small_config):
    config = dataclasses.replace(small_config, backend=backend)
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs)
    given = jax.tree.leaves(state.params)
    state, metrics = run(state, 0, 3)
    metrics.loss  # noqa: B018 (waits)
    assert all(leaf.is_deleted() for leaf in given)
    live = []
    for step in range(3, 18, 3):
        state, metrics = run(state, step, step + 3)
        del metrics
        live.append(sum(array.nbytes for array in jax.live_arrays()))
    assert len(set(live)) == 1


def test_the_compiler_aliases_the_whole_state(blobs, small_config):
    _, state = nf.init(small_config, blobs)
    program, given = _program(small_config, blobs)
    compiled = jax.jit(program, donate_argnums=0).lower(state, *given).compile()
    state_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state, state.step)))
    assert compiled.memory_analysis().alias_size_in_bytes >= state_bytes


def test_padding_of_the_last_batch_counts_for_nothing(small_config):
    """203 samples in batches of 32: the last step of an epoch has 11 real ones, and counts them alone."""
    dataset = make_blobs(203)
    model, state = nf.init(small_config, dataset)
    run = nf.prepare(small_config, model, dataset)
    params = jax.tree.map(jnp.copy, state.params)
    state, metrics = run(state, 0, 6)
    before_last = jax.tree.map(jnp.copy, state.params)
    _, last = run(state, 6, 7)
    assert list(metrics.samples) == [32] * 6
    assert list(last.samples) == [11]

    order = whole_order(jax.random.fold_in(jax.random.key(0), 1), 0, 203)
    rest = dataset.train[order[192:]]
    loss = nf.evaluate(model, before_last, rest).loss
    np.testing.assert_allclose(last.loss[0], loss, rtol=1e-5)
    assert nf.evaluate(model, params, rest).loss != pytest.approx(loss)


def test_every_sample_is_seen_once_an_epoch(blobs, small_config):
    _, state = nf.init(small_config, blobs)
    for epoch in range(3):
        order = whole_order(state.order_key, epoch, len(blobs.train))
        assert sorted(order) == list(range(203))


@pytest.mark.full_effort  # two programs, to the bit
def test_a_segment_longer_than_the_metrics_buffer_is_split(blobs, small_config, monkeypatch):
    whole, whole_losses = train(small_config, blobs, [0, 21])
    monkeypatch.setattr(scanned, "MAX_CAPACITY", 4)
    split, split_losses = train(small_config, blobs, [0, 21])
    np.testing.assert_array_equal(whole_losses, split_losses)
    assert all((a == b).all() for a, b in zip(whole, split, strict=True))


def test_accumulating_is_the_same_training_up_to_rounding(blobs, small_config):
    whole, whole_losses = train(small_config, blobs, [0, 21])
    parts, part_losses = train(dataclasses.replace(small_config, accumulate=8), blobs, [0, 21])
    np.testing.assert_allclose(whole_losses, part_losses, rtol=1e-4)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_bf16_keeps_float32_master_weights_and_multiplies_in_bf16(blobs, small_config):
    config = dataclasses.replace(small_config, backend="mixed")
    model, state = nf.init(config, blobs)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    program, given = _program(config, blobs)
    lowered = jax.jit(program).lower(state, *given)
    products = [line for line in lowered.as_text().splitlines() if "dot_general" in line]
    assert products
    # Operands and result; the weight gradients of a batch of 32 are no exception.
    in_bf16 = 3 if model.policy.multiplied_in("cpu") == jnp.bfloat16 else 0
    assert all(line.count("bf16") == in_bf16 for line in products)
    # Two forward, two weight gradients, one input gradient: the first layer's, which nobody needs, is gone.
    assert lowered.compile().as_text().count(" dot(") == 5


def test_a_segment_that_runs_backwards_is_refused(blobs, small_config):
    model, state = nf.init(small_config, blobs)
    with pytest.raises(ValueError, match="steps 5 to 3"):
        nf.prepare(small_config, model, blobs)(state, 5, 3)


def _program(config, dataset):
    """The program of a segment, and what it takes beside the state."""
    spec, data = Job.build(config, dataset).spec(), to_device(dataset.train)
    program = scanned.segment_program(
        spec.step, rows=spec.batch_rows, capacity=spec.steps, placement=spec.placement
    )
    return program, (spec.fitted, data, prepare_orders(spec, data).like, np.int32(0), np.int32(1))
