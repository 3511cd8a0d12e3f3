"""The doctor as a person and a program meet it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuroforge_jax import __main__ as cli
from neuroforge_jax.doctor.__main__ import main
from tests.tiers import with_further

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the doctor sets it where it is not set
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("columns", [80, 120])
def test_all_is_shown_within_the_width_of_the_screen(columns, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([]) == 0
    out = capsys.readouterr().out
    for expected in (
        "versions ", "devices ", "cores ", "memory ", "precision ", "kernels ", "options ", "settings ", "cache ",
        "data        ~/data: mnist absent", "auto        takes optimized", "faster ",
    ):  # fmt: skip
        assert f"\n{expected}" in f"\n{out}"
    assert "cuda-naive, cuda-optimized, cuda-async, cuda-mixed-precision: needs" in out
    assert str(tmp_path) not in out
    assert max(map(len, out.splitlines())) <= columns
    assert "…" not in out


def test_a_program_gets_json_alone(capsys):
    assert main(["--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    record = json.loads(out)
    assert record["devices"][0]["platform"] == "cpu"
    assert {row["name"]: row["status"] for row in record["backends"]}["optimized"] == "ready"


def test_json_goes_to_a_file_too(capsys, tmp_path):
    assert cli.main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    assert capsys.readouterr().out.endswith("written to ~/doctor.json\n")
    assert json.loads((tmp_path / "doctor.json").read_text())["auto"] == "optimized"


def test_a_file_that_cannot_be_written_is_one_line(capsys, tmp_path):
    assert main(["--json", str(tmp_path / "none" / "doctor.json")]) == 2
    assert "none/doctor.json: cannot be written (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platforms", "command"),
    with_further([("cuda", ["train", "--dataset", "digits"])], [("moon", ["doctor"])]),
)
def test_where_jax_cannot_start_one_line_says_so(platforms, command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"neuroforge_jax.{command[0]}", *command[1:]],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": platforms},
    )
    assert (done.returncode, done.stdout) == (5, "")
    ours = done.stderr.splitlines()[-1]
    assert ours.startswith(f"error: jax cannot start with JAX_PLATFORMS={platforms} (")
    assert ours.endswith("; unset it, or set it to cpu")
    assert "Traceback" not in done.stderr, "jax logs one where a plugin of its own cannot be loaded"


def test_portability_has_a_row_for_each_target_or_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr("neuroforge_jax.portability.targets.installed_version", lambda name: None)
    assert main(["--portability"]) == 0
    out = capsys.readouterr().out
    for expected in ("v5e-4", "h200", "needs the package libtpu", "needs the package"):
        assert expected in out
    assert "Nothing has run on them." in " ".join(out.split())


def test_a_config_without_portability_is_one_line(capsys, tmp_path):
    assert main(["--config", "none.py"]) == 2
    assert "--config is for --portability alone" in capsys.readouterr().err
    assert main(["--portability", "--config", "none.py"]) == 2
    assert "none.py: no such config file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--mesh", "data=8"], 2, "--mesh is for --portability alone"),
        (["--target", "h200-8"], 2, "--target is for --portability alone"),
        (["--portability", "--target", "h100"], 2, "unknown target 'h100': known are v5e"),
        (["--portability", "--mesh", "rows=8"], 2, "unknown axis 'rows'"),
        (["--portability", "--target", "v5e", "--mesh", "data=8"], 5, "takes 8 chips, and v5e has 1"),
        (["--portability", "--target", "v5e-4", "--mesh", "data=4"], 5, "needs the package libtpu"),
    ],
)
def test_a_target_or_a_mesh_that_cannot_be_had_is_one_line(capsys, monkeypatch, flags, code, sentence):
    monkeypatch.setattr("neuroforge_jax.portability.targets.installed_version", lambda name: None)
    assert main(flags) == code
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_a_typo_is_told_without_importing_jax():
    script = (
        "import sys\n"
        "from neuroforge_jax.doctor.__main__ import main\n"
        "try: main(['--jsn', 'x'])\n"
        "finally: print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert "--json" in done.stderr
