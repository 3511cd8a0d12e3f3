"""The verifier: what is right passes, each planted fault is named, and the draws keep away from kinks."""

import math
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from neuroforge_jax.backends import compiler
from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.backends.resolve import Choice
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.job.job import Job
from neuroforge_jax.verification import checks, draws
from neuroforge_jax.verification.bounds import UNIT, Bounds, relative_error
from neuroforge_jax.verification.cases import LARGER, SCALED, Case, standard_cases
from neuroforge_jax.verification.checks import verify_backend
from neuroforge_jax.verification.draws import Problem
from neuroforge_jax.verification.faults import FAULTS
from neuroforge_jax.verification.oracle import nearness_to_kink
from neuroforge_jax.verification.self_check import verify_oracle
from neuroforge_jax.verification.verdict import RIGHT_ANSWERS, Check, Verdict
from tests.tiers import with_further

CASES = {case.name: case for case in standard_cases()}


def verdict_of(backend, *names, fault=None):
    return verify_backend(
        BACKENDS[backend], cases=[CASES[name] for name in names], fault=fault and FAULTS[fault]
    )


@pytest.mark.full_effort
def test_a_float32_backend_is_within_1e_6():
    verdict = verdict_of("optimized", "tanh, binary, smoothed", "sgd")
    assert verdict.passed, verdict.sentence()
    tight = [check for check in verdict.checks if check.group in ("logits", "loss", "gradients", "1 step")]
    assert {check.bound for check in tight} == {1e-6}
    assert {group for group, _, _ in verdict.rows()} == {
        "logits",
        "loss",
        RIGHT_ANSWERS,
        "gradients",
        "1 step",
        "20 steps",
        "losses",
    }


@pytest.mark.full_effort
def test_a_bf16_backend_is_within_its_derived_bounds_where_its_products_are_bf16():
    verdict = verdict_of("mixed", "784-512-256-10 silu", "sums of 8,192")
    assert verdict.passed, verdict.sentence()
    assert max(check.error for check in verdict.checks) > 1e-4


def test_the_tolerance_replaces_the_float32_bound_and_no_other():
    for backend, replaced in (("stepped", True), ("mixed", False)):
        verdict = verify_backend(BACKENDS[backend], 1e-12, cases=[CASES["sgd"]])
        bounds = {check.group: check.bound for check in verdict.checks}
        assert (bounds["1 step"] == 1e-12) == replaced
        assert bounds["20 steps"] > 1e-7


PLANTED = [
    ("missing-mean", "tanh, binary, smoothed", "gradients"),
    ("transposed-gradient", "tanh, binary, smoothed", "gradients"),
    ("stale-bias", "sgd", "1 step"),
    ("dropped-batch", "sgd", "20 steps"),
    ("unweighted-batch", "sgd", "20 steps"),
    ("bf16-accumulation", "tanh, binary, smoothed", "logits"),
    ("scaled-gradient", "scaled", SCALED),
    ("unskipped-update", "overflowing", SCALED),
    ("ties-are-right", "tanh, binary, smoothed", RIGHT_ANSWERS),
]
"""A fault, a case in which it must show, and in which row of the table."""


def assert_found(backend, fault, case, group):
    verdict = verdict_of(backend, case, fault=fault)
    assert not verdict.passed
    assert verdict.fault == fault
    assert group in {check.group for check in verdict.failed}


@pytest.mark.parametrize(("fault", "case", "group"), with_further(PLANTED[::2], PLANTED[1::2]))
def test_a_planted_fault_is_found_where_it_must_show(fault, case, group):
    assert_found("optimized", fault, case, group)


@pytest.mark.parametrize("case", ["scaled", "overflowing"])
def test_without_a_fault_the_same_case_passes(case):
    assert verdict_of("optimized", case).passed


def test_bf16_sums_are_told_from_bf16_products():
    """Products rounded to bfloat16 are what the backend promises; sums in it are not."""
    verdict = verdict_of("mixed", "sums of 8,192", fault="bf16-accumulation")
    assert {check.what for check in verdict.failed} >= {"logits"}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_short_dtype_skips_and_scales_as_the_oracle_expects(precision):
    """float16 overflows twice where float32 and bfloat16 do once; a missed skip shows in all."""
    backend, cases = replace(BACKENDS["optimized"], precision=precision), [CASES["overflowing"]]
    verdict = verify_backend(backend, cases=cases)
    assert verdict.passed, verdict.sentence()
    wrong = verify_backend(backend, cases=cases, fault=FAULTS["unskipped-update"])
    assert "optimizer's state after a skipped step" in {check.what for check in wrong.failed}


def test_every_fault_has_a_test():
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(source.count(f'"{name}"') for name in FAULTS)


