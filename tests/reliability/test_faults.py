"""Full disks, damage, other processes, typos: each done for real, through the command line."""

import shutil
import signal
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

from neuroforge_jax.checkpoint import files
from tests.reliability.processes import (
    BARE_END,
    QUICK,
    epochs,
    kill,
    run,
    start,
    steps,
    stop,
    wait_for,
    write_data,
)

pytestmark = pytest.mark.faults

SAVING = [*QUICK, "--epochs", "12", "--run-dir", "run", "--checkpoint-every", "20 steps"]


@pytest.fixture(autouse=True)
def data(tmp_path):
    write_data(tmp_path)


@pytest.fixture(scope="module")
def once_terminated(tmp_path_factory):
    """The folder of a run that was stopped on its way, with two saved steps."""
    folder = tmp_path_factory.mktemp("terminated")
    write_data(folder)
    args = [*QUICK, "--epochs", "20000", "--run-dir", "run", "--checkpoint-every", "200 steps"]
    process = start(args, folder)
    wait_for(lambda: steps(folder / "run"), process)
    assert stop(process, signal.SIGTERM)[0] == 143
    assert len(steps(folder / "run")) == 2
    return folder / "run"


@pytest.fixture
def terminated(once_terminated, tmp_path):
    """A copy of it, to be damaged and continued."""
    return shutil.copytree(once_terminated, tmp_path / "run")


