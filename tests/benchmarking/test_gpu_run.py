"""The run on a GPU, as a script: a part says what it has measured itself, and no more."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
RECORD = {
    "claims": [{"claim": "NumPy takes 60 to 120 s", "verdict": "as claimed", "measured": "72 s"}],
    "cases": [],
}


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("gpu_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_run", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "environment", lambda folder, rehearse: {"device": "gpu (NVIDIA H200)"})
    return module


def run_ladder(gpu, monkeypatch, folder, *, writes):
    """A run of one part, which fails, and may have written its record before."""

    def run_part(command, folder, seconds, *, rehearse):
        if writes:
            Path(command[command.index("--output") + 1]).write_text(json.dumps(RECORD))
        return {"exit_code": 5, "seconds": 1.0, "said": ["error: out of memory"], "passed": []}

    monkeypatch.setattr(gpu, "run_part", run_part)
    return gpu.run_parts(gpu.Options(folder, parts=("ladder",)), folder)


def test_a_part_that_fails_before_it_measures_does_not_show_the_record_of_a_run_before(
    gpu, monkeypatch, tmp_path, capsys
):
    old = tmp_path / "bench_ladder_gpu_h200.json"
    old.write_text('{"claims": [')  # cut off: it was once read all the same, and ended the run
    os.utime(old, (1e9, 1e9))
    assert run_ladder(gpu, monkeypatch, tmp_path, writes=False) == ["ladder"]
    assert "as claimed" not in capsys.readouterr().out
    assert run_ladder(gpu, monkeypatch, tmp_path, writes=True) == ["ladder"]
    assert "NumPy takes 60 to 120 s: as claimed (72 s)" in capsys.readouterr().out
    parts = json.loads((tmp_path / "gpu_run_gpu_h200.json").read_text())["parts"]
    assert parts["ladder"]["exit_code"] == 5


ID = "tests/kernels/test_on_gpu.py::test_a_backend_computes_what_the_oracle_does[pallas-784-512-256-10 silu]"
SAID = [
    f"{ID} ",
    f"[gw0] [  1%] PASSED {ID} ",
    f"[gw1] [  2%] FAILED {ID.replace('silu', 'momentum')} ",
]


@pytest.mark.parametrize("parts", [("tests",), ("ladder", "tests")])
@pytest.mark.parametrize(("commit", "left_out"), [("c1d7073", [ID]), ("08b6e04", []), ("c1d7073+", [])])
def test_tests_that_passed_are_left_out_when_a_run_that_was_cut_off_goes_on(
    gpu, monkeypatch, tmp_path, commit, left_out, parts
):
    """At another commit none is, whichever parts have run there before the tests."""
    commands, about = [], {"device": "gpu (NVIDIA H200)", "commit": "c1d7073"}

    def run_part(command, folder, seconds, *, rehearse):
        is_first = len(commands) < len(parts)
        commands.append(command)
        said = SAID if is_first and "pytest" in command else []
        return {"exit_code": None, "seconds": seconds, "said": said, "passed": gpu.passed_of(said)}

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(gpu, "environment", lambda folder, rehearse: about)
    options = gpu.Options(tmp_path, parts=parts)
    gpu.run_parts(options, tmp_path)
    about["commit"] = commit
    for _ in range(2):
        gpu.run_parts(options, tmp_path)
    for command in (each for each in commands[len(parts) :] if "pytest" in each):
        assert [command[at + 1] for at, word in enumerate(command) if word == "--deselect"] == left_out


def test_parts_have_the_time_that_is_left_in_the_order_of_what_is_most_wanted(
    gpu, monkeypatch, tmp_path, capsys
):
    limits, clock = [], [0.0]

    def run_part(command, folder, seconds, *, rehearse):
        limits.append(seconds)
        clock[0] += 200
        return {"exit_code": 0, "seconds": 200.0, "said": [], "passed": []}

    monkeypatch.setattr(gpu, "run_part", run_part)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    options = gpu.Options(tmp_path, minutes=7, parts=("ladder", "tests", "speedrun", "further"))
    assert gpu.run_parts(options, tmp_path) == ["further"]
    assert limits == [1.5 * gpu.PARTS["ladder"].seconds, 1.5 * gpu.PARTS["tests"].seconds, 20.0]
    assert "further: no time is left" in capsys.readouterr().out
