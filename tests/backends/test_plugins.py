"""Backends of other packages: one that is installed and trains, broken ones, and names that clash."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load_file

import neuroforge_jax as nf
from neuroforge_jax.backends.resolve import choose, discover_backends, find, load_backend
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.system.plugins import Plugin
from neuroforge_jax.train import main
from tests.plugins import BACKEND_EXAMPLE, ROOT, assert_page_shows, install, offer

QUICK = ["--dataset", "digits", "--hidden", "16", "--batch-size", "64", "--epochs", "2", "--seed", "3"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip has built and installed the example package."""
    return install(BACKEND_EXAMPLE, tmp_path_factory.mktemp("plugin"))


def train(args, folder, path):
    return subprocess.run(
        [sys.executable, "-m", "neuroforge_jax.train", *QUICK, *args, "--run-dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "JAX_PLATFORMS": "cpu"},
    )


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_an_installed_plugin_trains_to_the_parameters_of_stepped(installed, tmp_path):
    plugged = train(["--backend", "unrolled"], tmp_path / "plugged", [installed, ROOT])
    assert (plugged.returncode, plugged.stderr) == (0, "")
    assert (
        "unrolled (as named, from neuroforge-unrolled 0.1.0): unrolled, p=f32,c=f32,o=f32" in plugged.stdout
    )
    environment = json.loads((tmp_path / "plugged" / "environment.json").read_text())
    assert environment["plugin"] == "neuroforge-unrolled 0.1.0"
    assert main([*QUICK, "--backend", "stepped", "--run-dir", str(tmp_path / "stepped")]) == 0
    parameters = [load_file(tmp_path / run / "params.safetensors") for run in ("plugged", "stepped")]
    assert parameters[0].keys() == parameters[1].keys()
    for name in parameters[0]:
        np.testing.assert_allclose(parameters[0][name], parameters[1][name], rtol=1e-5, atol=1e-6)


def test_flags_replace_the_axes_of_a_plugin_too(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    backend = choose(nf.TrainConfig(backend="unrolled", mixed_precision=True)).backend
    assert (backend.name, backend.executor.name, backend.precision) == ("unrolled", "unrolled", "bf16")
    assert choose(nf.TrainConfig(backend="unrolled", precision="f32")).backend == find("unrolled")
    assert choose(nf.TrainConfig(backend="unrolled", async_ops=True)).backend.execution == "pipelined"


def test_auto_never_takes_a_plugin(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    monkeypatch.setattr(Plugin, "load", pytest.fail)
    assert choose(nf.TrainConfig()).backend == BACKENDS["optimized"]


def test_a_plugin_may_be_a_function_or_take_a_built_in_execution(site):
    offer(
        site,
        "made",
        {"made": ":make", "plain": ":plain"},
        "from neuroforge_jax import Backend\n"
        "def make(): return Backend('made', 'stepped', 'f32')\n"
        "plain = Backend('plain', 'scanned', 'bf16')",
    )
    assert find("made").executor.name == "stepped"
    assert find("plain").policy.name == "bf16"
    assert find("plain").origin == "made 1.0"


def test_an_unknown_name_lists_plugins_and_imports_none(site):
    offer(site, "loud", {"shout": ":backend"}, "raise SystemExit('imported')")
    with pytest.raises(ConfigError, match=r"known are auto, cpu, .*, shout; did you mean 'shout'\?"):
        find("shuot")
    assert "loud" not in sys.modules


BACKEND = "from neuroforge_jax import Backend\nbackend = Backend"
BROKEN = {
    "import nothing_of_this_name": "ModuleNotFoundError: No module named 'nothing_of_this_name'",
    "raise ValueError('first line\\nsecond line')": "ValueError: first line",
    "raise SystemExit(3)": "SystemExit: 3",
    "def backend(): return 1 / 0": "ZeroDivisionError: division by zero",
    "def backend(needed): pass": "TypeError: backend() missing 1 required positional argument: 'needed'",
    "another = 1": "AttributeError: module 'broken_11' has no attribute 'backend'",
    "backend = 'stepped'": "broken_11:backend makes a str; it must make a Backend",
    f"{BACKEND}('other', 'stepped', 'f32')": "its Backend has the name 'other'; give it that of the entry",
    f"{BACKEND}('broken', 'steped', 'f32')": "unknown execution 'steped': known are",
    f"{BACKEND}('broken', 'stepped', 'f99')": "unknown precision 'f99': known are",
    "from neuroforge_jax.errors import DeviceError\nraise DeviceError('it needs a moon')": "it needs a moon",
    "syntax error": "SyntaxError: invalid syntax",
}


@pytest.mark.parametrize("code", BROKEN, ids=BROKEN.values())
def test_a_broken_plugin_is_one_line_with_its_package_and_reason(code, site, capsys):
    number = list(BROKEN).index(code)
    offer(site, f"broken-{number}", {"broken": ":backend"}, code)
    assert main([*QUICK, "--backend", "broken"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    reason = BROKEN[code].replace("broken_11", f"broken_{number}")
    assert err.startswith(f"error: backend 'broken' of broken-{number} 1.0 is unavailable: {reason}")


def test_debug_shows_the_traceback_of_a_broken_plugin(site):
    offer(site, "traced", {"traced": ":backend"}, "def backend(): return 1 / 0")
    with pytest.raises(DeviceError) as caught:
        main([*QUICK, "--backend", "traced", "--debug"])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_two_plugins_of_one_name_are_both_refused_with_both_packages(site, capsys):
    for package in ("first", "second"):
        offer(site, package, {"twice": ":backend"}, "raise SystemExit('imported')")
    assert main([*QUICK, "--backend", "twice"]) == 5
    sentence = "first 1.0 and second 1.0 have one name for it; uninstall all but one"
    assert sentence in capsys.readouterr().err
    assert "first" not in sys.modules


@pytest.mark.parametrize("name", ["mixed", "auto"])
def test_a_built_in_name_cannot_be_replaced(name, site):
    offer(site, f"thief-of-{name}", {name: ":backend"}, f"{BACKEND}({name!r}, 'stepped', 'f32')")
    assert choose(nf.TrainConfig(backend=name)).backend.origin == ""
    (plugin,) = discover_backends()
    with pytest.raises(DeviceError, match=f"which thief-of-{name} 1.0 cannot replace"):
        load_backend(plugin)


def test_an_execution_of_a_plugin_is_cut_anywhere(installed, blobs, small_config, monkeypatch):
    """Seven steps an epoch, eight a dispatch: segments of every length, also across the end of an epoch."""
    monkeypatch.syspath_prepend(str(installed))
    losses = {}
    for name, cuts in {"stepped": (0, 21), "unrolled": (0, 1, 1, 10, 12, 21)}.items():
        config = replace(small_config, backend=name)
        model, state = nf.init(config, blobs)
        run = nf.prepare(config, model, blobs)
        each = []
        for first, last in pairwise(cuts):
            state, metrics = run(state, first, last)
            each.append(metrics.loss)
        losses[name] = np.concatenate(each)
    np.testing.assert_allclose(losses["unrolled"], losses["stepped"], rtol=1e-5)


def test_the_documentation_shows_the_example_as_it_is():
    assert_page_shows("backends.md", "Write a backend", BACKEND_EXAMPLE)
