"""Datasets from arrays: what is accepted, what is refused, and how a part of one is taken."""

import numpy as np
import pytest

from neuroforge_jax.data.preprocess import Preprocessor, fit_inputs
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
        (changed(X, (7, 2), np.inf), Y, "training sample 7, input 2 is inf"),
        (np.full((20, 3), 1e300), Y, "input 0 is inf"),
        (X.astype(str), Y, "holds texts, such as '0.0'"),
        (X.astype(complex), Y, "holds complex128; it must hold real numbers"),
        (X[:0], Y[:0], "the training set is empty"),
        (X[:19], Y, "19 training samples and 20 labels"),
        (X, np.zeros(20, int), "target 'label' has 1 different value; there can be 2 to 1000 classes"),
        (X, Y.reshape(20, 1, 1), "must be [N] or [N, O]"),
        (X, Y.astype(complex), "they must be numbers, texts or booleans"),
        (X, changed(Y / 2, 5, np.nan), "target of training sample 5"),
        (X, np.ma.masked_equal(Y, 3), "target of training sample 3"),
        (X, changed(Y.astype(object), 4, None), "target of training sample 4"),
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
    fitted = fit_inputs(Preprocessor(2), x)
    scaled = (x - fitted.shift) * fitted.scale
    np.testing.assert_allclose(scaled[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, 0].std(), 1, atol=1e-6)
    assert (scaled[:, 1] == 0).all()


def test_pictures_are_fitted_by_one_mean_for_all_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 9)).astype(np.uint8)
    fitted = fit_inputs(Preprocessor(9, pixels=True), pixels)
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
        dataset(y=Y / 2).hold_out(fraction, seed=0)


def test_hold_out_takes_of_every_class_its_share():
    """A rare class of 5 % was missing from one side of a split."""
    y = np.repeat(["often", "rarely"], [380, 20])
    held = Dataset.from_arrays(np.zeros((400, 2)), y).hold_out(0.25, seed=1).validation
    np.testing.assert_array_equal(np.bincount(held.targets), [95, 5])
    few = Dataset.from_arrays(np.zeros((6, 2)), [0, 0, 0, 0, 0, 1]).hold_out(0.5, seed=0)
    assert 1 in few.train.targets  # a class keeps a training sample


@pytest.mark.parametrize(
    ("y", "classes", "stored"),
    [
        ([0.0, 1.0, 1.0, 0.0], ("0", "1"), [0, 1, 1, 0]),
        (["no", "yes", "no", "no"], ("no", "yes"), [0, 1, 0, 0]),
        ([True, False, True, False], ("false", "true"), [1, 0, 1, 0]),
        ([[0, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 0]], ("0", "2"), [1, 0, 1, 0]),
        ([2019, 2021, 2019, 2021], ("2019", "2021"), [0, 1, 0, 1]),
        ([[1], [2], [3], [1]], ("1", "2", "3"), [0, 1, 2, 0]),
        (np.array(["a", 3, "a", 3], object), ("3", "a"), [1, 0, 1, 0]),
        (np.array([10, 2, 10, 2], object), ("2", "10"), [1, 0, 1, 0]),
    ],
)
def test_labels_of_any_kind_are_the_classes_that_occur(y, classes, stored):
    """0.0 and 1.0 were a regression, texts an error, and years thousands of classes."""
    data = Dataset.from_arrays(np.zeros((4, 2)), np.asarray(y))
    assert data.classes == classes
    np.testing.assert_array_equal(data.train.targets, stored)


def test_whole_numbers_are_a_quantity_where_that_is_said_and_labels_may_be_several():
    ages = np.arange(60) % 61
    assert Dataset.from_arrays(np.zeros((60, 1)), ages, task="regression").outputs == 1
    many = Dataset.from_arrays(np.zeros((60, 1)), ages)
    assert "--task regression" in " ".join(many.notes)
    truths = np.random.default_rng(0).integers(0, 2, (60, 3))
    labels = Dataset.from_arrays(np.zeros((60, 1)), truths)
    assert (labels.target.task, labels.classes, labels.outputs) == ("multilabel", (), 3)


