"""What failed in real hands, kind by kind: where each has its tests, and those that go through a whole run."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import DataError
from neuroforge_jax.job.assessment import assess
from neuroforge_jax.job.quality_rows import describe_majority

TESTS = Path(__file__).parent

KINDS = {
    "other delimiters, decimal commas, quoted headings": {
        "data/readers/test_csv.py": [
            "the_dialect_is_found_and_said",
            "real_tables_are_read_as_they_lie_there",
        ],
    },
    "missing cells": {
        "data/readers/test_csv.py": ["a_missing_cell_is_null_in_numbers_and_texts"],
        "data/test_tables.py": ["missing_cells_become_a_median_an_indicator_and_a_level_of_their_own"],
    },
    "no header": {
        "data/readers/test_csv.py": ["a_header_is_told_from_a_row", "numbers_as_headings_are_said"]
    },
    "a whole-number target that is a quantity": {
        "data/test_tables.py": ["ages_are_a_quantity_and_a_near_guess_is_told"],
        "data/test_types.py": ["whole_numbers_are_a_quantity_where_that_is_said_and_labels_may_be_several"],
    },
    "a regression whose target is not of order 1": {
        "data/test_tables.py": ["a_price_is_scaled_and_comes_back_in_its_units"],
        "data/test_types.py": ["a_target_is_scaled_by_the_training_rows_alone"],
    },
    "times and large numbers with small differences": {
        "data/test_tables.py": [
            "times_keep_their_seconds_and_are_told_as_circles_where_they_repeat",
            "dates_of_eight_digits_are_times_and_new_rows_are_read_alike",
            "numbers_far_from_zero_keep_what_differs",
        ],
        "data/test_types.py": ["large_numbers_keep_what_differs_between_them"],
        "job/test_assessment.py": ["times_in_seconds_are_assessed_as_they_were_trained_on"],
    },
    "numbers with signs and units": {
        "data/test_cells.py": ["numbers_are_read_as_people_write_them"],
        "data/test_tables.py": ["amounts_are_numbers_and_what_is_none_is_told"],
    },
    "class labels of any kind": {
        "data/test_types.py": ["labels_of_any_kind_are_the_classes_that_occur"],
        "data/test_tables.py": ["several_targets_are_quantities_or_labels_and_nothing_else"],
    },
    "labels with gaps": {
        "data/test_types.py": ["labels_of_any_kind_are_the_classes_that_occur"],
        "data/test_tables.py": ["a_target_is_classes_where_few_values_come_again"],
    },
    "frames and object arrays that hold numbers": {
        "data/readers/test_frames.py": [
            "pandas_columns_are_taken_as_they_are",
            "whatever_holds_numbers_is_an_array",
        ],
        "data/test_tables.py": ["a_frame_is_the_same_dataset_as_its_file"],
    },
    "texts with one value a row, keys": {"data/test_tables.py": ["keys_and_texts_are_left_out_and_told"]},
    "fill values, extremes in validation or test rows": {
        "data/test_extremes.py": [
            "an_extreme_outside_of_training_is_told_with_its_row_and_the_run_ends_well",
            "an_extreme_in_training_is_told_with_its_row_in_the_file_and_those_of_arrays_too",
            "only_what_is_out_of_all_proportion_is_an_extreme",
            "nines_that_come_again_are_told",
        ],
    },
    "a rare class": {
        "test_cases.py": ["a_rare_class_is_told_and_is_predicted_where_it_weighs_as_much"],
        "data/test_types.py": [
            "hold_out_takes_of_every_class_its_share",
            "classes_are_weighed_as_asked",
        ],
        "job/test_assessment.py": ["the_accuracy_stands_beside_the_share_of_the_largest_class"],
    },
    "all scores equal": {
        "scoring/test_metrics.py": ["a_network_that_says_nothing_is_right_about_the_first_class_alone"],
        "nn/test_losses.py": ["correct_agrees_with_the_argmax_of_numpy"],
        "test_cases.py": ["scores_that_are_all_equal_are_one_class_everywhere"],
    },
    "data larger than memory with a held-out share": {
        "data/test_mapped.py": [
            "a_mapped_set_is_the_one_in_memory_and_no_row_of_it_is_copied",
            "holding_out_takes_the_memory_of_an_index",
            "a_streamed_training_from_a_file_is_the_one_from_memory",
        ],
    },
    "predicting: other row counts, no rows, other columns": {
        "test_cases.py": ["rows_of_any_number_and_order_of_columns_are_predicted_and_missing_ones_named"],
    },
}
"""The first 16 kinds → the tests of each, by file, without their `test_`."""


@pytest.mark.smoke
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_tests(kind):
    for file, names in KINDS[kind].items():
        source = (TESTS / file).read_text()
        assert [name for name in names if not re.search(rf"^def test_{name}\(", source, re.M)] == []


CONFIG = nf.TrainConfig(hidden=(8,), batch_size=32, epochs=6, learning_rate=0.1, backend="optimized")


def test_a_rare_class_is_told_and_is_predicted_where_it_weighs_as_much():
    """A training on 5 % positives never predicted one, at 95 % accuracy."""
    rng = np.random.default_rng(0)
    ill = rng.random(2000) < 0.05
    frame = pd.DataFrame({"level": rng.normal(1.5 * ill), "ill": np.where(ill, "yes", "no")})
    recalls = {}
    for weight in (None, "balanced"):
        dataset = nf.load_dataset(frame, target="ill", class_weight=weight)
        result = nf.fit(CONFIG, dataset)
        found = assess(result.model, result.params, dataset.test)
        of_class = found.arrays["predicted"][found.arrays["labels"] == 1]
        recalls[weight] = of_class.mean()
        assert found.scores["balanced-accuracy"] < 0.9
        assert found.majority_share == pytest.approx(0.95, abs=0.01)
    assert "94.5% of the training samples are of class no" in describe_majority(dataset)
    assert recalls[None] < 0.2
    assert recalls["balanced"] > 0.5


def test_scores_that_are_all_equal_are_one_class_everywhere():
    """A network that says nothing had 100 % accuracy in training, and 50 % in its predictions."""
    x, y = np.zeros((64, 2)), np.arange(64) % 2
    dataset = nf.Dataset.from_arrays(x, y, x, y)
    result = nf.fit(nf.TrainConfig(hidden=(), learning_rate=1e-6, epochs=1, batch_size=64), dataset)
    assert result.history[-1]["train_accuracy"] == result.test_accuracy == 0.5
    assert assess(result.model, result.params, dataset.test).scores["accuracy"] == 0.5
    assert nf.predict(result.model, result.params, x).argmax(axis=1).mean() in (0, 1)


def test_rows_of_any_number_and_order_of_columns_are_predicted_and_missing_ones_named():
    rows = pd.DataFrame({"a": np.arange(90) ** 2.0, "b": ["x", "y", "z"] * 30, "y": ["p", "q"] * 45})
    model, state = nf.init(CONFIG, nf.load_dataset(rows, target="y"))
    whole = nf.predict_proba(model, state.params, rows)
    for count in (0, 1, 7, 90):
        part = rows[["b", "a"]].iloc[:count].assign(another=1)
        found = nf.predict_proba(model, state.params, part)
        assert found.shape == (count, 2)
        np.testing.assert_allclose(found, whole[:count], atol=1e-6)
    with pytest.raises(DataError, match="has no column 'a'; its columns are 'b'"):
        nf.predict(model, state.params, rows[["b"]])
