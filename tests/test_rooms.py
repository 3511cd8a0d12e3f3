"""Each tool can be deleted, and what is below it still works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_layers import LAYER_OF, LAYERS

ROOT = Path(__file__).parents[1]
TOOLS = ("benchmarking", "doctor", "portability", "profiling", "report", "verification")
CORE = (
    "system", "data", "nn", "precision", "model", "training", "backends", "checkpoint", "job", "callbacks"
)  # fmt: skip


def test_the_tools_are_all_rooms_that_only_commands_need():
    above = {folder for layer in LAYERS[LAYER_OF["callbacks"] + 1 :] for folder in layer}
    assert set(TOOLS) == {name for name in above if (ROOT / "neuroforge_jax" / name).is_dir()} - {"commands"}


@pytest.mark.slow
def test_the_core_passes_its_tests_without_any_tool(tmp_path):
    """A tool that the core needed would show here as an import that fails."""
    ignored = shutil.ignore_patterns("__pycache__", *TOOLS)
    for folder in ("neuroforge_jax", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    tests = [*(f"tests/{room}" for room in CORE), "tests/test_run.py", "tests/test_config.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "-m", "smoke", *tests]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