def test_one_hot_rows_are_classes_in_all_parts_or_in_none():
    hot = np.eye(25)[np.arange(50) % 25]
    classes = Dataset.from_arrays(np.zeros((50, 1)), hot)
    assert len(classes.classes) == 25
    assert "exactly one of the targets is 1 in every row" in " ".join(classes.notes)
    assert Dataset.from_arrays(np.zeros((50, 1)), hot, task="multilabel").target.task == "multilabel"
    labels = np.vstack([hot, np.ones((1, 25))])
    several = Dataset.from_arrays(np.zeros((51, 1)), labels, np.zeros((50, 1)), hot)
    assert (several.target.task, several.outputs) == ("multilabel", 25)


def test_missing_numbers_are_filled_with_the_median_and_say_nothing_of_the_scale():
    x = np.array([[1.0], [2.0], [np.nan], [9.0]])
    data = Dataset.from_arrays(x, np.array([0, 1, 0, 1]))
    assert data.fitted.fill == [2.0]
    np.testing.assert_allclose(data.fitted.shift, [4.0])


@pytest.mark.parametrize(("start", "step"), [(1_700_000_000, 1), (1e12, 0.5), (-3e9, 2)])
def test_large_numbers_keep_what_differs_between_them(start, step):
    """100 times in seconds became one value in float32."""
    x = start + step * np.arange(100.0).reshape(100, 1)
    data = Dataset.from_arrays(x, np.arange(100) % 2)
    stored = data.train.inputs.astype(np.float64) + data.origins
    np.testing.assert_allclose(stored, x, rtol=0, atol=1e-6 * step * 100)
    assert Dataset.from_arrays(np.arange(200.0).reshape(100, 2), np.arange(100) % 2).origins is None


def test_a_target_is_scaled_by_the_training_rows_alone():
    y = np.array([100_000.0, 300_000.0, 1e9, -1e9])
    data = Dataset.from_arrays(np.zeros((2, 1)), y[:2], np.zeros((2, 1)), y[2:])
    np.testing.assert_allclose(data.fitted.target_shift, [200_000])
    np.testing.assert_allclose(data.fitted.target_scale, [1e-5])


@pytest.mark.parametrize(
    ("asked", "factors"), [("balanced", [2 / 3, 2]), ("1=5", [2 / 4, 10 / 4]), ("0=0.5,1=1", [0.8, 1.6])]
)
def test_classes_are_weighed_as_asked(asked, factors):
    data = dataset(y=np.repeat([0, 1], [15, 5])).with_weights_of(asked)
    np.testing.assert_allclose(data.weighted_train.weights, np.repeat(factors, [15, 5]), rtol=1e-6)


@pytest.mark.parametrize("asked", ["2=1", "0", "1=-1", "heavy"])
def test_weights_of_no_class_are_refused(asked):
    with pytest.raises(ConfigError, match=r"is not a class with = and a weight .* or give balanced"):
        dataset(y=Y % 2).with_weights_of(asked)
    with pytest.raises(ConfigError, match="the target is no class"):
        dataset(y=Y / 2).with_weights_of("balanced")


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
    two = np.zeros((len(X), 2)) + 0.5
    with pytest.raises(DataError, match=r"training targets are \(20, 2\) and test targets \(20,\)"):
        Dataset.from_arrays(X, two, X, two[:, 0])


def test_rows_that_are_held_out_count_by_their_own_weights_and_not_by_those_of_their_class():
    """A class of weight 0 had vanished from the validation loss, and a rare one counted many times in it."""
    y, weights = np.arange(len(X)) % 2, 1.0 + np.arange(len(X)) % 3
    plain = dataset(y=y).with_weights_of("1=0").hold_out(0.25, seed=0)
    assert plain.validation.weights is None
    assert ((plain.weighted_train.weights > 0) == (plain.train.targets == 0)).all()
    data = Dataset.from_arrays(X, y, sample_weight=weights).with_weights_of("1=5").hold_out(0.25, seed=0)
    for split, counts in ((data.validation, 1), (data.weighted_train, 1 + 4 * data.train.targets)):
        own = np.array([weights[(row == X).all(axis=1)][0] for row in split.inputs]) * counts
        np.testing.assert_allclose(split.weights, own / own.mean(), rtol=1e-6)