def resume(folder, *flags):
    more = str(max(steps(folder), default=0) // 50 + 2)
    return run(["--resume", "run", "--epochs", more, *flags], folder.parent, BARE_END)


def test_one_flipped_bit_is_named_and_the_step_before_it_used(terminated):
    last, before = steps(terminated)
    victim = max((terminated / "checkpoints" / str(last)).rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 3] ^= 1
    victim.write_bytes(content)
    code, out, err = resume(terminated)
    assert (code, err) == (0, "")
    # The console breaks long lines.
    told = "".join(out.split())
    assert victim.name in told
    assert "isnotwhatwaswritten;thestepbeforeitisused" in told
    assert f"run at step {before:,} of" in out
    assert (terminated / "checkpoints" / f".damaged-{last}").is_dir()


def test_where_every_checkpoint_is_damaged_the_run_is_not_begun_anew(terminated):
    for step in steps(terminated):
        (terminated / "checkpoints" / str(step) / "manifest").unlink()
    log = (terminated / "metrics.jsonl").read_bytes()
    for flags in (["--resume", "run"], [*QUICK, "--resume", "auto", "--run-dir", "run"]):
        code, out, err = run(flags, terminated.parent)
        assert (code, out) == (4, "")
        assert "can be used" in err
        assert len(err.splitlines()) == 1
    assert (terminated / "metrics.jsonl").read_bytes() == log
    assert len(steps(terminated)) == 2


def test_a_checkpoint_of_a_later_version_is_refused(terminated):
    import hashlib

    manifest = terminated / "checkpoints" / str(steps(terminated)[0]) / "manifest"
    content = manifest.read_text().partition("\n")[2].replace('"format": 2', '"format": 9')
    manifest.write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")
    code, out, err = resume(terminated)
    assert (code, out) == (4, "")
    assert "has format 9" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--hidden", "17"], 4, "params/layer0/bias is float32 [16] there and float32 [17] in this config"),
        (["--optimizer", "sgd"], 4, "there and not in this config"),
        (["--dataset", "digits"], 4, "params/layer0/kernel"),
        (["--batch-size", "16"], 4, "--batch-size 32, and 16 is asked for"),
        (["--config", "other.toml"], 2, "leave one of them out"),
    ],
)
def test_a_run_that_cannot_be_continued_so_is_told_why_in_a_line(flags, code, sentence, terminated):
    got, out, err = resume(terminated, *flags)
    assert (got, out) == (code, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("damage", ["no JSON", "a later field", "missing"])
def test_a_damaged_config_of_a_run_is_a_damaged_run(damage, terminated):
    config = terminated / "config.json"
    if damage == "missing":
        config.unlink()
    else:
        config.write_text({"no JSON": "{", "a later field": '{"wings": 2}'}[damage])
    code, out, err = resume(terminated)
    assert (code, out) == (4, "")
    assert len(err.splitlines()) == 1


def test_a_python_config_is_run_when_named_and_never_by_a_resume(tmp_path):
    (tmp_path / "config.py").write_text(
        "from pathlib import Path\n"
        "from neuroforge_jax import TrainConfig\n"
        "Path('ran').touch()\n"
        "config = TrainConfig(dataset='data.npz', hidden=(16,), epochs=2)\n"
    )
    code, _, err = run(["--config", "config.py", "--run-dir", "run"], tmp_path)
    assert (code, err) == (0, "")
    (tmp_path / "ran").unlink()
    code, out, err = run(["--resume", "run"], tmp_path)
    assert (code, err) == (0, "")
    assert "run is finished" in out
    assert not (tmp_path / "ran").exists()


FULL_AT_SAVE = """
import resource
from neuroforge_jax.checkpoint import files
write, counted = files.write, []
def full(*args):
    counted.append(args)
    if len(counted) == {save}:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
    try:
        return write(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
files.write = full
"""


def test_a_full_disk_is_told_and_the_steps_before_are_whole(tmp_path):
    args = [*SAVING, "--epochs", "20000"]
    code, _, err = run(args, tmp_path, FULL_AT_SAVE.format(save=3))
    assert code == 4
    assert "could not be written to run/checkpoints (File too large)" in err
    assert len(err.splitlines()) == 1
    saved, damaged = files.newest(tmp_path / "run" / "checkpoints")
    assert damaged == []
    saved.arrays()
    assert resume(tmp_path / "run")[0] == 0


def test_training_goes_on_in_spite_of_a_full_disk_where_that_is_asked(tmp_path):
    args = [*SAVING, "--epochs", "60", "--on-save-error", "continue"]
    code, out, err = run(args, tmp_path, FULL_AT_SAVE.format(save=1))
    assert (code, err) == (0, "")
    assert "(Filetoolarge)" in "".join(out.split())
    assert steps(tmp_path / "run")[0] == 60 * 50


@contextmanager
def small_disk(path, size):
    """A file system of so many bytes; None where this process may not make one."""
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    try:
        yield made.returncode == 0
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_disk_that_is_really_full(tmp_path):
    with small_disk(tmp_path / "disk", 600_000) as mounted:
        if not mounted:
            pytest.skip(
                "mounting a small file system is not allowed here; a limit of file sizes stands in for it"
            )
        args = [*QUICK, "--epochs", "20000", "--run-dir", "disk/run", "--checkpoint-every", "20 steps"]
        code, _, err = run([*args, "--hidden", "64", "--keep-latest", "99"], tmp_path)
        assert code == 4
        assert "(No space left on device)" in err
        assert len(err.splitlines()) == 1
        saved, damaged = files.newest(tmp_path / "disk" / "run" / "checkpoints")
        assert damaged == []
        saved.arrays()


def test_a_log_that_cannot_grow_is_one_warning(tmp_path):
    """And when there is room again, its lines are all there."""
    plant = (
        "import resource\n"
        "from neuroforge_jax.callbacks.metrics_log import MetricsLog\n"
        "write, counted = MetricsLog.write, []\n"
        "def full(self, line):\n"
        "    counted.append(line)\n"
        "    size = 700 if 5 < len(counted) < 15 else resource.RLIM_INFINITY\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "    write(self, line)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "MetricsLog.write = full\n"
    )
    code, out, err = run([*QUICK, "--epochs", "20", "--run-dir", "run"], tmp_path, plant)
    assert (code, err) == (0, "")
    assert out.count("training goes on") == 1
    assert "metrics.jsonl cannot be written" in out
    assert epochs(tmp_path / "run") == list(range(1, 21))


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_compiled(tmp_path):
    plant = "from neuroforge_jax.job.job import Job\nJob.compile = None\n"
    code, out, err = run([*QUICK, "--run-dir", "/proc/run"], tmp_path, plant)
    assert (code, out) == (2, "")
    assert "this folder cannot be written" in err


def test_a_second_process_is_refused_with_the_first_ones_number(tmp_path):
    first = start(
        [*QUICK, "--epochs", "20000", "--run-dir", "run", "--checkpoint-every", "100 steps"], tmp_path
    )
    wait_for(lambda: steps(tmp_path / "run"), first)
    for flags in (["--resume", "run"], [*QUICK, "--run-dir", "run"]):
        code, out, err = run(flags, tmp_path)
        assert (code, out) == (2, "")
        assert f"run is in use by process {first.pid}" in err
    reached = steps(tmp_path / "run")[0]
    wait_for(lambda: steps(tmp_path / "run")[0] > reached, first)
    assert stop(first, signal.SIGTERM)[0] == 143


def test_the_lock_of_a_killed_process_is_taken(tmp_path):
    process = start([*SAVING, "--epochs", "20000"], tmp_path)
    wait_for(lambda: steps(tmp_path / "run"), process)
    kill(process)
    assert (tmp_path / "run" / "lock").read_text() == f"{process.pid}\n"
    code, _, err = resume(tmp_path / "run")
    assert (code, err) == (0, "")


def test_a_clock_that_goes_back_disturbs_nothing(tmp_path):
    plant = "times = iter(range(10**9, 0, -7))\ntime.time = lambda: float(next(times))\n"
    code, _, err = run([*SAVING, "--checkpoint-every", "0.001 minutes"], tmp_path, plant)
    assert (code, err) == (0, "")
    _, damaged = files.newest(tmp_path / "run" / "checkpoints")
    assert damaged == []
    assert epochs(tmp_path / "run") == list(range(1, 13))


def test_a_learning_rate_that_explodes_is_told_with_step_layer_and_last_loss(tmp_path):
    flags = [
        *QUICK,
        "--optimizer",
        "sgd",
        "--learning-rate",
        "1e6",
        "--hidden",
        "16",
        "16",
        "--activation",
        "elu",
    ]
    code, _, err = run([*flags, "--run-dir", "run"], tmp_path)
    assert code == 6
    assert len(err.splitlines()) == 1
    assert "the loss became nan at step" in err
    assert "in the step before: " in err
    assert "layer" in err or "output" in err
    assert steps(tmp_path / "run") == []  # the state that is no number was not saved


def test_fp16_survives_one_overflow_and_ends_where_none_can_be_survived(tmp_path):
    code, _, err = run([*QUICK, "--precision", "fp16", "--epochs", "3", "--loss-scale", "dynamic"], tmp_path)
    assert (code, err) == (0, "")
    x = np.full((1600, 12), 6e4, np.float32) * np.sign(np.random.default_rng(0).normal(size=(1600, 12)))
    np.savez(tmp_path / "large.npz", x=x.astype(np.float32), y=np.arange(1600) % 2)
    flags = ["--dataset", "large.npz", "--precision", "fp16", "--learning-rate", "1e6", "--hidden", "512"]
    code, _, err = run([*flags, "--activation", "identity", "--epochs", "30"], tmp_path)
    assert code == 6
    assert len(err.splitlines()) == 1


def test_a_reader_that_dies_ends_the_run_and_leaves_what_was_saved(tmp_path):
    """The thread that reads ahead fails after a while: its error reaches the command, and nothing hangs."""
    plant = (
        "from neuroforge_jax.data.stream import ArraySource\n"
        "read, counted = ArraySource.read, []\n"
        "def dies(self, *args):\n"
        "    counted.append(args)\n"
        "    if len(counted) > 300:\n"
        "        raise OSError(5, 'Input/output error')\n"
        "    return read(self, *args)\n"
        "ArraySource.read = dies\n"
    )
    flags = [*QUICK, "--epochs", "20000", "--backend", "async", "--chunk-steps", "10", "--run-dir", "run"]
    code, _, err = run([*flags, "--checkpoint-every", "100 steps"], tmp_path, plant)
    assert code != 0
    assert "Input/output error" in err
    saved, damaged = files.newest(tmp_path / "run" / "checkpoints")
    assert damaged == []
    assert saved.progress["step"] > 0


@pytest.mark.parametrize("kind", ["bomb", "claims 2**32", "page"])
def test_a_hostile_data_file_is_one_line(kind, tmp_path):
    import gzip
    import struct

    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    header = struct.pack(">4B3I", 0, 0, 8, 3, 60_000, 28, 28)
    content = {
        "bomb": gzip.compress(header + bytes(300_000_000), compresslevel=9),
        "claims 2**32": struct.pack(">4B3I", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1),
        "page": b"<!DOCTYPE html><html><body>Moved</body></html>",
    }[kind]
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{name}-ubyte").write_bytes(content)
    plant = f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({6 * 2**30}, {6 * 2**30}))\n"
    code, out, err = run(["--dataset", "mnist", "--data-dir", "data"], tmp_path, plant)
    assert (code, out) == (3, "")
    assert "train-images-idx3-ubyte" in err
    assert len(err.splitlines()) == 1


