"""The training command as a user meets it: what it prints, what it leaves, and one line for each mistake."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.callbacks.console import Console
from neuroforge_jax.commands.config_files import load_config
from neuroforge_jax.data import datasets
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.data.readers.idx import write_idx
from neuroforge_jax.job.job import Job
from neuroforge_jax.profiling.step_parts import ROWS
from neuroforge_jax.train import main
from neuroforge_jax.training.step import make_step
from neuroforge_jax.verification import checks
from tests.tiers import with_slow

ROOT = Path(__file__).parents[2]
QUICK = ["--dataset", "digits", "--hidden", "16", "--batch-size", "64", "--epochs", "2"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Runs and data go to folders of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(datasets, "download", unreachable)


def unreachable(*args, **kwargs):
    """No test asks a real mirror."""
    raise datasets.DownloadError("mnist could not be downloaded; put the files there by hand", "no mirror")


def run(args, capsys):
    """Exit code, standard output and standard error of the command."""
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


LISTENING_TO_CTRL_C = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, "
    "[sys.executable, '-m', 'neuroforge_jax.train', *sys.argv[1:]])"
)
"""A job that a shell has put in the background ignores Ctrl-C, and so would all that it starts."""


def subprocess_of(args, **options):
    return subprocess.Popen(
        [sys.executable, "-c", LISTENING_TO_CTRL_C, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        **options,
    )


@pytest.mark.smoke
def test_a_run_prints_what_it_does_and_leaves_a_folder(capsys, tmp_path):
    code, out, err = run([*QUICK, "--backend", "optimized", "--learning-rate", "0.1"], capsys)
    assert (code, err) == (0, "")
    for expected in (
        "1,437 training, 360 test samples of 8×8",
        "64-16-10 relu",
        "epoch   2",
        "test accuracy",
        "share of peak",
        "saved in runs/digits",
    ):
        assert expected in out
    folder = tmp_path / "runs" / "digits"
    for name in ("learning_curve.png", "worst_mistakes.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "result.json").read_text())["epochs"] == 2


def test_a_second_run_takes_a_folder_of_its_own(capsys, tmp_path):
    assert run(QUICK, capsys)[0] == 0
    assert "saved in runs/digits-2" in run(QUICK, capsys)[1]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"digits", "digits-2"}


def test_auto_trains_on_digits_where_nothing_can_be_downloaded(capsys):
    code, out, _ = run([*QUICK[2:], "--dataset", "auto"], capsys)
    assert code == 0
    assert out.splitlines()[0].startswith("data      digits: MNIST")
    record = json.loads(Path("runs/auto/result.json").read_text())
    assert record["dataset"] == "digits"
    assert "MNIST" in record["dataset_origin"]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.py")))
def test_a_step_of_every_config_can_be_traced(name, traced_alone):
    """On digits, or on the config's own embedded data; tests/test_flagship.py trains them."""
    config = load_config(ROOT / "configs" / name)
    dataset = nf.load_dataset(config.dataset if name == "tabular.py" else "digits")
    job = Job.build(config, dataset)
    like = dataset.train[: config.batch_size]
    batch = Batch(like.inputs, like.targets, np.ones(len(like), np.float32))
    state, step = job.state_like, make_step(job.parts)
    after, metrics = jax.eval_shape(step, state, job.model.fitted, batch)
    assert jax.tree.map(lambda leaf: leaf.shape, after) == jax.tree.map(lambda leaf: leaf.shape, state)
    assert metrics.loss.shape == ()


FLAGS = [
    "--validation-fraction 0.2 --patience 1 --activation gelu --initializer orthogonal --label-smoothing 0.1"
    " --precision c=bf16,o=bf16 --normalization layer --residual",
    "--optimizer adamw --weight-decay 0.01 --learning-rate 0.001 --normalization rms --dropout 0.1 --residual"
    " --beta2 0.95 --epsilon 1e-6 --rate-factors biases=0.1,norms=6 --initializer lsuv",
    "--optimizer nesterov --momentum 0.8 --schedule warmup-cosine --warmup 0.2 --clip-norm 1 --accumulate 4"
    " --precision fp16 --loss-scale 1024 --no-shuffle",
    "--loss mse --train-samples 500 --target-accuracy 0.5 --precision tf32 --kernels xla --seed 7 --log-every 5"
    " --on-divergence stop --debug",
    "--async-ops --mixed-precision --chunk-steps 3 --read-ahead 1",
    "--backend naive --train-samples 64 --hidden",
]
"""Together, flags that have nothing to do with each other; what each does is the subject of its room's tests."""


