"""The benchmark command: short measurements of real trainings, records, comparisons, and what it refuses."""

import json

import pytest

from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.bench import main
from neuroforge_jax.benchmarking import running, startup, suites
from neuroforge_jax.benchmarking.extras import select_extras
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.peaks import Peaks
from neuroforge_jax.benchmarking.records import read_record
from neuroforge_jax.benchmarking.sides import Outcome
from neuroforge_jax.benchmarking.suites import SUITES
from neuroforge_jax.commands.bench_lines import describe_case
from neuroforge_jax.system import files
from tests.benchmarking.test_records import case, record

SHORT = ["--only", "precision/b8/*", "--repetitions", "3", "--turn-seconds", "0.01"]


@pytest.fixture(autouse=True)
def known_peaks(monkeypatch):
    """Measuring it takes seconds, and is under test in tests/benchmarking/test_peaks.py."""
    peaks = Peaks({"f32": 1e11, "bf16": 2e11}, {1 << 20: 1e11, 1 << 28: 1e10}, 1e-5)
    monkeypatch.setattr(running, "measure_peaks", lambda backends: peaks)


def run(args, capsys):
    code = main(args)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_suite_is_measured_printed_and_recorded(tmp_path, capsys):
    path = tmp_path / "r.json"
    code, out, err = run([*SHORT, "--output", str(path)], capsys)
    assert (code, err) == (0, "")
    assert "a step" in out
    assert "of peak" in out
    assert all(len(line) <= 80 for line in out.splitlines() if str(tmp_path) not in line)
    whole = read_record(path)
    assert [item["name"] for item in whole["cases"]] == ["precision/b8/optimized", "precision/b8/mixed"]
    first, second = whole["cases"]
    assert first["widths"] == [784, 1024, 512, 10]
    assert first["flops_per_step"] == 8 * (6 * (784 * 1024 + 1024 * 512 + 5120) - 2 * 784 * 1024)
    assert first["samples_per_second"] == pytest.approx(8 / first["seconds_per_step"]["median"])
    assert first["share_of_peak"] == pytest.approx(first["flops_per_second"] / 1e11)
    assert first["compile_seconds"] > 0 < first["first_step_seconds"]
    assert len(first["seconds_per_step"]["values"]) == 3 == len(first["reference_seconds"])
    assert first["ratio"] is None
    pairs = zip(first["seconds_per_step"]["values"], second["seconds_per_step"]["values"], strict=True)
    assert second["ratio"]["to"] == first["name"]
    assert second["ratio"]["median"] == pytest.approx(sorted(a / b for a, b in pairs)[1])
    assert {"versions", "compile_options", "commit", "threads", "processor"} <= whole["environment"].keys()
    assert str(tmp_path) not in path.read_text()
    assert whole["command"] == (
        "python -m neuroforge_jax.bench --suite quick --only 'precision/b8/*' --repetitions 3 --turn-seconds 0.01"
    )


@pytest.mark.slow
@pytest.mark.slow
def test_a_peer_and_a_row_of_a_part_can_be_asked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suites, "FLAGSHIP", (16, 8))
    monkeypatch.setattr(startup, "_run", lambda code, variables: Outcome(1.0))
    monkeypatch.setattr(running, "reference_of", lambda device, small: lambda: 0.001)
    monkeypatch.setattr(running, "our_peak_resident_bytes", lambda config, dataset: 1)
    path = tmp_path / "r.json"
    short = ["--repetitions", "1", "--turn-seconds", "0.001", "--output", str(path)]
    names = {
        "peers/b64/numpy": ["peers/b64/optimized", "peers/b64/numpy"],
        "startup/*/import fit": ["startup/process/import fit"],
    }
    for only, expected in names.items():
        assert run(["--only", only, *short], capsys)[0] == 0
        assert [item["name"] for item in read_record(path)["cases"]] == expected


