"""Datasets from arrays: what is accepted, what is refused, and how a part of one is taken."""

import numpy as np
import pytest

from neuroforge_jax.data.preprocess import fit_inputs
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError, DataError

pytestmark = pytest.mark.smoke

X, Y = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 4


def dataset(x=X, y=Y, **options) -> Dataset:
    return Dataset.from_arrays(x, y, x[:4], y[:4], name="some", **options)


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


def test_pictures_stay_uint8_and_are_not_copied():
    pixels = np.zeros((20, 4, 5), np.uint8)
    data = dataset(pixels)
    assert np.shares_memory(data.train.inputs, pixels)
    assert (data.shape, data.inputs, data.outputs) == ((4, 5), 20, 4)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, np.int8, bool])
def test_every_other_number_becomes_float32(dtype):
    assert dataset(X.astype(dtype)).train.inputs.dtype == np.float32


def test_floats_are_numbers_to_predict():
    data = dataset(y=Y / 2)
    assert (data.classes, data.outputs, data.train.targets.shape) == ((), 1, (20, 1))
    assert dataset(y=np.ones((20, 2))).outputs == 2


@pytest.mark.parametrize(
    ("x", "y", "fact"),
    [
        (changed(X, (7, 2), np.nan), Y, "training sample 7, input 2 is nan"),
        (changed(X, (7, 2), np.inf), Y, "training sample 7, input 2 is inf"),
        (np.full((20, 3), 1e300), Y, "input 0 is inf"),
        (X.astype(object), Y, "of type object"),
        (X.astype(str), Y, "must be numbers"),
        (X.astype(complex), Y, "must be numbers"),
        (X[:0], Y[:0], "the training set is empty"),
        (X[:19], Y, "19 training samples and 20 labels"),
        (X, changed(Y, 3, -1), "training label 3 is -1; labels are from 0 to 3"),
        (X, changed(Y, 3, 200_000), "label 200000 is too large"),
        (X, Y.reshape(20, 1), "must be whole numbers"),
        (X, Y.astype(object), "must be floats"),
        (X, changed(Y / 2, 5, np.nan), "target of training sample 5"),
    ],
)
def test_what_is_wrong_with_arrays_is_named(x, y, fact):
    with pytest.raises(DataError) as caught:
        dataset(x, y)
    assert fact in str(caught.value)
    assert str(caught.value).startswith("some: ")


def test_labels_outside_the_classes_are_named():
    with pytest.raises(DataError, match="training label 3 is 3; labels are from 0 to 2"):
        dataset(classes=["a", "b", "c"])


@pytest.mark.parametrize("x", [np.ones((), np.float32), np.zeros((20, 0), np.float32)])
def test_arrays_without_samples_or_inputs_are_refused(x):
    """They used to end in a TypeError of len() and a ValueError of reshape()."""
    with pytest.raises(DataError, match="first axis must be the samples"):
        Dataset.from_arrays(x, Y, x, Y)


def test_test_samples_must_have_the_shape_of_training_samples():
    with pytest.raises(DataError, match="must agree"):
        Dataset.from_arrays(X, Y, X[:, :2], Y)


def test_inputs_of_a_table_are_fitted_by_column_and_a_constant_one_is_silenced():
    x = np.stack([np.arange(20.0), np.full(20, 0.1)], axis=1).astype(np.float32)
    fitted = fit_inputs(x)
    scaled = (x - fitted.shift) * fitted.scale
    np.testing.assert_allclose(scaled[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, 0].std(), 1, atol=1e-6)
    assert (scaled[:, 1] == 0).all()


def test_pictures_are_fitted_by_one_mean_for_all_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 9)).astype(np.uint8)
    fitted = fit_inputs(pixels)
    assert fitted.shift.shape == fitted.scale.shape == ()
    np.testing.assert_allclose([fitted.shift, 1 / fitted.scale], [pixels.mean(), pixels.std()], rtol=1e-6)


def test_first_takes_the_first_and_scales_by_those_alone():
    part = dataset().first(5)
    np.testing.assert_array_equal(part.train.inputs, X[:5])
    np.testing.assert_array_equal(part.fitted.shift, X[:5].mean(0))
    assert len(part.test) == 4
    whole = dataset()
    assert whole.first(None) is whole
    with pytest.raises(ConfigError, match="--train-samples 21: some has 20"):
        whole.first(21)


def test_hold_out_parts_the_training_data_by_the_seed():
    part = dataset().hold_out(0.25, seed=3)
    held = part.validation
    assert held is not None
    assert (len(part.train), len(held)) == (15, 5)
    both = np.concatenate([part.train.inputs, held.inputs])
    np.testing.assert_array_equal(both[both[:, 0].argsort()], X)
    np.testing.assert_allclose(part.fitted.shift, part.train.inputs.mean(0))
    again, other = (dataset().hold_out(0.25, seed).validation for seed in (3, 4))
    np.testing.assert_array_equal(again.inputs, held.inputs)
    assert (other.inputs != held.inputs).any()


def test_hold_out_of_nothing_is_the_same():
    data = dataset()
    assert data.hold_out(0, seed=0) is data
    assert data.validation is None


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_hold_out_that_empties_a_side_is_refused(fraction):
    with pytest.raises(ConfigError, match="leaves one side empty"):
        dataset().hold_out(fraction, seed=0)


def test_validation_data_may_be_given_and_test_data_left_out():
    data = Dataset.from_arrays(X, Y, validation=(X[:6], Y[:6]), name="some")
    assert data.test is None
    np.testing.assert_array_equal(data.validation.inputs, X[:6])
    np.testing.assert_array_equal(data.fitted.shift, X.mean(0))
    with pytest.raises(DataError, match=r"validation samples .* must agree"):
        Dataset.from_arrays(X, Y, validation=(X[:, :2], Y), name="some")
    with pytest.raises(DataError, match="some: x_test and y_test come together"):
        Dataset.from_arrays(X, Y, X, name="some")


def test_sample_weights_are_divided_by_their_mean():
    weights = np.arange(20)
    np.testing.assert_allclose(dataset(sample_weight=weights).train.weights, weights / 9.5, rtol=1e-6)
    assert dataset().train.weights is None


@pytest.mark.parametrize(
    ("weights", "fact"),
    [
        (np.ones(19), r"20 training samples and weights \(19,\); give one a sample"),
        (-np.ones(20), "finite numbers from 0 upwards"),
        (np.full(20, np.nan), "finite numbers from 0 upwards"),
        (np.zeros(20), "not all of them 0"),
    ],
)
def test_what_is_wrong_with_sample_weights_is_named(weights, fact):
    with pytest.raises(DataError, match=fact):
        dataset(sample_weight=weights)


def test_the_weights_of_a_part_have_a_mean_of_1_again():
    weights = np.r_[np.ones(10), np.full(len(X) - 10, 3.0)]
    data = Dataset.from_arrays(X, Y, sample_weight=weights)
    for part in (data.first(12), data.hold_out(0.25, seed=0)):
        assert part.train.weights.mean() == pytest.approx(1, rel=1e-6)
    nothing = Dataset.from_arrays(X, Y, sample_weight=np.r_[np.zeros(10), np.ones(len(X) - 10)])
    with pytest.raises(DataError, match="not all of them 0"):
        nothing.first(5)


def test_the_targets_of_all_parts_have_one_width():
    """[N, 2] and [N, 1] would broadcast in the loss, and the test loss would be a wrong number."""
    two = np.zeros((len(X), 2))
    with pytest.raises(DataError, match=r"training targets are \(20, 2\) and test targets \(20, 1\)"):
        Dataset.from_arrays(X, two, X, two[:, 0])