@pytest.mark.parametrize("flags", with_slow([FLAGS[1], FLAGS[2], FLAGS[4]], [FLAGS[0], FLAGS[3], FLAGS[5]]))
def test_every_flag_of_this_version_works(flags, capsys):
    code, out, err = run([*QUICK, *flags.split()], capsys)
    assert (code, err) == (0, "")
    assert "test accuracy" in out


def looked_at(flags, capsys, tmp_path):
    """What --benchmark-output holds of a run that is timed, traced and weighed, and its folder."""
    file, folder = tmp_path / "r.json", tmp_path / "run"
    words = f"--benchmark --benchmark-output {file} --memory-profile --trace 12 --run-dir {folder}"
    code, out, err = run([*QUICK, *words.split(), *flags], capsys)
    assert (code, err) == (0, "")
    for said in ("where the time went", "in parts (", "arrays alive at the end", "12 steps traced"):
        assert said in out
    return out, json.loads(file.read_text()), folder


def test_a_run_can_be_timed_traced_and_weighed_at_once(capsys, tmp_path):
    out, written, folder = looked_at([], capsys, tmp_path)
    assert "verified" not in out
    assert {"load", "compile", "train", "evaluate", "save", "other"} <= set(written["seconds"])
    assert written["seconds"]["train"] >= written["result"]["train_seconds"] > 0
    assert "versions" in written["environment"]
    parts = written["step_parts"]
    assert sum(parts[row] or 0.0 for row in ROWS) == pytest.approx(parts["measured_seconds"], rel=0.05)
    assert written["memory"] == json.loads((folder / "memory.json").read_text())
    assert written["memory"]["programs"]["segment"]["peak"] > 0
    assert written["operations"][0]["seconds"] > 0
    assert gzip.decompress((folder / "memory.pprof").read_bytes())


@pytest.mark.slow
def test_and_verified_too(capsys, tmp_path, monkeypatch):
    """By one case: tests/verification/test_checks.py is about all of them."""
    (case,) = (case for case in checks.standard_cases() if case.name == "sgd")
    monkeypatch.setattr(checks, "standard_cases", lambda: (case,))
    out, written, _ = looked_at(["--verify", "--tolerance", "1e-6"], capsys, tmp_path)
    assert "verified" in out
    assert written["seconds"]["verify"] > 0


@pytest.mark.faults
def test_nothing_breaks_when_the_reader_of_the_pipe_goes_away(tmp_path):
    process = subprocess_of([*QUICK, "--epochs", "5"], cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert error == ""
    assert json.loads((tmp_path / "runs/digits/result.json").read_text())["epochs"] == 5


INTERRUPTED = r"interrupted: saved at step [\d,]+; go on with --resume runs/digits\n"


def test_ctrl_c_ends_with_one_line_and_code_130(capsys, monkeypatch):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    monkeypatch.setattr(Console, "epoch", lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        code, _, error = run([*QUICK, "--backend", "optimized"], capsys)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert re.fullmatch(INTERRUPTED, error)
    assert not Path("runs/digits/result.json").exists()


@pytest.mark.faults
def test_so_it_does_in_a_process_of_its_own(tmp_path):
    process = subprocess_of([*QUICK, "--epochs", "100000", "--batch-size", "8"], cwd=tmp_path)
    try:
        for line in process.stdout:
            if line.startswith("epoch   1"):
                break
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, error = process.communicate(timeout=60)
        assert process.returncode == 130
        assert re.fullmatch(INTERRUPTED, error)
        assert time.monotonic() - begun < 10
    finally:
        process.kill()


def test_gzip_and_raw_files_are_read_alike(tmp_path):
    from neuroforge_jax.data.readers.idx import read_idx

    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / "a.gz", array)
    (tmp_path / "b").write_bytes(gzip.decompress((tmp_path / "a.gz").read_bytes()))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), read_idx(tmp_path / "b"))