def test_what_does_not_fit_is_told_before_it_is_compiled(tmp_path):
    plant = "from neuroforge_jax.job.job import Job\nJob.compile = None\n"
    flags = ["--dataset", "data.npz", "--hidden", "900000", "900000", "--run-dir", "run"]
    code, out, err = run(flags, tmp_path, plant)
    assert (code, out) == (5, "")
    assert "this training needs about" in err
    assert "no batch size fits: make --hidden smaller" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_memory_that_runs_out_is_told_with_the_estimate(tmp_path):
    """XLA's own error, for an array that no machine holds."""
    plant = (
        "import jax.numpy as jnp\n"
        "from neuroforge_jax.job.job import Job\n"
        "Job.compile = lambda *_, **__: jnp.zeros((2**45,)).block_until_ready()\n"
    )
    flags = ["--dataset", "data.npz", "--hidden", "64", "--batch-size", "64", "--run-dir", "run"]
    code, _, err = run(flags, tmp_path, plant)
    assert code == 5
    assert "the memory ran out: this training was estimated at about" in err
    assert "; --batch-size 16 fits" in err or "; --batch-size 32 fits" in err
    assert len(err.splitlines()) == 1


def test_a_plugin_that_raises_at_import_is_a_line_and_costs_the_run_before_nothing(terminated):
    """A run of a backend that was there once; it goes on when another is named."""
    from tests.backends.test_plugins import offer

    folder = terminated.parent
    offer(folder, "broken", {"broken": ":backend"}, "raise RuntimeError('no licence')")
    plant = "sys.path.insert(0, os.getcwd())\n"
    code, out, err = run(["--resume", "run", "--backend", "broken"], folder, plant)
    assert (code, out) == (5, "")
    assert err.startswith("error: backend 'broken' of broken 1.0 is unavailable: RuntimeError: no licence")
    assert len(err.splitlines()) == 1
    assert resume(terminated)[0] == 0


def test_a_reader_that_goes_away_ends_the_run_quietly_and_it_goes_on_by_resume(tmp_path):
    """`train | head`: the pipe is closed before it trains."""
    process = start(SAVING, tmp_path, stdout=subprocess.PIPE)
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    saved, damaged = files.newest(tmp_path / "run" / "checkpoints")
    assert damaged == []
    assert saved is None or saved.progress["step"] > 0
    process = start(["--resume", "run"], tmp_path)
    assert process.communicate(timeout=60)[1] == ""
    assert process.returncode == 0
    assert epochs(tmp_path / "run") == list(range(1, 13))
