"""The command that checks a plugin: the examples hold every check, and mistakes of its user are one line."""

import json
import os
import subprocess
import sys

import pytest

from neuroforge_jax import verify
from neuroforge_jax.errors import VerificationError
from tests.plugins import BACKEND_EXAMPLE, KERNEL_EXAMPLE, ROOT, install, offer


def run_module(module, path, *args):
    """A command in a process of its own, with these folders to import from."""
    return subprocess.run(
        [sys.executable, "-m", f"neuroforge_jax.{module}", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])), "JAX_PLATFORMS": "cpu"},
    )


TOGETHER = (
    *(
        "--dataset",
        "digits",
        "--hidden",
        "32",
        "--batch-size",
        "64",
        "--epochs",
        "5",
        "--learning-rate",
        "0.3",
    ),
    *("--backend", "unrolled", "--kernels", "tiles"),
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folders of both examples."""
    folder = tmp_path_factory.mktemp("examples")
    return [install(example, folder / example.name) for example in (BACKEND_EXAMPLE, KERNEL_EXAMPLE)]


@pytest.mark.slow
def test_both_examples_hold_every_check_once_they_are_installed(installed, tmp_path):
    for name, kind in (("unrolled", "backend"), ("tiles", "kernel")):
        record = tmp_path / f"{name}.json"
        done = run_module("verify", installed, "--plugin", name, "--output", str(record))
        assert (done.returncode, done.stderr) == (0, "")
        assert "✗" not in done.stdout
        outcome = json.loads(record.read_text())
        assert outcome["passed"]
        assert outcome["plugins"][0]["kind"] == kind
        assert outcome["plugins"][0]["origin"] == f"neuroforge-{name} 0.1.0"


@pytest.mark.slow
def test_both_examples_train_together(installed, tmp_path):
    done = run_module("train", installed, *TOGETHER, "--run-dir", str(tmp_path / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    named = "(as named, from neuroforge-unrolled 0.1.0, layers by tiles of neuroforge-tiles 0.1.0): unrolled"
    assert named in " ".join(done.stdout.split())
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["plugin"] == "neuroforge-unrolled 0.1.0"
    assert environment["kernels_plugin"] == "neuroforge-tiles 0.1.0"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"] > 0.8


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, in which the command is run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = """
import jax.numpy as jnp
import neuroforge_jax as nf
def dense(x, kernel, bias, activation):
    return jnp.dot(x, kernel).astype(jnp.bfloat16)
half = nf.DenseKernel("half", dense, dtypes="float32", devices="cpu")
far = nf.DenseKernel("far", dense, dtypes="float32", devices="tpu")
"""


def test_the_command_names_what_is_wrong_and_records_it(site, capsys):
    offer(site, "wrong", {"half": ":half", "far": ":far"}, WRONG, "kernel")
    assert verify.main(["--plugin", "half", "--output", "half.json"]) == 7
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "half of wrong 1.0: f32 on cpu, gradient: xla"
    assert "  ✓ takes this device, cpu\n  ✗ runs under jax.jit" in out
    assert err.startswith("error: kernel 'half': 1 of 2 checks fail; runs under jax.jit")
    assert "must give float32 [33, 21]" in err
    assert len(err.splitlines()) == 1
    (plugin,) = json.loads((site / "half.json").read_text())["plugins"]
    assert (plugin["name"], plugin["origin"], plugin["passed"]) == ("half", "wrong 1.0", False)
    assert [check["passed"] for check in plugin["checks"]][:2] == [True, False]


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (
            "--plugin hlaf",
            2,
            "known are gone, half; did you mean 'half'? (gone: kernel of misnamed 1.0, half:",
        ),
        ("--plugin gone", 5, "kernel 'gone' of misnamed 1.0 is unavailable: AttributeError"),
        (
            "--plugin half --backend mixed",
            2,
            "--plugin checks a plugin as it is, and --backend is for backends",
        ),
        ("--plugin half --output none/half.json", 2, "there is no folder none"),
    ],
)
def test_a_mistake_of_the_command_is_one_line(args, code, sentence, site, capsys):
    offer(site, "misnamed", {"half": ":half", "gone": ":gone"}, WRONG, "kernel")
    assert verify.main(args.split()) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_where_a_plugin_raises_its_traceback_can_be_seen(site, capsys):
    code = "import neuroforge_jax as nf\ndef dense(x, kernel, bias, activation):\n    return {}['oops']\n"
    code += "raises = nf.DenseKernel('raises', dense, dtypes='float32', devices='cpu')\n"
    offer(site, "raising", {"raises": ":raises"}, code, "kernel")
    assert verify.main(["--plugin", "raises"]) == 7
    assert "return {}['oops']" not in capsys.readouterr().out
    with pytest.raises(VerificationError, match="KeyError: 'oops'"):
        verify.main(["--plugin", "raises", "--debug"])
    out = capsys.readouterr().out
    assert 'raising.py", line 3, in dense' in out
    assert "return {}['oops']" in out


def test_without_any_plugin_the_page_is_named(site, capsys):
    assert verify.main(["--plugin", "tiles"]) == 2
    assert "no package is installed that declares one; see docs/backends.md" in capsys.readouterr().err
