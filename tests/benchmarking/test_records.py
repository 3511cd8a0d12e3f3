"""Records read back, refused where they are not whole, and compared: a slow-down told from noise."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.benchmarking.records import FORMAT, KIND, compare, place_record, read_record
from neuroforge_jax.errors import ConfigError

MACHINE = {
    "system": "Linux x86_64",
    "processor": "P",
    "processors": 2,
    "device": "cpu (P, 2 cores)",
    "devices": 1,
}


def case(name, seconds, *, seed=0, mood=1.0, noise=0.03, count=15):
    """A case on a machine that is `mood` times slower than usual, and noisy."""
    rng = np.random.default_rng(seed)
    moods = mood * rng.lognormal(0, 0.1, count)
    values = seconds * moods * rng.lognormal(0, noise, count)
    beside = 0.01 * moods * rng.lognormal(0, noise, count)
    return {
        "name": name,
        "seconds_per_step": {"values": values.tolist()},
        "reference_seconds": beside.tolist(),
    }


def record(*cases, **changes):
    environment = {**MACHINE, "versions": {"jax": "0.12"}, "python": "3.13.0", "threads": {"cores": 2}}
    return {"format": FORMAT, "kind": KIND, "environment": {**environment, **changes}, "cases": list(cases)}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mood", [1.0, 1.6])
def test_a_slow_down_of_a_fifth_is_told_from_a_slow_machine(seed, mood):
    old = record(case("a", 0.001, seed=seed), case("b", 0.02, seed=seed + 100))
    new = record(case("a", 0.0012, seed=seed + 200, mood=mood), case("b", 0.02, seed=seed + 300, mood=mood))
    assert [verdict.kind for verdict in compare(old, new).verdicts] == ["slower", "same"]
    assert [verdict.name for verdict in compare(old, new).slower] == ["a"]
    assert compare(new, old).verdicts[0].kind == "faster"


def test_the_ratio_is_that_of_new_to_old_and_lies_in_its_interval():
    verdict = compare(record(case("a", 0.001)), record(case("a", 0.002, seed=1))).verdicts[0]
    assert verdict.ratio.median == pytest.approx(2, rel=0.1)
    assert verdict.ratio.interval[0] < verdict.ratio.median < verdict.ratio.interval[1]


def test_what_only_one_has_and_what_differs_beside_the_code_is_told():
    skipped = {"name": "torch", "skipped": "not installed"}
    old = record(case("a", 1), case("b", 1), skipped)
    new = record(case("a", 1), case("c", 1), versions={"jax": "0.13"})
    comparison = compare(old, new)
    assert (comparison.missing, comparison.added) == (("b",), ("c",))
    assert comparison.notes == ("jax 0.12 → 0.13",)


def test_records_of_two_machines_are_refused():
    with pytest.raises(ConfigError, match=r"two machines \(device cpu .* and gpu"):
        compare(record(case("a", 1)), record(case("a", 1), device="gpu (H100)"))


def test_cpus_of_one_name_and_two_generations_are_two_machines():
    """A Zen 4 and a Zen 5 were both an "AMD EPYC, 2 cores", and were compared with each other."""
    old, new = (record(case("a", 1), processor_model=f"family {family}, model 2") for family in (25, 26))
    with pytest.raises(ConfigError, match=r"two machines \(processor_model family 25, model 2 and family 26"):
        compare(old, new)
    assert compare(record(case("a", 1)), new).verdicts  # of before models were recorded


def environment(**changes):
    return record(**changes)["environment"]


def test_a_folder_keeps_records_by_machine(tmp_path):
    here = environment(device="cpu (AMD EPYC, 2 cores)", processor_model="family 26, model 2")
    place = place_record(tmp_path, "bench_quick", here)
    assert place == tmp_path / "cpu-amd-epyc-2-cores-family-26-model-2" / "bench_quick.json"
    gpu = environment(device="gpu (NVIDIA H200)")
    assert place_record(tmp_path, "bench_gpu", gpu) == tmp_path / "gpu-nvidia-h200" / "bench_gpu.json"


def test_a_record_of_another_machine_is_not_written_over(tmp_path):
    path = tmp_path / "r.json"
    assert place_record(path, "bench_quick", environment()) == path
    for content in (json.dumps(record(case("a", 1))), "no record", "[1]", '{"environment": 3}'):
        path.write_text(content)
        assert place_record(path, "bench_quick", environment()) == path
    path.write_text(json.dumps(record(case("a", 1), processor="Q")))
    with pytest.raises(ConfigError, match=r"holds a record of another machine \(processor Q and P\); give"):
        place_record(path, "bench_quick", environment())


def test_records_with_nothing_in_common_are_refused():
    with pytest.raises(ConfigError, match="no case in common"):
        compare(record(case("a", 1)), record(case("b", 1)))


def without(name):
    whole = record(case("a", 1))
    whole["cases"][0].pop(name)
    return json.dumps(whole)


BAD = {
    "cut off": (json.dumps(record(case("a", 1)))[:-40], "no JSON, or cut off"),
    "a list": ("[1, 2]", "not a record of"),
    "another kind": (json.dumps({"figures": 1}), "not a record of"),
    "a later format": (
        json.dumps({**record(case("a", 1)), "format": 9}),
        "format 9, and this version reads 1",
    ),
    "no cases": (json.dumps({"format": FORMAT, "kind": KIND, "environment": {}}), "parts of this record"),
    "a case without times": (without("seconds_per_step"), "parts of this record"),
    "a case without a reference": (without("reference_seconds"), "parts of this record"),
    "a time of 0": (json.dumps(record(case("a", 0))), "parts of this record"),
    "no time at all": (json.dumps(record(case("a", 1, count=0), case("b", 1))), "parts of this record"),
}


@pytest.mark.parametrize(("content", "sentence"), BAD.values(), ids=BAD)
def test_a_file_that_is_no_whole_record_is_one_line(content, sentence, tmp_path):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ConfigError, match=sentence) as caught:
        read_record(tmp_path / "r.json")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_record(tmp_path / "r.json")


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_damaged_record_is_read_or_refused_and_nothing_else(tmp_path_factory, data):
    """As damaged as a text can be: characters changed, cut, doubled."""
    text = json.dumps(record(case("a", 1, count=2)))
    at = data.draw(st.integers(0, len(text)))
    damaged = text[:at] + data.draw(st.text(max_size=5)) + text[at + data.draw(st.integers(0, 9)) :]
    path = tmp_path_factory.mktemp("fuzz") / "r.json"
    path.write_text(damaged, encoding="utf-8", errors="replace")
    try:
        read_record(path)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_every_extra_of_a_suite_is_there():
    from neuroforge_jax.benchmarking.extras import EXTRAS
    from neuroforge_jax.benchmarking.suites import SUITES

    assert {extra for suite in SUITES.values() for extra in suite.extras} <= EXTRAS.keys()


def test_claims_are_set_beside_what_was_measured_and_nothing_else():
    from neuroforge_jax.benchmarking.claims import claims_of, published_cases
    from neuroforge_jax.benchmarking.options import BenchOptions

    def flagship(candidate, seconds, **more):
        widths = [784, 1024, 512, 10]
        base = {"contender": candidate, "widths": widths, "batch_size": 64, "backend": candidate}
        return {**base, "seconds_per_step": {"median": seconds}, **more}

    published = list(published_cases(BenchOptions(), lambda: 1.0))
    cases = [
        flagship("mixed", 1e-4),
        flagship("optimized", 2e-4),
        flagship("numpy", 0.01, backend=None),
        flagship("naive", 1e-9, batch_size=8),
        {"contender": "keras xla", "skipped": "not installed"},
        *published,
    ]
    rows = {row["claim"]: (row["measured"], row["verdict"]) for row in claims_of(cases)}
    assert rows["training in 0.5 to 2 s"] == ("0.938 s (mixed)", "as claimed")
    assert rows["NumPy takes 60 to 120 s"] == ("93.8 s (numpy)", "as claimed")
    assert rows["TensorFlow with XLA takes 3 to 8 s"] == ("–", "not measured")
    assert rows["mixed precision on CUDA, 200 to 500 ×"] == ("–", "not measured")
    assert all(case["published"] for case in published)


def test_published_figures_are_compared_with_nothing():
    old = record(
        case("a", 1), {"name": "ladder/b32/cuBLAS", "published": "by somebody", "seconds_per_step": {}}
    )
    assert [verdict.name for verdict in compare(old, old).verdicts] == ["a"]


RECORDS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["bench_quick.json", "bench_peers.json", "bench_speedrun.json"])
def test_what_a_suite_wrote_can_be_compared_with_processes_and_skipped_peers_in_it(name):
    """Once a record of the suite quick was refused as damaged, for its times of processes."""
    record = read_record(RECORDS / name)
    comparison = compare(record, record)
    assert {verdict.kind for verdict in comparison.verdicts} == {"same"}
    timed = [case["name"] for case in record["cases"] if "reference_seconds" in case]
    assert [verdict.name for verdict in comparison.verdicts] == timed


def process_case(name, seconds, reference=None):
    values = [seconds * (1 + 0.001 * turn) for turn in range(9)]
    found = {"name": name, "seconds": {"values": values}}
    return found if reference is None else {**found, "reference_seconds": [reference] * 9}


def test_a_process_is_compared_in_units_of_what_was_measured_beside_it():
    old = {**record(), "cases": [process_case("startup/a", 1.0, 0.01), process_case("startup/b", 1.0)]}
    new = {**record(), "cases": [process_case("startup/a", 2.6, 0.02), process_case("startup/b", 1.0)]}
    comparison = compare(old, new)
    assert [(verdict.name, verdict.kind) for verdict in comparison.verdicts] == [("startup/a", "slower")]
    assert comparison.verdicts[0].ratio.median == pytest.approx(1.3, rel=1e-2)
    assert comparison.notes == ("not compared, for no reference was measured beside them: startup/b",)


def test_times_of_processes_that_are_none_are_a_damaged_record(tmp_path):
    whole = record(case("a", 0.001))
    for values in ([], [0.0], ["1"]):
        process = {"name": "startup/process/import", "seconds": {"values": values}}
        (tmp_path / "r.json").write_text(json.dumps({**whole, "cases": [*whole["cases"], process]}))
        with pytest.raises(ConfigError, match="parts of this record are missing"):
            read_record(tmp_path / "r.json")
