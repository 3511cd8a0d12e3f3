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
        return {"exit_code": 5, "seconds": 1.0, "said": ["error: out of memory"]}

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
