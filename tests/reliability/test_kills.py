"""kill -9 at any moment: the newest whole step is there, and the run goes on to the end it would have had."""

import random
import subprocess
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load_file

from neuroforge_jax.checkpoint import files
from tests.reliability.processes import BARE_END, QUICK, kill, run, start, steps, wait_for, write_data

pytestmark = [pytest.mark.faults, pytest.mark.full_effort]

EPOCHS = {"stepped": 200, "optimized": 1000, "async": 1000, "mixed": 1000, "naive": 30}
"""Of 50 steps each: a few seconds, saved as fast as the disk takes it."""


def command(backend):
    flags = ["--epochs", str(EPOCHS[backend]), "--backend", backend, "--resume", "auto", "--run-dir", "run"]
    return [*QUICK, *flags, "--checkpoint-every", "40 steps"]


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """By a backend, the parameters of the run that nobody kills."""

    @cache
    def parameters(backend):
        folder = tmp_path_factory.mktemp("whole")
        write_data(folder)
        code, _, err = run(command(backend), folder, BARE_END)
        assert (code, err) == (0, "")
        return load_file(folder / "run" / "params.safetensors")

    return parameters


def killed_at_random(folder, backend, rng):
    """Start the run, or go on with it, and kill it; its exit code and the last step that was saved by then."""
    before = max(steps(folder / "run"), default=0)
    process = start(command(backend), folder, BARE_END)
    if rng.random() < 0.3:  # while it starts, compiles or reads its checkpoint
        delay = rng.uniform(0.2, 3.0)
    else:
        wait_for(lambda: process.poll() == 0 or max(steps(folder / "run"), default=0) > before, process)
        delay = rng.uniform(0, 0.5)
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    seen = max(steps(folder / "run"), default=0)
    kill(process)
    return process.returncode, seen


def survives(folder, backend, params, kills, rng):
    """Nothing that was saved is lost, every step that has its name is whole, and the end is the one it had."""
    write_data(folder)
    killed = 0
    for _ in range(kills):
        code, seen = killed_at_random(folder, backend, rng)
        killed += code == -9
        checkpoints = folder / "run" / "checkpoints"
        if not checkpoints.is_dir():
            continue
        saved, damaged = files.newest(checkpoints)
        assert damaged == []
        assert (saved.progress["step"] if saved else 0) >= seen
        if saved:
            saved.arrays()
    assert killed >= kills // 3
    code, _, err = run(command(backend), folder, BARE_END)
    assert (code, err) == (0, "")
    final = load_file(folder / "run" / "params.safetensors")
    for name, array in params.items():
        np.testing.assert_array_equal(final[name], array)
    left = {path.name for path in (folder / "run" / "checkpoints").iterdir()}
    assert all(name.isdecimal() for name in left), left
    assert not list((folder / "run").glob(".*"))


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_and_continued_it_is_the_same_run(seed, expected, tmp_path):
    """Twice eight kills."""
    survives(tmp_path, "stepped", expected("stepped"), 8, random.Random(seed))


@pytest.mark.further
@pytest.mark.parametrize("seed", range(100, 103))
@pytest.mark.parametrize("backend", EPOCHS)
def test_whatever_the_execution_it_survives_ten_kills(backend, seed, expected, tmp_path):
    """Five executions, three times ten kills each."""
    survives(tmp_path, backend, expected(backend), 10, random.Random(seed))


POINTS = {
    "before orbax has written": "files.save_arrays = die",
    "before the digests": "files._write_manifest = die",
    "between the digests and the name": "files._write_manifest = then_die(files._write_manifest)",
    "after the name": "files._sync = die_at(files._sync, lambda path: path.name == 'checkpoints')",
    "while an old step is removed": "files.shutil.rmtree = die_at(files.shutil.rmtree, is_removed)",
}
PLANT = """
from neuroforge_jax.checkpoint import files
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def then_die(function):
    return lambda *args: (function(*args), die())
def die_at(function, condition):
    return lambda path, **options: die() if condition(path) else function(path, **options)
def is_removed(path):
    return '.removed' in str(path) and path.exists()
write, count = files.write, [0]
def counted(*args):
    count[0] += 1
    if count[0] == {save}:
        {point}
    return write(*args)
files.write = counted
"""


@pytest.mark.parametrize("point", POINTS)
def test_killed_within_a_save_the_step_before_is_whole(point, tmp_path):
    write_data(tmp_path)
    args = [*QUICK, "--epochs", "8", "--run-dir", "run", "--resume", "auto", "--keep-latest", "1"]
    args += ["--checkpoint-every", "20 steps"]
    code, _, _ = run(args, tmp_path, PLANT.format(save=2, point=POINTS[point]))
    assert code == -9
    folder = tmp_path / "run" / "checkpoints"
    saved, damaged = files.newest(folder)
    assert damaged == []
    saved.arrays()
    code, out, err = run(args, tmp_path, BARE_END)
    assert (code, err) == (0, "")
    assert f"at step {saved.progress['step']:,} of 400" in out
    assert all(path.name.isdecimal() for path in folder.iterdir())
