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
    rooms = {name for name in above if (ROOT / "neuroforge_jax" / name).is_dir()}
    assert set(TOOLS) == rooms - {"commands", "estimators"}  # what is called, as run.py is


EVERY_MODULE = """
import importlib, pkgutil
import pytest
import neuroforge_jax

@pytest.mark.smoke
def test_every_module_can_be_imported():
    for module in pkgutil.walk_packages(neuroforge_jax.__path__, "neuroforge_jax."):
        if module.name.split(".")[1] in {core} and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


@pytest.mark.slow
def test_the_core_works_without_any_tool(tmp_path):
    """A tool that the core needed would show here as an import that fails: in a module, or amid a run."""
    ignored = shutil.ignore_patterns("__pycache__", *TOOLS)
    for folder in ("neuroforge_jax", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    every_module = tmp_path / "tests" / "test_every_module.py"
    every_module.write_text(EVERY_MODULE.format(core=(*CORE, "config", "run", "population")))
    tests = [str(every_module), "tests/job", "tests/callbacks", "tests/checkpoint", "tests/test_run.py"]
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