def test_a_part_is_selected_by_its_own_name_alone():
    for only, chosen in {
        "speedrun": {"speedrun": "*"},
        "speedrun-command": {"speedrun-command": "*"},
        "speedrun/98 %/torch*": {"speedrun": "speedrun/98 %/torch*"},
        "*": {"speedrun": "*", "speedrun-command": "*"},
        "startup": {},
    }.items():
        selected = select_extras(SUITES["speedrun"].extras, BenchOptions(only))
        assert {name: options.only for name, options in selected.items()} == chosen


def test_a_record_that_cannot_be_written_leaves_the_old_one_whole(tmp_path, capsys, monkeypatch):
    """A process that was killed, or a full disk, once left half a record in its place."""
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record(case("old", 1.0), **environment_here())))

    def fill_the_disk(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fill_the_disk)
    code, _, err = run(["--suite", "ladder", "--only", "published", "--output", str(path)], capsys)
    assert code == 2
    assert (
        err == f"error: {path} could not be written (No space left on device); make room, and start again\n"
    )
    assert read_record(path)["cases"][0]["name"] == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["r.json"]


def environment_here():
    return BACKENDS["optimized"].environment(batch_size=512)


def test_a_baseline_is_measured_with_who_needs_it(tmp_path, capsys):
    path = tmp_path / "r.json"
    args = ["--only", "precision/b8/mixed", "--repetitions", "1", "--turn-seconds", "0.01"]
    assert run([*args, "--output", str(path)], capsys)[0] == 0
    assert len(read_record(path)["cases"]) == 2


