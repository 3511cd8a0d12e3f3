"""Blocks of rows: few programs, and the same outputs whatever the block."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuroforge_jax as nf
from neuroforge_jax.training.predict import BLOCKS, CALL_ROWS, NARROW_BLOCKS, split_rows
from tests.conftest import make_blobs


@pytest.fixture(scope="module")
def trained():
    config = nf.TrainConfig(hidden=(8,), batch_size=32, backend="optimized")
    dataset = make_blobs()
    model, state = nf.init(config, dataset)
    rows = np.random.default_rng(0).integers(0, 256, (9500, 13)).astype(np.uint8)
    return model, state.params, rows, np.asarray(jax.jit(model.logits)(state.params, rows))


@given(st.integers(0, 100_000), st.sampled_from([BLOCKS, NARROW_BLOCKS]))
@settings(max_examples=60, deadline=None)
def test_blocks_are_all_rows_in_order_and_cost_little_more(rows, sizes):
    blocks = list(split_rows(rows, sizes))
    covered = [(part.start, part.stop) for part, _ in blocks]
    assert [first for first, _ in covered] == [0, *(last for _, last in covered)][: len(covered)]
    assert sum(last - first for first, last in covered) == rows
    assert all(0 < part.stop - part.start <= size and size in sizes for part, size in blocks)
    cost = sum(size + CALL_ROWS for _, size in blocks)
    assert cost <= 1.1 * rows + 6 * (sizes[2] + CALL_ROWS)


def test_60_numbers_of_rows_are_at_most_8_programs_and_the_outputs_of_each_are_the_same(
    trained, compilations
):
    model, params, rows, expected = trained
    counts = np.unique(np.geomspace(1, len(rows), 75).astype(int))
    assert len(counts) >= 60
    for count in counts:
        np.testing.assert_allclose(
            nf.predict(model, params, rows[-count:]), expected[-count:], rtol=0, atol=2e-6
        )
    assert 1 <= len([name for name in compilations if "program" in name]) <= 8


def test_no_rows_give_no_outputs_and_compile_nothing(trained, compilations):
    model, params, rows, _ = trained
    assert nf.predict(model, params, rows[:0]).shape == (0, 4)
    assert nf.predict_proba(model, params, []).shape == (0, 4)
    assert compilations == []
