"""What is learnt of numbers before a training, held against scikit-learn and float64."""

import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri
from sklearn.preprocessing import QuantileTransformer, RobustScaler, StandardScaler

from neuroforge_jax.data.preprocess import KNOTS, ROWS_SORTED, Preprocessor, choose_origin, fit_inputs
from neuroforge_jax.model.network_inputs import network_inputs
from neuroforge_jax.verification.oracle_inputs import prepare

pytestmark = pytest.mark.smoke

ROWS = 120

SIZES = st.sampled_from([1.0, 1e-6, 1e3, 1e9, 1e25])


@st.composite
def columns(draw):
    """Numbers f32 [ROWS, 1] of any size, tied or not, some of them missing."""
    drawn = st.one_of(
        st.just(np.nan), st.floats(-1, 1).map(lambda x: round(x, 4)), st.integers(-3, 3).map(float)
    )
    values = draw(st.lists(drawn, min_size=1, max_size=60))
    order = np.random.default_rng(draw(st.integers(0, 9))).integers(0, len(values), ROWS)
    scaled = (
        np.array(values)[order] * draw(SIZES) * (1 + draw(st.sampled_from([0.0, 1e-3])) * np.arange(ROWS))
    )
    return np.where(np.abs(scaled) < 1e-30, 0, scaled).astype(np.float32)[:, None]


def fit(scaling, column):
    plan = Preprocessor(1, scaling=scaling)
    return plan, fit_inputs(plan, column)


in_program = jax.jit(network_inputs, static_argnums=0)


def scale(plan, fitted, column):
    """As the network gets it; it is what float64 says, and finite."""
    rows = np.resize(column, (ROWS, 1))  # one program for all
    inputs = np.asarray(in_program(plan, fitted, rows), np.float64)[: len(column)]
    np.testing.assert_allclose(inputs, prepare(plan, fitted, column), rtol=2e-4, atol=2e-5)
    return inputs[:, 0]


def is_told_apart(column):
    """Whether numbers differ by more than the rounding of float32."""
    return np.nanmax(column) - np.nanmin(column) > 1e-5 * np.nanmax(np.abs(column))


