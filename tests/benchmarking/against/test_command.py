"""`bench --against` as a command in a repository: a slow-down that is planted, and commands that are stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import neuroforge_jax
from tests.benchmarking.against.repositories import PACKAGE, commit_all, git

pytestmark = pytest.mark.slow

SLOWER = """

_prepare = prepare


def prepare(config, model, dataset):
    run = _prepare(config, model, dataset)
    return lambda state, first, last: run(state, first, last + (last - first) * 6 // 10)
"""
"""So many steps more than were asked for that a step takes 1.6 times as long."""

SMALL = ["--only", "regression/small/*"]


@pytest.fixture
def checkout(tmp_path):
    """This package in a repository of its own."""
    root = tmp_path / "checkout"
    package = Path(neuroforge_jax.__file__).parent
    shutil.copytree(package, root / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("__pycache__/\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    commit_all(root, "as it is")
    return root


BENCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from neuroforge_jax.bench import main
from neuroforge_jax.commands.outcome import leave
leave(main(sys.argv[1:]))
"""
"""A shell's background job ignores Ctrl-C, and so would all that it starts."""


def start(checkout, *words):
    temporary = checkout.parent / "temporary"
    temporary.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", BENCH, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(checkout)},
    )


def run(checkout, *words):
    process = start(checkout, *words)
    out, err = process.communicate(timeout=400)
    assert list((checkout.parent / "temporary").iterdir()) == []
    return process.returncode, out, err


def test_a_commit_against_itself_passes(checkout):
    code, out, err = run(checkout, "--against", "HEAD", *SMALL)
    assert (code, err) == (0, "")
    assert "with no changes" in out
    assert "note: both versions are the same code" in out
    assert git(checkout, "status", "--porcelain", "--", ":!*__pycache__*") == ""


@pytest.mark.further
def test_a_planted_slow_down_of_60_percent_is_found_and_confirmed(checkout):
    with (checkout / PACKAGE / "job" / "pieces.py").open("a") as file:
        file.write(SLOWER)
    commit_all(checkout, "slower")
    code, out, err = run(checkout, "--against", "HEAD~1", *SMALL)
    assert code == 7, out + err
    assert err.startswith(f"error: slower than {git(checkout, 'rev-parse', 'HEAD~1')[:8]} by more than 25%")
    assert "regression/small/optimized (1." in err
    assert len(err.splitlines()) == 1


def workers(checkout):
    """Processes whose command names a worker and whose environment this folder."""
    mark, found = str(checkout.parent / "temporary").encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                b"worker.py" in (folder / "cmdline").read_bytes()
                and mark in (folder / "environ").read_bytes()
            ):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_command_that_is_stopped_leaves_no_process_and_no_folder(checkout, signum, code):
    process = start(checkout, "--against", "HEAD")
    deadline = time.monotonic() + 120
    while len(workers(checkout)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signum)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    deadline = time.monotonic() + 60
    while workers(checkout):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if signum != signal.SIGKILL:
        assert list((checkout.parent / "temporary").iterdir()) == []
    assert git(checkout, "status", "--porcelain", "--", ":!*__pycache__*") == ""