def test_backends_that_are_carried_out_differently_share_the_program_of_a_batch(compilations):
    assert verdict_of("optimized", "sigmoid, mse of numbers").passed
    compilations.clear()
    assert verdict_of("stepped", "sigmoid, mse of numbers").passed
    assert compilations == []
    assert verdict_of("mixed", "sigmoid, mse of numbers").passed
    assert "program" in compilations[-1]


@pytest.mark.slow
@pytest.mark.full_effort
@pytest.mark.parametrize("names", [("stepped", "optimized", "async"), ("mixed",)], ids=["f32", "bf16"])
def test_every_backend_passes_every_case(names):
    """Those of one precision in one process, where they share the programs of a batch."""
    verdicts = [verify_backend(BACKENDS[name]) for name in names]
    assert [verdict.sentence() for verdict in verdicts if not verdict.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "cases", with_further([[*CASES.values()][::4]], [[*CASES.values()]]), ids=["some", "all"]
)
def test_operation_by_operation_every_case_passes(cases):
    """Each of the operations is a program, a thousand of them."""
    verdict = verify_backend(BACKENDS["naive"], cases=cases)
    assert verdict.passed, verdict.sentence()


@pytest.mark.slow
@pytest.mark.kernels
@pytest.mark.parametrize(
    ("precision", "cases"),
    with_further(
        [("f32", CASES.values())],
        [
            ("bf16", [case for case in CASES.values() if case.parts]),
            ("fp16", [case for case in CASES.values() if case.steps]),
        ],
    ),
    ids=["f32", "bf16", "fp16"],
)
def test_interpreted_kernels_pass_every_case(precision, cases):
    """All in float32, whose gelu has the bounds of its form with tanh; gradients in bf16, scaled steps in fp16."""
    backend = replace(BACKENDS["pallas"], kernels="interpret", precision=precision)
    verdict = verify_backend(backend, cases=list(cases))
    assert verdict.passed, verdict.sentence()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "case", "group"),
    [row for row in PLANTED if row[0] not in ("bf16-accumulation", "unskipped-update")],
)
def test_every_fault_is_found_in_bf16_too(fault, case, group):
    """The two that are left out have tests of their own above."""
    assert_found("mixed", fault, case, group)


@pytest.mark.parametrize("name", ["optimized", "mixed"])
@pytest.mark.parametrize("epochs", [1, 2000])
def test_what_is_verified_is_compiled_as_what_trains(name, epochs, blobs, small_config, monkeypatch):
    """A verification of a backend alone stands for long trainings."""
    backend, compiled = BACKENDS[name], []
    config = replace(small_config, hidden=(4096, 4096), batch_size=128, epochs=epochs)
    monkeypatch.setattr(
        checks, "check_problem", lambda job, *rest: compiled.append(job.compile_options) or iter(())
    )
    monkeypatch.setattr(
        checks,
        "problem_of",
        lambda config, dataset, *rest: Problem(Case("own", config), dataset, {}, None, True),
    )
    monkeypatch.setattr(compiler, "REPAYS_FROM_FLOPS", {False: 1e13, True: 1e13})
    checks.verify_training(backend, config, blobs)
    verify_backend(backend, cases=[CASES["sgd"]])
    assert compiled[0] == Job.build(config, blobs, Choice(backend, "")).compile_options
    assert compiled[1] == backend.options(CASES["sgd"].config.batch_size)
    short, long = (compile_options("cpu", backend.policy, 128, flops) for flops in (0.0, math.inf))
    assert compiled[0] == (short if epochs == 1 else long)


def test_central_differences_agree_with_the_oracle():
    verdict = verify_oracle()
    assert verdict.passed, verdict.sentence()
    assert {check.case for check in verdict.checks} == {
        case.name for case in standard_cases() if case.parts and case.standard
    }


def test_the_cases_use_every_choice_there_is():
    from neuroforge_jax.nn.activations import ACTIVATIONS
    from neuroforge_jax.nn.losses import LOSSES
    from neuroforge_jax.nn.mlp import NORMALIZATIONS
    from neuroforge_jax.verification.descent import KNOWN

    configs = [case.config for case in standard_cases() if case.standard]
    assert {config.activation for config in configs} == set(ACTIVATIONS)
    assert {config.loss for config in configs} - {"auto"} == set(LOSSES) - {"cross-entropy"}
    assert {config.normalization for config in configs} == set(NORMALIZATIONS)
    assert {case.config.optimizer for case in standard_cases() if case.steps} == set(KNOWN)
    assert all(max(case.widths) <= 128 for case in standard_cases() if case.standard)
    bf16_sized = [case.config.activation for case in standard_cases() if case.row == LARGER and case.parts]
    assert set(bf16_sized) == set(ACTIVATIONS)