@pytest.mark.slow
def test_the_ladder_is_measured_and_explained(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(suites, "FLAGSHIP", (16, 8))
    page = tmp_path / "ladder.html"
    code, out, err = run(["--explain", str(page), "--repetitions", "1", "--turn-seconds", "0.01"], capsys)
    assert (code, err) == (0, "")
    assert f"written to {page}" in out
    text = page.read_text()
    assert [
        heading
        for heading in ("Naive", "Stepped", "Async", "Optimized", "Mixed")
        if f"<h2>{heading}<" not in text
    ] == []
    assert "lax.fori_loop" in text
    assert str(tmp_path) not in text


def test_the_suites_are_listed(capsys):
    code, out, _ = run(["--list"], capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(SUITES)


def test_a_line_says_what_a_table_reached_and_whether_that_was_the_goal():
    spread = {"median": 2.0, "interval": [1.9, 2.1]}
    row = {"name": "tables/adult/ours", "group": "tables", "contender": "ours", "seconds": spread}
    ours = row | {"accuracy": {"mean": 0.8541}, "goal": 0.852, "reached": True}
    assert " ".join(describe_case(ours).split()) == "adult, ours 2 s ± 5.0% 85.41% on average, reached 85.20%"
    ours = row | {"rmse": {"mean": 0.52}, "goal": 0.515, "reached": False}
    assert describe_case(ours).endswith("RMSE 0.52, missed 0.515")
    theirs = row | {"accuracy": {"mean": 0.85}, "ratio": {"median": 0.25}}
    assert describe_case(theirs).endswith("85.00% on average 4 × slower")


def test_beside_scikit_learns_networks_the_goals_stand_below_a_row():
    spread = {"median": 2.0, "interval": [1.9, 2.1]}
    row = {"name": "sklearn/adult/ours", "group": "sklearn", "contender": "ours", "seconds": spread}
    goal = {"what": "time", "wanted": "≥ 3 × as fast", "found": "2.90 ×", "reached": False}
    lines = describe_case(row | {"r2": {"mean": 0.8}, "goals": [goal]}).splitlines()
    assert [line.strip() for line in lines] == [
        "adult, ours",
        "2 s ± 5.0%    R² 0.8000",
        "time: ≥ 3 × as fast: 2.90 ×, missed",
    ]
    skipped = {"name": "sklearn/adult/ours", "group": "sklearn", "skipped": "it is not there"}
    assert " ".join(describe_case(skipped).split()) == "adult, ours skipped: it is not there"


REFUSED = {
    "--suite quik": "unknown suite 'quik': known are quick",
    "--only nothing/*": "no case of suite quick has such a name: backends/b64/naive",
    "--only peers/b64/cobol": "peers/b64/numpy, peers/b64/scikit-learn, startup, startup/process/python, ",
    "--suite startup --only nothing/*": "no case of suite startup has such a name: startup, startup/process/",
    "--suite speedrun --only nothing/*": "speedrun/98 %/torch eager f32",
    "--output nowhere/r.json": "--output nowhere/r.json: this file cannot be written",
    "--explain .": "--explain .: this file cannot be written (it is a folder)",
    "--explain l.html --only peers/*": "--explain measures the ladder of this machine",
    "--explain l.html --suite scaling": "--explain measures the ladder of this machine",
    "--report .": "--report .: this file cannot be written (it is a folder)",
    "--repetitions 0": "--repetitions 0: it takes a whole number from 1 to 1000",
    "--turn-seconds nan": "--turn-seconds nan: it takes a number",
    "--against HEAD --report r.html": "--report has no part in --against; leave one of them out",
    "--against HEAD --compare a.json b.json": "--compare has no part in --against",
    "--against HEAD --tables folder": "--tables has no part in --against; leave one of them out",
    "--suite sklearn --only cobol": "no case of suite sklearn has such a name: sklearn-fits, digits, sklearn/",
    "--suite tables --only cobol": "no case of suite tables has such a name: tables, titanic, tables/titanic/ours",
    "--against HEAD --fail-margin 0.01": "--fail-margin 0.01: it takes a number from --margin (0.05) to 100",
    "--fail-margin 0.5": "--fail-margin has an effect with --against alone; leave it out",
    "--compare a.json b.json --fail-margin 0.5": "--fail-margin has an effect with --against alone",
    "--margin 0.5": "--margin has an effect with --against and --compare alone; leave it out",
    "--compare a.json b.json --margin 1": "--margin 1.0: it takes a number from 0 to below 1",
    "--against HEAD --suite quik": "unknown suite 'quik': known are quick",
    "--against HEAD --output nowhere/r.json": "--output nowhere/r.json: this file cannot be written",
    "--compare a.json b.json": "a.json: this record cannot be read (No such file or directory)",
}


@pytest.mark.parametrize(("words", "sentence"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is_measured(
    words, sentence, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "measure_peaks", None)
    try:
        code, out, err = run(words.split(), capsys)
    except SystemExit as stop:  # tyro's own box for the value of a flag
        code, err = stop.code, capsys.readouterr().err
        assert sentence in " ".join(err.replace("│", " ").split())
    else:
        assert out == ""
        assert err.startswith("error: ")
        assert sentence in err
        assert len(err.splitlines()) == 1
    assert code == 2


def test_where_there_is_no_gpu_its_suite_says_so(capsys):
    code, _, err = run(["--suite", "gpu"], capsys)
    assert code == 5
    assert "needs cuda" in err


def test_a_slow_down_is_exit_code_7_and_names_the_case(tmp_path, capsys):
    (tmp_path / "old.json").write_text(json.dumps(record(case("fast", 0.001), case("same", 0.001))))
    slow = record(case("fast", 0.0013, seed=1), case("same", 0.001, seed=2), python="3.14.0")
    (tmp_path / "new.json").write_text(json.dumps(slow))
    old, new = str(tmp_path / "old.json"), str(tmp_path / "new.json")
    code, out, err = run(["--compare", old, new], capsys)
    assert code == 7
    assert err.startswith("error: slower by more than 5%: fast (1.")
    assert "same" in out
    assert "python 3.13.0 → 3.14.0" in out
    code, out, err = run(["--compare", new, old], capsys)
    assert (code, err) == (0, "")
    assert "faster" in out
    assert run(["--compare", old, new, "--margin", "0.5"], capsys)[0] == 0
