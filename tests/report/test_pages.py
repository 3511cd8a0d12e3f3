"""Pages from folders and records: what they show, what they escape, what they never hold."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.report.__main__ import main
from neuroforge_jax.report.axes import choose_ticks
from neuroforge_jax.report.bench_page import render_bench_page
from neuroforge_jax.report.run_files import read_run
from neuroforge_jax.report.run_page import render_run_page, strip_paths
from tests.conftest import make_blobs

VOID = {"meta", "img"}

EVIL = "$e$\n\N{RIGHT-TO-LEFT OVERRIDE}f"


class Outline(HTMLParser):
    """Tags in balance, headings, pictures, text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.headings, self.seen, self.words = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.seen)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two seeds of one config and a run of another, on pictures of 4 × 4, with a class of an evil name."""
    parent = tmp_path_factory.mktemp("runs")
    blobs = make_blobs(samples=120, inputs=16)
    data = nf.Dataset.from_arrays(
        blobs.train.inputs.reshape(-1, 4, 4),
        blobs.train.targets,
        blobs.test.inputs.reshape(-1, 4, 4),
        np.roll(blobs.test.targets, 3),  # so that there are mistakes to be shown
        name="/home/somebody/secret/blobs.npz",
        classes=["<script>alert(1)</script>", "b & c", 'say "d"', EVIL],
    )
    base = {"hidden": (8,), "batch_size": 32, "epochs": 3, "backend": "optimized", "learning_rate": 0.1}
    for name, more in {"one": {"seed": 1}, "two": {"seed": 2}, "other": {"hidden": (5,), "seed": 1}}.items():
        nf.fit(nf.TrainConfig(**{**base, **more}), data, nf.RunOptions(run_dir=parent / name))
    return parent


def test_a_page_of_one_run_shows_all_of_it(folders):
    page = render_run_page([read_run(folders / "one")])
    outline = Outline(page)
    assert outline.headings[:2] == ["one", "Learning curves"]
    assert outline.headings[-2:] == ["Training", "Environment"]
    assert any("mistakes in" in heading for heading in outline.headings)
    result = json.loads((folders / "one" / "result.json").read_text())
    assert f"{result['test_accuracy']:.2%}" in outline.words
    assert outline.count("svg") == 6
    with np.load(folders / "one" / "predictions.npz") as saved:
        assert outline.count("img") == len(saved["worst"]) > 0


def test_every_string_is_escaped_and_nothing_is_fetched(folders):
    page = render_run_page([read_run(folders / name) for name in ("one", "other")])
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; read as" in page
    assert "say &quot;d&quot;" in page
    assert "$e$\n\\u202ef" in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    outline = Outline(page)
    assert all(not {"href", "onclick", "onload"} & attributes.keys() for _, attributes in outline.seen)
    assert all(source.startswith("data:") for _, a in outline.seen if (source := a.get("src")))
    assert "url(" not in page
    policy = next(a for tag, a in outline.seen if a.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")


def test_no_page_names_a_folder_a_user_or_a_host(folders):
    page = render_run_page([read_run(folders / "one")])
    for private in ("/home", "somebody", str(folders), os.uname().nodename):
        assert private not in page
    assert "blobs.npz" in page
    assert strip_paths({"dataset": "C:\\data\\x.csv", "seed": 1}) == {"dataset": "x.csv", "seed": 1}


def test_seeds_of_one_config_are_a_band_and_other_runs_lines_of_their_own(folders):
    page = render_run_page([read_run(folders / name) for name in ("one", "two", "other")])
    assert page.count("<polygon") == 4  # loss and accuracy, train and test
    assert "one, 2 seeds: train" in page
    assert "other: test" in page
    outline = Outline(page)
    assert "Side by side" in outline.headings
    rows = re.findall(r"<tr><td>(.*?)</td>", page)
    assert {"hidden", "seed", "test accuracy"} <= set(rows)
    assert "batch size" not in rows[: rows.index("seed")], "only what differs"


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(folders, tmp_path):
    for name in ("config.json", "environment.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((folders / "one" / name).read_bytes())
    page = render_run_page([read_run(tmp_path)])
    assert "This run has not ended" in page
    Outline(page)


def test_the_command_writes_where_it_is_told(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([str(folders / "one")]) == 0
    assert (folders / "one" / "report.html").is_file()
    assert main([str(folders / "one"), str(folders / "two")]) == 0
    assert (tmp_path / "report.html").is_file()
    assert main([str(folders / "one"), "--output", "p.html"]) == 0
    assert "written to p.html" in capsys.readouterr().out


def damaged(folders, folder, content):
    for name in ("config.json", "environment.json"):
        (folder / name).write_bytes((folders / "one" / name).read_bytes())
    if content is not None:
        (folder / "metrics.jsonl").write_text(content)
    return folder


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(None, "missing or damaged"), ("{]", "missing or damaged"), ("", "no epoch of this run has ended")],
)
def test_a_run_without_metrics_is_one_line(content, sentence, folders, tmp_path, capsys):
    folder = damaged(folders, tmp_path, content)
    with pytest.raises(CheckpointError, match=sentence):
        read_run(folder)
    assert main([str(folder)]) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_cannot_be_read_or_written_is_one_line(folders, tmp_path, capsys):
    assert main([str(tmp_path)]) == 4
    assert "there is no run in this folder" in capsys.readouterr().err
    assert main([str(folders / "one"), "--output", str(tmp_path / "no" / "p.html")]) == 2
    assert "this file cannot be written" in capsys.readouterr().err


def spread(median):
    return {
        "median": median,
        "interval": [0.9 * median, 1.2 * median],
        "repetitions": 9,
        "outliers": 1,
    }


def training(name, seconds, batch_size=64, axis=None, ratio=None, **more):
    return {
        "name": name,
        "group": name.partition("/")[0],
        "contender": name.rpartition("/")[2],
        "axis": axis or {},
        "widths": [784, 1024, 10],
        "batch_size": batch_size,
        "dtype": "f32",
        "seconds_per_step": spread(seconds),
        "samples_per_second": batch_size / seconds,
        "compile_seconds": 1.0,
        "first_step_seconds": 0.01,
        "flops_per_step": 1e8,
        "bytes_per_step": 1e7,
        "flops_per_second": 1e8 / seconds,
        "share_of_peak": 0.5,
        "share_of_roofline": 0.6,
        "peak_resident_bytes": 4e8,
        "ratio": ratio and {"to": "backends/b64/naive", "median": ratio, "interval": [ratio - 1, ratio + 1]},
        **more,
    }


def started(name):
    contender = name.rpartition("/")[2]
    return {"name": name, "group": "startup", "contender": contender, "axis": {}, "seconds": spread(0.7)}


def bench_record(*cases):
    return {
        "suite": "quick",
        "command": "python -m neuroforge_jax.bench --suite quick",
        "date": "2026-11-25",
        "environment": {
            "device": "cpu (<P>)",
            "python": "3.13",
            "versions": {"jax": "0.12"},
            "threads": {"cores": 2, "variables": {}},
        },
        "ceiling": {
            "matmul_flops_per_second": {"f32": 2e11, "bf16": 4e11},
            "copy_bytes_per_second": 1e10,
            "bytes_per_second": [[262144, 2e11], [268435456, 1e10]],
            "dispatch_seconds": 5e-6,
        },
        "notes": ["2.0 cores were busy"],
        "cases": list(cases),
    }


def test_the_page_shows_where_the_time_goes_and_how_memory_grows():
    operations = [{"name": "dot<1>", "source": "jvp()/dot", "seconds_per_step": 2e-4, "share": 0.625}]
    curve = [
        training(
            f"scaling batch/b{batch}/mixed", 1e-4, batch, {"batch_size": batch}, program_bytes=batch * 1e6
        )
        for batch in (1, 16, 256)
    ]
    page = render_bench_page(
        bench_record({**started("speedrun/98 %/ours"), "operations": operations}, *curve)
    )
    assert "Where the time of speedrun/98 %/ours goes" in Outline(page).headings
    assert "dot&lt;1&gt;" in page
    assert "62.5%" in page
    assert "memory of the program by batch size" in page


def test_the_page_of_a_benchmark_shows_every_case_and_what_was_left_out():
    curve = [
        training(f"scaling batch/b{batch}/{name}", batch * 1e-4, batch, {"batch_size": batch})
        for batch in (1, 16, 256)
        for name in ("optimized", "mixed")
    ]
    page = render_bench_page(
        bench_record(
            training("backends/b64/naive", 0.05),
            training("backends/b64/mixed", 0.005, ratio=10.0),
            {"name": "peers/b64/torch", "group": "peers", "contender": "torch", "skipped": "not <installed>"},
            {
                "name": "startup/process/import",
                "group": "startup",
                "contender": "import",
                "axis": {},
                "seconds": spread(0.7),
            },
            *curve,
        )
    )
    outline = Outline(page)
    assert "Goals" not in outline.headings
    assert {"Backends", "Scaling batch", "Startup", "Roofline", "Trainings", "Not measured"} <= set(
        outline.headings
    )
    assert outline.count("svg") == 1 + 2 + 1 + 1
    assert "10 × faster" in outline.words
    assert "not &lt;installed&gt;" in page
    assert "cpu (&lt;P&gt;)" in page
    assert "Note: 2.0 cores were busy." in page


def test_the_page_of_a_benchmark_has_a_verdict_on_each_goal():
    goal = {"what": "time", "wanted": "≥ 3 ×", "found": "3.10 ×", "reached": True}
    case = started("sklearn/adult/ours") | {"r2": {"mean": 0.8}, "goals": [goal]}
    outline = Outline(render_bench_page(bench_record(case)))
    assert "Goals" in outline.headings
    assert "reached" in outline.words
    assert "R² 0.8000" in outline.words


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [
        (0, 1, False),
        (0.3, 0.31, False),
        (-5, 3e6, False),
        (7, 7, False),
        (1e-6, 3e4, True),
        (3, 4, True),
        (5, 5, True),
    ],
)
def test_ticks_are_few_and_lie_within(low, high, log):
    found = choose_ticks(low, high, log=log)
    slack = 1e-9 * max(abs(low), abs(high), 1)
    assert 1 <= len(found) <= 12
    assert all(low * 0.99 - slack <= tick <= high * 1.01 + slack for tick in found)
    assert found == sorted(set(found))


@pytest.mark.parametrize(("low", "high"), [(55e6, 1.2e9), (55e6, 108e6), (1, 65536), (2, 3)])
def test_a_logarithmic_axis_has_three_ticks_at_least(low, high):
    """The memory of a program over its depth was drawn over a single tick."""
    assert 3 <= len(choose_ticks(low, high, log=True)) <= 9


def test_epochs_have_ticks_at_whole_numbers_only():
    assert choose_ticks(1, 3, whole=True) == [1, 2, 3]
    assert choose_ticks(1, 100, whole=True) == [20, 40, 60, 80, 100]


def test_the_memory_is_shown_by_epoch_and_where_it_was_profiled_by_program_and_array(folders, tmp_path):
    folder = shutil.copytree(folders / "one", tmp_path / "one")
    assert "memory by epoch" in render_run_page([read_run(folder)])
    sizes = {"argument": 5e6, "output": 1e6, "temporary": 7e6, "aliased": 1e6, "code": 0, "peak": 12e6}
    arrays = [{"dtype": "float32", "shape": [16, 8], "count": 3, "bytes": 1536}]
    (folder / "memory.json").write_text(json.dumps({"programs": {"stretch": sizes}, "arrays": arrays}))
    page = Outline(render_run_page([read_run(folder)]))
    assert "Memory" in page.headings
    assert {"stretch", "7 MB", "float32[16, 8]", "1.54 kB"} <= set(page.words)