def drawn(case, unit):
    return draws.draw(case, unit, checks.order_of, checks.rates_of)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_sum_of_a_batch_lies_within_rounding_of_a_kink(dtype):
    case = CASES["relu"]
    problem = drawn(case, UNIT[dtype])
    assert problem.avoided
    nearness = nearness_to_kink(problem.network, problem.params, problem.batch.inputs, problem.batch.targets)
    # A little less than the margin: the rms is now that of the chosen samples.
    assert nearness.min() > 0.9 * case.bounds(UNIT[dtype]).margin
    blind = drawn(replace(case, config=replace(case.config, activation="tanh")), UNIT[dtype])
    drawn_blindly = blind.dataset.train
    kinked = nearness_to_kink(
        replace(blind.network, activation="relu"), blind.params, drawn_blindly.inputs, drawn_blindly.targets
    )
    assert dtype == "float32" or kinked.min() < case.bounds(UNIT[dtype]).margin


def test_a_path_that_meets_a_kink_is_drawn_again(monkeypatch):
    walked = []
    walk = draws.walk

    def meets_a_kink_at_first(problem, *rest):
        walked.append(problem)
        return replace(walk(problem, *rest), path_avoided=len(walked) > 2)

    monkeypatch.setattr(draws, "walk", meets_a_kink_at_first)
    problem = drawn(CASES["sgd"], UNIT["float32"])
    assert len(walked) == 3
    assert problem.path_avoided
    first, last = walked[0].params["output"]["bias"], walked[-1].params["output"]["bias"]
    assert not np.array_equal(first, last)
    walked.clear()
    assert not drawn(CASES["sgd"], UNIT["bfloat16"]).path_avoided
    assert len(walked) == 1


def test_a_wide_net_in_a_short_dtype_has_kinks_and_a_bound_that_knows():
    case = CASES["784-512-256-10 relu"]
    problem = drawn(case, UNIT["bfloat16"])
    assert not problem.avoided
    assert case.bounds(2**-8, kinks=True).gradient > 3 * case.bounds(2**-8).gradient


def test_no_output_lies_within_rounding_of_the_kink_of_its_loss_or_the_bound_knows():
    case = CASES["tanh, mae"]
    problem = drawn(case, UNIT["bfloat16"])
    assert problem.avoided
    batch, margin = problem.batch, case.bounds(UNIT["bfloat16"]).margin
    nearness = nearness_to_kink(problem.network, problem.params, batch.inputs, batch.targets)
    assert 0.9 * margin < nearness.min() < 3 * margin
    assert case.bounds(2**-8, kinks=True).gradient > 1.5 * case.bounds(2**-8).gradient
    smooth = replace(case, config=replace(case.config, loss="huber"))
    assert smooth.bounds(2**-8, kinks=True) == smooth.bounds(2**-8)


def test_bounds_grow_with_roundoff_depth_and_length():
    base = Bounds(2**-24, 3, 128)
    for larger in (Bounds(2**-8, 3, 128), Bounds(2**-24, 6, 128), Bounds(2**-24, 3, 1024)):
        assert larger.logits > base.logits
        assert larger.gradient > base.gradient


def test_relative_errors_of_odd_things():
    one = np.ones(2)
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
    assert relative_error(one, np.zeros(2)) == math.inf
    assert math.isnan(relative_error(np.array([np.nan, 1]), one))
    assert not Check("loss", "a", "loss", math.nan, 1.0).passed
    assert not Verdict("b", "", (), 0.0).passed
    with pytest.raises(ValueError, match="cannot be compared"):
        relative_error(np.ones(3), one)


def test_the_oracles_weights_take_part_and_padding_does_not():
    problem = drawn(CASES["tanh, binary, smoothed"], UNIT["float32"])
    mask, weights = problem.batch.mask, problem.batch.weights
    assert set(np.unique(mask)) == {0, 1}
    assert (mask == 0).sum() == len(mask) // 9
    assert weights.all()
    assert len(np.unique(weights)) > 50


def test_the_order_is_the_executions_own():
    order = checks.order_of(0, 3, 181)
    assert sorted(order) == list(range(181))
    assert not np.array_equal(order, checks.order_of(0, 4, 181))
    assert isinstance(order, np.ndarray)
    assert not isinstance(order, jax.Array)


def test_the_oracle_trains_on_a_configs_own_rows_by_their_weights(blobs, small_config):
    """It counted every row alike, and said of each backend that it is wrong."""
    config = replace(small_config, hidden=())

    def first_loss(dataset):
        return (
            draws.problem_of(config, dataset, UNIT["float32"], checks.order_of, checks.rates_of).path[0].loss
        )

    plain = first_loss(blobs)
    weights = np.full(len(blobs.train), 3, np.float32)
    assert first_loss(replace(blobs, train=replace(blobs.train, weights=weights))) == pytest.approx(3 * plain)
    assert first_loss(blobs.with_weights_of("class 1=5")) != pytest.approx(plain, rel=0.01)
