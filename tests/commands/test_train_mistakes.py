"""Mistakes at the training command: one line for each, a documented exit code, and nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuroforge_jax.data.readers.idx import write_idx
from neuroforge_jax.train import main
from tests.commands.test_train import QUICK, ROOT, own_folders, run

__all__ = ["own_folders"]


MISTAKES = [
    ("--trace 0", 2, "--trace 0: it takes a whole number from 1 to 1000000"),
    ("--benchmark-output .", 2, "--benchmark-output .: this file cannot be written (it is a folder)"),
    ("--benchmark-output nowhere/b.json", 2, "cannot be written (No such file or directory)"),
    ("--chunk-steps 0", 2, "--chunk-steps 0: it takes a whole number from 1 to 1000000"),
    ("--read-ahead 0", 2, "--read-ahead 0: it takes a whole number from 1 to 1000"),
    ("--learning-rate nan", 2, "--learning-rate nan: it takes a finite number above 0"),
    ("--batch-size -1", 2, "--batch-size -1: it takes a whole number from 1"),
    ("--batch-size 5000", 2, "--batch-size 5000 is larger than the 1437 training samples of digits"),
    ("--hidden 16 0", 2, "hidden 0: widths are whole numbers"),
    ("--dataset minst", 2, "unknown dataset 'minst': known are auto, mnist, fashion-mnist, digits"),
    (
        "--rate-factors bias=0.1",
        2,
        "--rate-factors bias=0.1: 'bias=0.1' is not one of kernels, biases, norms",
    ),
    ("--beta2 0.9", 2, "--beta2 0.9 is for --optimizer adam, adamw, lion, muon; sgd has none"),
    ("--epsilon 0.1", 2, "--epsilon 0.1 is for --optimizer adam, adamw; sgd takes none"),
    ("--optimizer adam --beta1 1", 2, "--beta1 1.0: it takes a finite number from 0 to below 1"),
    ("--optimizer sdg", 2, "unknown optimizer 'sdg': known are sgd, momentum"),
    ("--activation rleu", 2, "unknown activation 'rleu': known are relu"),
    ("--loss hinge", 2, "unknown loss 'hinge': known are cross-entropy"),
    ("--schedule linear", 2, "unknown schedule 'linear': known are constant"),
    ("--initializer zeros", 2, "unknown initializer 'zeros': known are auto"),
    ("--normalization batch", 2, "unknown normalization 'batch': known are none, layer, rms"),
    ("--backend gpu", 2, "unknown backend 'gpu': known are auto, cpu"),
    ("--precision f64", 2, "unknown precision 'f64': known are f32, tf32, bf16, fp16"),
    (
        "--precision p=bf16",
        2,
        "weights and optimizer state are float32, and p=bf16; a spec is p=f32, c= and o=",
    ),
    ("--loss-scale big", 2, "--loss-scale 'big': it takes auto, none, dynamic, or a number from 1 to"),
    ("--kernels triton", 2, "unknown kernels 'triton'"),
    ("--mixed-precision --precision f32", 2, "contradict each other"),
    ("--train-samples 9999", 2, "--train-samples 9999: digits has 1437 training samples"),
    ("--target species", 2, "--target species"),
    ("--config none.py", 2, "none.py: no such config file"),
    ("--dataset none.csv", 3, "none.csv"),
    ("--dataset mnist", 3, "by hand"),
    ("--resume runs/x", 4, "there is no run in this folder"),
    ("--resume runs/x --run-dir runs/y", 2, "leave one of them out"),
    ("--checkpoint-every 7x", 2, "it takes whole steps or epochs or some minutes"),
    ("--checkpoint-every -1steps", 2, "it takes whole steps"),
    ("--keep-latest 0", 2, "from 1 to"),
    ("--on-save-error ignore", 2, "it takes stop or continue"),
    ("--on-divergence pray", 2, "it takes stop or skip"),
    ("--mesh data=99", 5, "--mesh data=99 takes 99 devices, and jax finds"),
    ("--mesh rows=2", 2, "unknown axis 'rows': known are population, data, model"),
    ("--mesh data=2 --backend naive", 2, "(eager execution) trains on one device; use --backend optimized"),
    ("--deterministic-shards 6", 2, "it takes a power of two"),
    ("--kernels pallas", 5, "there are none for cpu"),
    (
        "--backend pallas",
        5,
        "backend 'pallas' needs kernels for its device, and there are none for cpu (cpu)",
    ),
    ("--backend cuda-naive", 5, "backend 'cuda-naive' needs cuda, and jax finds only cpu here"),
    ("--backend cuda-optimized", 5, "needs cuda"),
    ("--backend cuda-async --async-ops", 5, "needs cuda"),
    ("--backend cuda-mixed-precision", 5, "needs cuda"),
]


@pytest.mark.parametrize(("flags", "exit_code", "sentence"), MISTAKES, ids=[flags for flags, *_ in MISTAKES])
def test_a_mistake_is_one_line_and_an_exit_code(flags, exit_code, sentence, capsys, tmp_path):
    code, out, err = run([*QUICK, *flags.split()], capsys)
    assert code == exit_code
    assert sentence in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert out == ""
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_an_unknown_flag_is_refused_with_the_nearest_one(capsys):
    code, _, err = run(["--learning-rat", "0.1"], capsys)
    assert code == 2
    assert "--learning-rate" in err


def test_a_run_folder_that_cannot_be_written_is_refused_before_training(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code, out, err = run([*QUICK, "--run-dir", str(tmp_path / "file" / "run")], capsys)
    assert (code, out) == (2, "")
    assert "cannot be written" in err


IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@pytest.mark.parametrize("damage", ["truncated", "trailing", "magic", "page", "replaced"])
def test_a_damaged_mnist_file_is_named_and_never_passed_over(damage, capsys, tmp_path):
    """`auto` too: files that are there and wrong are an error, not a reason to take digits."""
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for name, shape in zip(IDX_NAMES, [(9, 28, 28), (9,), (3, 28, 28), (3,)], strict=True):
        write_idx(folder / name, np.zeros(shape, np.uint8))
    victim = folder / IDX_NAMES[0]
    content = victim.read_bytes()
    victim.write_bytes(
        {
            "truncated": content[:-5],
            "trailing": content + b"x",
            "magic": b"\x01\x02" + content[2:],
            "page": b"<!DOCTYPE html><html>not here</html>",
            "replaced": content,  # well-formed, and not the published digits
        }[damage]
    )
    for dataset in ("mnist", "auto"):
        code, out, err = run([*QUICK, "--dataset", dataset], capsys)
        assert (code, out) == (3, "")
        assert str(victim) in err
        assert len(err.splitlines()) == 1


def test_infinite_data_are_refused_with_the_place(capsys):
    x = np.ones((40, 3), np.float32)
    x[5, 2] = np.inf
    np.savez("bad.npz", x_train=x, y_train=np.arange(40) % 2, x_test=x[:5], y_test=np.zeros(5, int))
    code, _, err = run(["--dataset", "bad.npz"], capsys)
    assert code == 3
    assert "sample 5, input 2 is inf" in err


def test_targets_of_one_value_are_refused(capsys):
    x = np.ones((40, 3), np.float32)
    np.savez("bad.npz", x_train=x, y_train=np.full(40, -1), x_test=x, y_test=np.full(40, -1))
    code, _, err = run(["--dataset", "bad.npz"], capsys)
    assert code == 3
    assert "1 different value; there can be 2 to 1000 classes" in err


def test_pickled_objects_are_refused_and_not_run(capsys, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    np.savez("bad.npz", x=np.array([Bomb()], dtype=object), y=np.zeros(1))
    code, _, err = run(["--dataset", "bad.npz"], capsys)
    assert code == 3
    assert "object" in err
    assert not (tmp_path / "pwned").exists()


def test_a_row_of_another_width_is_named_with_its_line(capsys):
    rows = [f"{i},{i * 2},{'ab'[i % 2]}" for i in range(30)]
    rows[7] = "7,14,a,b"
    Path("bad.csv").write_text("\n".join(["height,width,kind", *rows]))
    code, _, err = run(["--dataset", "bad.csv"], capsys)
    assert code == 3
    assert "bad.csv line 9: has 4 cells, and the header has 3" in err


def test_divergence_ends_with_code_6(capsys):
    code, _, err = run([*QUICK, "--loss", "mse", "--learning-rate", "1e5"], capsys)
    assert code == 6
    assert "the loss became" in err


def test_debug_shows_the_traceback():
    from neuroforge_jax.errors import ConfigError

    with pytest.raises(ConfigError):
        main([*QUICK, "--debug", "--optimizer", "sdg"])


def test_a_typo_is_told_without_importing_jax(tmp_path):
    """Light: the flags are read first. The same holds for importing the package."""
    script = (
        "import sys, neuroforge_jax\n"
        "from neuroforge_jax.train import main\n"
        "try: main(['--epochs', '0'])\n"
        "finally: print('jax' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "False False\n"
    assert done.stderr.startswith("error: --epochs 0")
