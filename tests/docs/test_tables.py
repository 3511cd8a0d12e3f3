"""The documentation's measured tables and figures are what docs/tables.py makes of the records."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = "# Speed\n\n<!-- table: {} -->\n<!-- end of table -->\n\nThe end.\n"


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(ROOT / "docs"))  # as for a script there
    spec = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture
def copy(tmp_path):
    """A project of one page and the records, to be changed."""
    shutil.copytree(
        ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("*.p*", "*.html")
    )
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(PAGE.format("speed"))
    return tmp_path


def test_committed_files_are_what_the_script_makes(tables, capsys):
    assert tables.main(["--check"]) == 0, capsys.readouterr().err


def test_every_table_is_made(tables):
    for make in tables.TABLES.values():
        try:
            made = make(tables.Records(ROOT / "benchmarks"))
        except FileNotFoundError:
            continue
        lines = made.splitlines()
        columns = {line.count("|") for line in lines if line.startswith("|")}
        assert len(columns) == 1, f"rows of different lengths in {make.__name__}"
        assert "benchmarks/" in lines[-1], f"{make.__name__} does not name its record"


def test_what_stands_below_a_table_says_how_a_record_was_made(tables, copy):
    """Local changes were hidden, and a record of several commits was shown as one of its last."""
    path = copy / "benchmarks" / "reliability.json"
    record = json.loads(path.read_text())
    record["environment"] |= {"device": "cpu (AMD EPYC, 2 cores)", "processor_model": "family 26, model 2"}
    commits = {"kills": "aaaaaaaa00", "flips": "bbbbbbbb00+", "fuzz": "aaaaaaaa00"}
    path.write_text(json.dumps(record | {"commits": commits}))
    last = tables.TABLES["reliability"](tables.Records(copy / "benchmarks")).splitlines()[-1]
    assert "AMD EPYC, 2 cores (family 26, model 2)" in last
    assert "commits aaaaaaaa (kills, fuzz); bbbbbbbb with local changes (flips)." in last

    path.write_text(json.dumps(record | {"commits": {"kills": "bbbbbbbb00+", "flips": "bbbbbbbb00+"}}))
    last = tables.TABLES["reliability"](tables.Records(copy / "benchmarks")).splitlines()[-1]
    assert "commit bbbbbbbb with local changes." in last


def test_a_row_that_was_measured_again_is_shown_with_its_commit(tables, copy):
    path = copy / "benchmarks" / "fuzz_readers.json"
    record = json.loads(path.read_text())
    record["fuzz"]["tsv"]["commit"] = "cccccccc00"
    path.write_text(json.dumps(record))
    last = tables.TABLES["reliability"](tables.Records(copy / "benchmarks")).splitlines()[-1]
    assert last.endswith("commit 8f3a78da; tsv again at cccccccc; csv again at fe66a0cf.")


def test_what_is_reached_on_tables_stands_beside_its_goal_and_scikit_learn(tables, copy):
    def case(table, who, metric, mean, seconds):
        return {
            "name": f"tables/{table}/{who}",
            "contender": who,
            "metric": metric,
            metric: {"mean": mean, "deviation": 0.002},
            "goal": {"accuracy": 0.852, "rmse": 0.515}[metric],
            "reached": table == "adult",
            "seconds": {"median": seconds, "repetitions": 5},
            "ratio": {"median": 0.25} if who == "scikit-learn" else None,
        }

    cases = [
        case("adult", "ours", "accuracy", 0.8541, 3.0),
        case("adult", "scikit-learn", "accuracy", 0.85, 12.0),
        case("california", "ours", "rmse", 0.52, 2.0),
        case("california", "scikit-learn", "rmse", 0.53, 8.0),
        {"name": "tables/letter/ours", "skipped": "it is not there"},
    ]
    record = json.loads((copy / "benchmarks" / "bench_quick.json").read_text()) | {"cases": cases}
    (copy / "benchmarks" / "bench_tables.json").write_text(json.dumps(record))
    adult, california = [
        [cell.strip().replace("\u00a0", " ") for cell in line.split("|")[1:-1]]
        for line in tables.TABLES["tables"](tables.Records(copy / "benchmarks")).splitlines()[2:4]
    ]
    assert adult[:5] == ["adult", "accuracy", "85.41 ± 0.20 %", "≥ 85.2 %", "85.00 ± 0.20 %"]
    assert adult[5:] == ["3.00", "12.00", "0.250", "5, 5"]
    assert california[2:5] == ["0.520 ± 0.002", "**missed** ≤ 0.515", "0.530 ± 0.002"]


def test_beside_scikit_learns_networks_a_goal_that_was_missed_is_said(tables, copy):
    def case(name, seconds, *goals, **more):
        values = {"seconds": {"median": seconds, "values": [seconds] * 2}}
        return {
            "name": f"sklearn/{name}",
            "contender": name.partition("/")[2],
            "goals": goals,
            **values,
            **more,
        }

    def goal(what, reached, **more):
        return {"what": what, "reached": reached, "wanted": "≤ 4 s more", "found": "+4.50 s", **more}

    scores = {"metric": "accuracy", "accuracy": {"mean": 0.9, "deviation": 0.001}}
    cases = [
        case(
            *("adult/ours", 1.0, goal("score", True, value=-0.001, limit=0.002), goal("time", False)),
            **scores, training_rows=32_561, inputs=108,
        ),
        case("adult/scikit-learn", 2.5, **scores, version="1.9.1"),
        case("adult/scikit-learn, one thread", 2.0, **scores, version="1.9.1"),
        case("first fit of digits/ours, nothing kept", 5.0, goal("delay", False)),
        case("first fit of digits/scikit-learn", 0.5),
        case("first fit of digits/scikit-learn, one thread", 0.4),
        {"name": "sklearn/mnist/ours", "skipped": "it is not there"},
    ]  # fmt: skip
    record = json.loads((copy / "benchmarks" / "bench_quick.json").read_text()) | {"cases": cases}
    (copy / "benchmarks" / "bench_sklearn.json").write_text(json.dumps(record))
    fits, waits = (
        [
            [cell.strip().replace("\u00a0", " ") for cell in line.split("|")[1:-1]]
            for line in tables.TABLES[name](tables.Records(copy / "benchmarks")).splitlines()[2:]
            if line.startswith("|")
        ]
        for name in ("drop-in", "drop-in-waits")
    )
    (adult,) = fits
    assert adult[:4] == ["adult", "32,561 × 108", "90.00 ± 0.10 %", "90.00 ± 0.10 %"]
    assert adult[4:8] == ["-0.10, ± 0.20", "1.00 s", "2.50 s", "2.00 s"]
    assert adult[8].startswith("**missed** 2.00 (")
    assert waits == [
        [
            *("first fit of digits, nothing kept", "5.00 s", "500 ms", "400 ms"),
            *("≤ 4 s more", "**missed** +4.50 s"),
        ]
    ]


def test_a_claim_about_a_gpu_that_a_cpu_answers_says_so(tables):
    """The times of two CPU cores stood as verdicts beside the command of the GPU run."""
    rows = tables.TABLES["original"](tables.Records(ROOT / "benchmarks")).splitlines()
    on_cpus = [row for row in rows if "`bench_peers.json`" in row and "memory" not in row]
    assert on_cpus
    for row in on_cpus:
        assert "CPU cores" in row
        assert "--suite peers" in row


def test_a_verdict_of_a_gpu_names_it_and_numpy_ran_beside_it(tables):
    rows = tables.TABLES["original"](tables.Records(ROOT / "benchmarks")).splitlines()
    on_gpus = [row for row in rows if row.endswith("| `bench_ladder_gpu_h200.json` |")]
    assert len(on_gpus) == 8
    assert all("NVIDIA H200" in row for row in on_gpus)
    assert all("CPU cores beside" in row for row in on_gpus if "NumPy" in row)


def test_a_claim_that_no_record_measures_is_named(tables, copy):
    path = copy / "benchmarks" / "bench_peers.json"
    record = json.loads(path.read_text())
    for claim in record["claims"]:
        claim["verdict"] = "not measured"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="no record measures 'TensorFlow with XLA takes 3 to 8 s'"):
        tables.TABLES["original"](tables.Records(copy / "benchmarks"))


def test_a_test_that_failed_in_one_of_two_runs_failed(tables, copy):
    first, second = (copy / "benchmarks" / f"gpu_{what}_gpu_h200.json" for what in ("run", "tests"))
    record, again = (json.loads(path.read_text()) for path in (first, second))
    where = "tests/kernels/test_on_gpu.py::test_a_layer"
    record["parts"]["tests"]["said"] = [f"[gw0] [ 1%] FAILED {where}[a b] ", f"{where}[unended] "]
    again["said"] = [f"[gw0] [ 1%] PASSED {where}[a b]", f"[gw1] [ 2%] SKIPPED {where}[c]"]
    first.write_text(json.dumps(record))
    second.write_text(json.dumps(again))
    made = tables.TABLES["gpu-tests"](tables.Records(copy / "benchmarks")).splitlines()
    assert made[2:4] == ["| a layer | 0 | 1 | 1 |", "| in all | 0 | 1 | 1 |"]


def test_a_changed_record_is_reported_with_the_file(tables, copy, capsys):
    assert tables.main([], copy) == 0
    assert tables.main(["--check"], copy) == 0
    path = copy / "benchmarks" / "bench_peers.json"
    record = json.loads(path.read_text())
    for case in record["cases"]:
        case["samples_per_second"] *= 2
    path.write_text(json.dumps(record))
    before = (copy / "README.md").read_text()
    capsys.readouterr()
    assert tables.main(["--check"], copy) == 1
    assert "README.md is not what its records say" in capsys.readouterr().err
    assert (copy / "README.md").read_text() == before, "--check must not write"


def test_text_around_a_table_is_left_alone(tables, copy):
    tables.main([], copy)
    text = (copy / "README.md").read_text()
    assert text.startswith("# Speed\n\n<!-- table: speed -->\n\n| samples a second |")
    assert text.endswith("\n<!-- end of table -->\n\nThe end.\n")
    tables.main([], copy)
    assert (copy / "README.md").read_text() == text, "a second run changes nothing"


def test_a_table_without_its_record_says_so(tables, copy):
    (copy / "benchmarks" / "bench_peers.json").unlink()
    tables.main([], copy)
    assert "No record yet: `benchmarks/bench_peers.json`" in (copy / "README.md").read_text()


@pytest.mark.parametrize(
    ("page", "message"),
    [(PAGE.format("sped"), "no table 'sped'"), ("<!-- table: speed -->\n", "begins and does not end")],
)
def test_a_wrong_marker_is_named(tables, copy, page, message):
    (copy / "README.md").write_text(page)
    with pytest.raises(SystemExit, match=message):
        tables.main([], copy)


def test_the_figure_stands_on_its_own(tables):
    drawing = tables.FIGURES["docs/ladder.svg"](tables.Records(ROOT / "benchmarks"))
    assert 'xmlns="http://www.w3.org/2000/svg"' in drawing
    assert "naive" in drawing
    assert "mixed" in drawing
