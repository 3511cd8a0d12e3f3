"""Rows of an estimator: equal ones are one that counts more, whatever their order."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_poisson_deviance
from sklearn.utils.class_weight import compute_sample_weight

import neuroforge_jax as nf
from neuroforge_jax.data.types import Split
from neuroforge_jax.estimators.rows import balance, make_split, merge_rows, poisson_offset

small = st.integers(-2, 2)


@given(st.lists(st.tuples(small, small, st.integers(0, 3)), min_size=1, max_size=12), st.randoms())
@settings(max_examples=60, deadline=None)
def test_a_row_that_counts_thrice_is_the_row_three_times_in_any_order(table, random):
    table = [*table, (0, 0, 1)]
    rows = np.array([[a, -0.0 if b == 0 else b] for a, b, _ in table], np.float32)
    targets = np.array([a * b for a, b, _ in table], np.float32)[:, None]
    weights = np.array([w for *_, w in table], float)
    repeated = np.repeat(np.arange(len(table)), weights.astype(int)).tolist()
    random.shuffle(repeated)

    weighted = merge_rows(rows, targets, weights)
    plain = merge_rows(rows[repeated], targets[repeated], None)

    for one, other in zip(weighted, plain, strict=True):
        assert np.array_equal(one, other)
    assert weighted[2].sum() == weights.sum()


def test_rows_that_differ_in_their_target_alone_stay_two():
    rows, targets = np.ones((2, 3), np.float32), np.array([0, 1], np.int32)

    _, kept, counts = merge_rows(rows, targets, None)

    assert sorted(kept) == [0, 1]
    assert counts.tolist() == [1, 1]


def test_weights_have_mean_1_and_rows_of_weight_0_are_left_out():
    split = make_split(
        np.arange(4, dtype=np.float32)[:, None], np.zeros((4, 1), np.float32), np.array([0, 1, 1, 4.0])
    )

    assert split.inputs[:, 0].tolist() == [1, 2, 3]
    assert split.weights == pytest.approx([0.5, 0.5, 2])
    assert make_split(split.inputs, split.targets, np.full(3, 7.0)).weights is None


def test_the_poisson_loss_is_shown_as_half_the_deviance():
    counts, means = np.array([[0.0], [3], [5]], np.float32), np.array([0.5, 2, 6])
    own = float(np.mean(means - counts[:, 0] * np.log(means)))

    shown = own + poisson_offset(Split(np.zeros((3, 1), np.float32), counts))

    assert shown == pytest.approx(mean_poisson_deviance(counts[:, 0], means) / 2, rel=1e-6)


def test_classes_that_are_balanced_count_alike_by_the_weights_of_their_rows():
    """Counted by rows, one that counted twice was another training than the row twice."""
    labels, weights = np.array(["a", "a", "a", "b", "c"]), np.array([1.0, 1.0, 2.0, 1.0, 0.0])

    factors = balance(labels, weights)

    assert (factors * weights)[labels == "a"].sum() == (factors * weights)[labels == "b"].sum() == 2.5
    np.testing.assert_array_equal(balance(labels, None), compute_sample_weight("balanced", labels))
    np.testing.assert_array_equal(balance(labels[[0, 1, 2, 2, 3]], None), factors[[0, 1, 2, 2, 3]])


def test_each_of_several_labels_is_balanced():
    labels = np.array([[0, 1], [0, 1], [1, 1], [0, 0]])

    np.testing.assert_allclose(balance(labels, None), compute_sample_weight("balanced", labels))


def test_float64_rows_are_converted_once_and_never_copied_beside():
    X = np.random.default_rng(0).normal(size=(12_001, 200))
    y = (X[:, 0] > 0).astype(int)
    model = nf.MLPClassifier((4,), max_iter=3, tol=1e9, n_iter_no_change=1).fit(X[:600], y[:600])
    tracemalloc.start()
    model.fit(X, y)
    trained = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    model.predict(X)
    asked = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert trained < 1.4 * X.nbytes / 2  # one copy as float32, padded by a sixteenth at most
    assert asked < 1.4 * X.nbytes / 2
