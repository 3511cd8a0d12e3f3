"""The configs reach what they claim, on real digits; MNIST where the data folder has it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.commands.config_files import load_config
from neuroforge_jax.population import fit_population
from neuroforge_jax.train import main
from tests.tiers import with_further

ROOT = Path(__file__).parents[1]
DATA = os.environ.get("NEUROFORGE_DATA_DIR")

pytestmark = [pytest.mark.full_effort, pytest.mark.slow]


def train(folder, config, *flags):
    """The result of the command."""
    assert main(["--config", str(ROOT / "configs" / config), "--run-dir", str(folder), *flags]) == 0
    return json.loads((folder / "result.json").read_text())


needs_mnist = pytest.mark.skipif(
    DATA is None or not (ROOT / DATA / "mnist").is_dir(), reason="NEUROFORGE_DATA_DIR has no mnist folder"
)


@pytest.fixture(scope="module")
def mnist():
    return nf.load_dataset("mnist", data_dir=ROOT / DATA)


@needs_mnist
@pytest.mark.parametrize(
    ("name", "accuracy"), with_further([("mixed.py", 0.983)], [("float32.py", 0.983), ("adam.py", 0.98)])
)
def test_a_config_reaches_its_accuracy_on_mnist(name, accuracy, tmp_path):
    folder = str(ROOT / DATA)
    result = train(tmp_path / "run", name, "--dataset", "mnist", "--data-dir", folder)
    assert result["test_accuracy"] >= accuracy


@needs_mnist
@pytest.mark.parametrize(
    "changes",
    with_further([{"optimizer": "adam"}], [{"optimizer": "sgd", "learning_rate": 0.1, "batch_size": 128}]),
    ids=["adam", "sgd"],
)
def test_fp16_reaches_float32s_accuracy_on_mnist_to_within_0_3_percent(changes, mnist):
    config = replace(load_config(ROOT / "configs/mixed.py"), epochs=4, hidden=(512, 256), **changes)
    f32, fp16 = (nf.fit(replace(config, precision=name), mnist) for name in ("f32", "fp16"))
    assert abs(fp16.test_accuracy - f32.test_accuracy) <= 0.003
    assert fp16.test_accuracy > 0.97
    assert fp16.figures["skipped_steps"] < fp16.figures["steps"] / 100


@needs_mnist
def test_the_speedrun_reaches_98_percent_on_average(mnist):
    reached = fit_population(load_config(ROOT / "configs/speedrun.py"), mnist, range(5))
    assert reached.accuracies.mean() >= 0.98


@pytest.mark.parametrize(
    ("name", "dataset", "accuracy"),
    [
        ("mixed.py", "digits", 0.95),
        ("float32.py", "digits", 0.95),
        ("quick.py", "digits", 0.95),
        ("tabular.py", "breast-cancer", 0.93),
        ("table.py", "breast-cancer", 0.93),
    ],
)
def test_a_config_reaches_its_accuracy_on_embedded_data(name, dataset, accuracy, tmp_path):
    result = train(tmp_path / "run", name, "--dataset", dataset)
    assert result["test_accuracy"] >= accuracy


def test_the_config_for_tables_learns_a_quantity_from_a_file(tmp_path):
    """300 rows of a price by size and town, of which every tenth size is missing."""
    rng = np.random.default_rng(0)
    size, town = rng.uniform(20, 200, 300), rng.choice(["Ulm", "Bonn"], 300)
    price = 1000 * size * np.where(town == "Ulm", 2, 1) + rng.normal(0, 5000, 300)
    rows = [f"{'' if i % 10 == 0 else round(size[i], 1)},{town[i]},{price[i]:.0f}" for i in range(300)]
    (tmp_path / "prices.csv").write_text("size,town,price\n" + "\n".join(rows))
    result = train(
        tmp_path / "run", "table.py", "--dataset", str(tmp_path / "prices.csv"), "--target", "price"
    )
    assert result["selected_by"] == "loss"
    assert result["test_r2"] > 0.7  # sizes that are missing leave a part unknown


LONG_TRAININGS = """
import sys
from neuroforge_jax.backends import compiler
from neuroforge_jax.train import main
compiler.REPAYS_FROM_FLOPS = dict.fromkeys((False, True), 0.0)
for name in ("mixed", "float32"):
    flags = ["--dataset", "digits", "--config", f"configs/{name}.py", "--run-dir", f"{sys.argv[1]}/{name}"]
    assert main(flags) == 0
"""
"""Of digits, compiled as one that is long enough for oneDNN."""


@pytest.mark.parametrize("ceiling", ["AVX2", "AVX512_CORE"])
def test_the_flagships_train_on_other_peoples_cpus(ceiling, tmp_path):
    """bf16 through oneDNN crashes on the first and crawls on the second; it must not be taken there."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "ONEDNN_MAX_CPU_ISA": ceiling}
    command = [sys.executable, "-c", LONG_TRAININGS, str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    for name in ("mixed", "float32"):
        assert json.loads((tmp_path / name / "result.json").read_text())["test_accuracy"] > 0.9
