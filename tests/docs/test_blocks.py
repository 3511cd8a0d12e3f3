"""Every block of README and docs is run in the order of its page, in a folder of its own.

What is shown trains on MNIST and takes minutes; what is run trains on scikit-learn's digits and is small.
`SMALLER` holds all that is replaced.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import neuroforge_jax as nf
from tests.docs.blocks import PAGES, ROOT, blocks_of
from tests.reliability.processes import CACHE

SECONDS = 300

SMALLER = {
    "python": [
        (r'load_dataset\("mnist"\)', 'load_dataset("digits")'),
        (r"hidden=\(1024, 512\)", "hidden=(32,)"),
        (r"seeds=range\(64\)", "seeds=range(3)"),
    ],
    "sh": [
        (r"--config configs/(mixed|float32|speedrun|adam)\.py", r"\g<0> --dataset digits --hidden 32"),
        (r"verify --backend optimized mixed", r"\g<0> --config configs/tabular.py"),
    ],
}

QUICK = {"configuration", "precision"}
"""Pages whose Python trains nothing, so that every run of the tests runs it."""


def smaller(block):
    """The code of a block with what makes it long replaced."""
    code = block.code
    for pattern, replacement in SMALLER[block.language]:
        code = re.sub(pattern, replacement, code)
    return code


def run_python(block, namespace):
    """In this process, one namespace a page; an error names the page and its line."""
    code = "\n" * block.line + smaller(block)
    exec(compile(code, str(block.page), "exec"), namespace)


def run_shell(block, folder):
    """By bash, with this interpreter as `python`; the first command that fails ends it."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", smaller(block)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "XDG_CACHE_HOME": CACHE.name,
            "COLUMNS": "100",
        },
    )
    assert done.returncode == block.exit_code, f"{block}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stderr


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader stands: beside configs/, with nothing else there."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few_cases(monkeypatch):
    """Of the verification, whose cases have tests of their own: the first two."""
    from neuroforge_jax.verification.cases import standard_cases

    monkeypatch.setattr(nf, "verify_backend", partial(nf.verify_backend, cases=standard_cases()[:2]))


@pytest.mark.docs
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page, folder, few_cases):
    namespace = {"__name__": page.stem}
    blocks = blocks_of(page)
    for block, below in zip(blocks, [*blocks[1:], None], strict=True):
        if block.language == "python":
            run_python(block, namespace)
        elif block.language == "sh" and not block.reason:
            error = run_shell(block, folder)
            if block.exit_code and below is not None and below.language == "text":
                assert_is_shown(below, error)


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in QUICK], ids=lambda page: page.stem)
def test_the_python_of_a_quick_page_runs(page, folder):
    namespace = {"__name__": page.stem}
    for block in blocks_of(page):
        if block.language == "python":
            run_python(block, namespace)


def assert_is_shown(block, error):
    """The page shows the error that was told, but for numbers, which depend on the machine."""
    shown = next(line for line in block.code.splitlines() if line.startswith("error: "))
    plain = re.sub(r"\s+", " ", error)
    for part in re.split(r"…|-?\d[\d.,e+-]*", shown):
        assert part.strip(" .") in plain, f"{block}: {part!r} is not in {plain!r}"
