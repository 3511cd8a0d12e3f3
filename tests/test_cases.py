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
            "what_is_said_in_the_config_is_not_looked_for",
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
        "data/test_splits.py": ["a_split_is_a_partition_with_a_fifth_of_each_class"],
        "test_selection.py": ["accuracy_selects_where_it_is_monitored"],
        "report/test_quality_page.py": ["each_class_has_its_recall_and_precision_with_their_counts"],
        "job/test_assessment.py": [
            "the_accuracy_stands_beside_the_share_of_the_largest_class",
            "a_majority_class_is_told_before_the_training",
        ],
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
        "training/test_predict.py": [
            "60_numbers_of_rows_are_at_most_8_programs_and_the_outputs_of_each_are_the_same",
            "no_rows_give_no_outputs_and_compile_nothing",
        ],
        "commands/test_predict.py": [
            "a_table_without_rows_gives_a_header",
            "all_missing_columns_are_named",
            "pixels_from_0_to_1_are_taken_for_levels_of_the_training",
        ],
    },
    "several runs started together without --run-dir": {
        "checkpoint/test_run_folder.py": ["commands_that_start_together_each_have_a_folder_of_their_own"],
        "commands/test_train.py": ["a_second_run_takes_a_folder_of_its_own"],
    },
    "values from NumPy, lists, paths in a config": {
        "test_config.py": ["values_of_any_library_are_taken_as_the_plain_values_that_they_are"],
    },
    "the terminal goes away": {
        "callbacks/test_console.py": [
            "a_run_goes_on_in_silence_where_its_console_is_gone",
            "what_a_strict_terminal_cannot_show_is_replaced_and_the_rest_is_shown",
        ],
        "reliability/test_faults.py": [
            "a_reader_that_goes_away_ends_the_run_quietly_and_it_goes_on_by_resume",
        ],
    },
    "SIGHUP": {
        "system/test_signals.py": [
            "a_terminal_that_is_closed_stops_a_run_as_sigterm_does",
            "the_second_word_of_a_closed_terminal_is_no_haste_and_another_signal_is",
            "a_job_that_was_told_to_outlive_its_terminal_does",
        ],
        "reliability/test_signals.py": ["a_signal_ends_the_run_with_its_code_and_nothing_is_lost"],
    },
    "stopped early, then used": {
        "checkpoint/test_resume.py": [
            "a_run_that_was_stopped_is_loaded_with_the_weights_of_its_last_save",
        ],
        "checkpoint/test_resume_refusals.py": [
            "before_the_first_save_there_is_nothing_to_load_and_it_is_said",
        ],
    },
    "resumed from another folder, or without repeating a flag": {
        "checkpoint/test_saved_options.py": [
            "a_resume_without_options_has_those_of_the_first_command",
            "a_resumed_run_is_carried_out_as_the_first_was",
            "a_relative_table_is_found_again_from_another_folder",
            "a_relative_folder_of_data_is_found_again_and_an_absolute_one_is_kept",
            "a_run_whose_folder_was_moved_with_its_data_finds_them",
        ],
    },
    "a flag that has no effect": {
        "config/test_effects.py": [
            "what_is_told_to_have_no_effect_changes_no_bit",
            "what_is_not_told_has_an_effect",
            "a_run_says_it_in_a_note_and_a_regression_has_no_accuracy_to_reach",
            "options_too",
            "fields_of_data_that_cannot_act_are_told_and_change_nothing",
        ],
    },
    "a population given an array of seeds, train_samples, patience": {
        "test_population.py": [
            "seeds_of_any_whole_kind_are_taken",
            "a_seed_that_is_no_whole_number_is_refused_and_not_rounded",
            "a_member_keeps_the_weights_of_its_own_best_epoch",
            "a_member_is_the_run_of_its_seed_wherever_the_population_is_cut",
        ],
    },
    "file systems without locks": {
        "checkpoint/test_run_folder.py": ["a_file_system_without_locks_is_a_warning_and_a_run"],
    },
    "containers with a CPU quota": {
        "system/test_machine.py": [
            "the_strictest_limit_of_the_control_groups_counts",
            "the_cores_of_the_header_are_those_that_the_process_may_use",
        ],
    },
    "JAX_DEBUG_NANS, JAX_ENABLE_X64, other variables of jax": {
        "backends/test_jax_settings.py": [
            "a_setting_of_jax_changes_no_bit_and_is_told",
            "a_run_that_diverges_under_debug_nans_is_told_by_us",
            "the_overflows_that_fp16_wants_are_no_alarm",
        ],
    },
    "a share of peak of more than all of it": {
        "backends/test_peak.py": [
            "a_share_of_a_peak_is_never_more_than_all_of_it",
            "a_training_that_is_faster_than_the_peak_that_was_measured_is_the_peak",
        ],
        "benchmarking/test_peaks.py": ["what_is_measured_is_possible"],
    },
}
"""The 28 kinds, in their order → the tests of each, by file, without their `test_`."""


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