@settings(deadline=None, max_examples=15)
@given(columns())
def test_standard_is_that_of_scikit_learn_and_says_nothing_of_a_constant(column):
    plan, fitted = fit("standard", column)
    if np.isnan(column).all() or not is_told_apart(column):
        assert np.ptp(scale(plan, fitted, column)) < 0.1
        return
    known = StandardScaler().fit(column.astype(np.float64))
    np.testing.assert_allclose(fitted.shift, known.mean_, rtol=1e-6, atol=1e-7 * known.scale_[0])
    np.testing.assert_allclose(1 / np.float64(fitted.scale), known.scale_, rtol=1e-6)
    there = ~np.isnan(column[:, 0])
    expected = known.transform(column.astype(np.float64))
    np.testing.assert_allclose(scale(plan, fitted, column)[there], expected[there, 0], rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(columns())
def test_robust_is_that_of_scikit_learn_with_extremes_drawn_in(column):
    plan, fitted = fit("robust", column)
    scaled = scale(plan, fitted, column)
    assert (np.abs(scaled) <= 3.0001).all()
    if np.isnan(column).all():
        return
    known = RobustScaler().fit(column.astype(np.float64))
    np.testing.assert_allclose(fitted.shift, known.center_, rtol=1e-6)
    quartiles = np.nanquantile(column.astype(np.float64), [0.25, 0.75])
    if quartiles[0] < quartiles[1] and is_told_apart(quartiles):
        np.testing.assert_allclose(1 / np.float64(fitted.scale), known.scale_, rtol=1e-6)
    elif quartiles[0] == quartiles[1] and is_told_apart(column):  # scikit-learn leaves such a column as it is
        distances = np.abs(column - np.float32(quartiles[0]))
        others = np.median(distances[distances > 0]) if (distances > 0).any() else 0
        assert 1 / np.float64(fitted.scale) == pytest.approx(others, rel=1e-6)
    elif np.nanmax(column) == np.nanmin(column):
        assert (fitted.scale, np.abs(scaled).max()) == (0, 0)
    order = np.argsort(column[:, 0])[: (~np.isnan(column)).sum()]
    assert (np.diff(scaled[order]) >= -1e-5).all()


@settings(deadline=None, max_examples=15)
@given(columns())
def test_quantile_is_that_of_scikit_learn_and_ties_are_their_mean(column):
    plan, fitted = fit("quantile", column)
    quantiles, normal = np.float64(fitted.knots[:, :, 0])
    scaled = scale(plan, fitted, column)
    if np.isnan(column).all():
        assert np.abs(scaled).max() < 1e-6
        return
    known = QuantileTransformer(n_quantiles=KNOTS).fit(column.astype(np.float64))
    spread, gaps = np.ptp(quantiles), np.diff(quantiles)
    assume(not ((gaps > 0) & (gaps < 1e-9 * spread)).any())  # rounding between ties, on either side
    np.testing.assert_allclose(quantiles, known.quantiles_[:, 0], rtol=1e-6, atol=1e-9 * spread)
    # The least and the greatest are half a knot from the ends, where scikit-learn's are clipped.
    shares = ((KNOTS - 1) * known.transform(known.quantiles_)[:, 0] + 0.5) / KNOTS
    alone = np.r_[True, gaps > 0] & np.r_[gaps > 0, True]
    np.testing.assert_allclose(ndtr(normal)[alone], shares[alone], atol=1e-6)
    for tied in np.unique(quantiles[~alone]):
        first_and_last = np.flatnonzero(quantiles == tied)[[0, -1]]
        ends = ndtri((first_and_last + 0.5) / KNOTS)
        np.testing.assert_allclose(normal[first_and_last], ends.mean(), atol=1e-5)
    if quantiles[0] == quantiles[-1]:
        assert np.abs(scaled).max() < 1e-6
    order = np.argsort(column[:, 0])[: (~np.isnan(column)).sum()]
    assert (np.diff(scaled[order]) >= -1e-5).all()


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_a_missing_number_is_the_median_and_rows_beyond_training_stay_finite(scaling):
    """With robust, a fill value of 1e30 was 0, as the median is: its square overflowed."""
    column = np.float32([[1.0], [np.nan], [2.0], [9.0]] * 30)
    plan, fitted = fit(scaling, column)
    rows = np.float32([[np.nan], [2.0], [9.0], [1e30], [-1e30]])
    missing, median, high, *beyond = scale(plan, fitted, rows)
    assert missing == median
    assert np.isfinite(beyond).all()
    if scaling == "quantile":
        assert beyond[0] == high
    if scaling == "robust":
        np.testing.assert_allclose(beyond, [3, -3], rtol=1e-6)
    plan, fitted = fit("none", column)
    np.testing.assert_array_equal(scale(plan, fitted, rows[1:]), rows[1:, 0])


def test_of_many_rows_some_from_all_over_are_sorted():
    column = np.linspace(0, 1, 3 * ROWS_SORTED, dtype=np.float32)[:, None] ** 2
    _, fitted = fit("robust", column)
    known = RobustScaler().fit(column)
    np.testing.assert_allclose(fitted.shift, known.center_, atol=1e-4)
    np.testing.assert_allclose(1 / fitted.scale, known.scale_, atol=1e-4)


def test_quantiles_that_are_one_number_in_float32_have_one_place():
    """A quantile of 1 − 1e-16, stored as 1, gave rows of 1 the place of its own."""
    column = np.repeat(np.float32([0, 1]), [29, 22])[:, None]
    plan, fitted = fit("quantile", column)
    quantiles, normal = fitted.knots[:, :, 0]
    assert len(np.unique(normal[quantiles == 1])) == 1
    share = (quantiles == 1).mean()
    high = scale(plan, fitted, column)[-1]
    np.testing.assert_allclose(high, (ndtri(1 - share + 0.5 / KNOTS) + ndtri(1 - 0.5 / KNOTS)) / 2, rtol=1e-5)


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_a_column_that_alternates_or_is_rarely_other_is_told_apart(scaling):
    """Rows at equal distances are measured: all were 0, and the column was gone at the defaults, without a word."""
    rows = np.zeros((200_000, 3), np.float32)
    rows[::2, 0] = 1
    rows[[70_001, 190_003], 1] = 1
    rows[:, 2] = 5
    plan = Preprocessor(3, scaling=scaling)
    fitted = fit_inputs(plan, rows)
    seen = np.asarray(network_inputs(plan, fitted, rows[[0, 1, 70_001]]))
    assert abs(seen[0, 0] - seen[1, 0]) > 0.5
    assert seen[2, 1] - seen[1, 1] > 0.5
    np.testing.assert_allclose(seen[:, 2], 0, atol=1e-6)
    far = np.arange(200_000) % 2 + 1.7e9
    assert choose_origin(far) in (1.7e9, 1.7e9 + 1)
