"""What the doctor sees, and what it advises for machines that are not at hand."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from neuroforge_jax.backends.compilation_cache import Place
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.doctor.__main__ import main
from neuroforge_jax.doctor.advice import advice
from neuroforge_jax.doctor.diagnosis import Device, Kernels, diagnose, to_json
from neuroforge_jax.system.accelerators import Accelerator
from neuroforge_jax.system.cpu import Cores
from neuroforge_jax.system.memory import Memory
from tests.plugins import offer


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """This machine, as a quiet one with nothing to mend: jax 0.12 on two cores with bf16 units, and no more."""
    real = diagnose(tmp_path_factory.mktemp("data"))
    onednn = replace(real.compile_options[0], options={"xla_cpu_experimental_onednn_custom_call": True})
    return replace(
        real,
        python="3.13.0",
        versions={"jax": "0.12.0.1", "jaxlib": "0.12.0.1"},
        variables={},
        cores=Cores(2, 2, None, 0.1),
        memory=Memory(16 * 10**9, 8 * 10**9, None),
        accelerators=(),
        devices=(Device("cpu", "cpu", None, None, ""),),
        compile_options=(onednn,),
        precision=replace(
            real.precision,
            bf16_flags=("avx512_bf16",),
            bf16_units=True,
            bf16_pays=True,
            bf16_from_step_flops=5e7,
            reason="",
        ),
        kernels=Kernels(None, (), ("f32", "bf16", "fp16"), 0),
        compilation_cache=Place("here", ""),
    )


@pytest.mark.parametrize("onednn", [True, False])
def test_what_cannot_be_kept_is_told_with_its_thresholds_where_there_is_onednn(
    onednn, seen, capsys, monkeypatch
):
    options = seen.compile_options if onednn else (replace(seen.compile_options[0], options={}),)
    here = replace(seen, compile_options=options)
    monkeypatch.setattr("neuroforge_jax.doctor.diagnosis.diagnose", lambda data_dir: here)
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the doctor sets it where it is not set
    assert main([]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "compiled programs are kept in here" in out
    sentence = (
        "those through oneDNN cannot be, so that only trainings of 2.5 TFLOP and more (0.7 in bf16) use it"
    )
    assert (sentence in out) == ("TFLOP" in out) == onednn


def test_every_backend_is_there_with_its_state_and_reason(seen):
    rows = {row.name: row for row in seen.backends}
    assert list(rows)[: len(BACKENDS)] == list(BACKENDS)
    assert (rows["mixed"].status, rows["mixed"].reason) == ("ready", "")
    assert rows["cuda-naive"].status == "absent"
    assert "needs cuda" in rows["cuda-naive"].reason
    assert rows["pallas"].status == "absent"
    assert "there are none for cpu" in rows["pallas"].reason
    assert all(row.reason for row in seen.backends if row.status != "ready")
    assert seen.auto == "optimized"


def test_the_options_are_those_of_the_backends(seen, tmp_path):
    for row in diagnose(tmp_path).compile_options:
        name = {"f32": "optimized", "bf16": "mixed"}[row.precision]
        assert row.options == dict(BACKENDS[name].options(row.batch_size))


def test_datasets_are_counted_by_their_files(tmp_path):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(b"12345")
    states = {files.name: files for files in diagnose(tmp_path).datasets}
    assert (states["mnist"].state, states["mnist"].size_bytes) == ("1 of 4 files", 5)
    assert states["fashion-mnist"].state == "absent"
    assert states["digits"].state == "embedded"


def test_plugins_are_listed_the_broken_ones_too(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = "from neuroforge_jax.backends.table import Backend\nfine = Backend('fine', 'stepped', 'bf16')"
    offer(tmp_path, "listed", {"fine": ":fine", "gone": ":gone", "mixed": ":fine"}, code)
    offer(tmp_path, "rival", {"gone": ":gone"}, "raise SystemExit('imported')")
    rows = [row for row in diagnose(tmp_path).backends if row.origin]
    assert [(row.name, row.origin, row.status) for row in rows] == [
        ("fine", "listed 1.0", "ready"),
        ("gone", "listed 1.0", "unavailable"),
        ("gone", "rival 1.0", "unavailable"),
        ("mixed", "listed 1.0", "unavailable"),
    ]
    assert "listed 1.0 and rival 1.0 have one name for it" in rows[1].reason
    assert "which listed 1.0 cannot replace" in rows[3].reason
    assert "rival" not in sys.modules


def test_kernels_of_packages_are_listed_with_what_they_take(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "from neuroforge_jax import DenseKernel\n"
        "fine = DenseKernel('fine', print, dtypes='bfloat16', devices='cpu')\n"
        "far = DenseKernel('far', print, dtypes='float32', devices='tpu')"
    )
    entries = {"fine": ":fine", "far": ":far", "gone": ":gone", "xla": ":fine"}
    offer(tmp_path, "listed-layers", entries, code, "kernel")
    rows = {row.name: row for row in diagnose(tmp_path).kernel_plugins}
    assert {name: row.status for name, row in rows.items()} == {
        "fine": "ready",
        "far": "absent",
        "gone": "unavailable",
        "xla": "unavailable",
    }
    assert (rows["fine"].dtypes, rows["fine"].devices, rows["fine"].origin) == (
        ("bf16",),
        "cpu",
        "listed-layers 1.0",
    )
    assert "it needs tpu, and this device is cpu" in rows["far"].reason
    assert "which listed-layers 1.0 cannot replace" in rows["xla"].reason


def test_a_machine_with_nothing_to_mend_gets_no_advice(seen):
    assert advice(seen) == ()


GPU = (Accelerator("NVIDIA", "535.104.05"),)
NEW_GPU = (Accelerator("NVIDIA", "580.65.06"),)
CUDA = {"jax": "0.12.0.1", "jaxlib": "0.12.0.1", "jax-cuda12-plugin": "0.12.0.1"}
ADVICE = {
    "an old Python": (
        {"python": "3.11.7", "versions": {"jax": "0.10.2", "jaxlib": "0.10.2"}, "slow": "slow"},
        "with jax 0.11 or later bf16 is faster than float32 on this CPU; Python 3.12 or later brings it; this is",
    ),
    "an old jax on a new Python": (
        {"versions": {"jax": "0.10.2", "jaxlib": "0.10.2"}, "slow": "slow"},
        "this is jax 0.10.2: python -m pip install -U jax",
    ),
    "oneDNN held back": (
        {"variables": {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "units": False, "slow": "no units"},
        "ONEDNN_MAX_CPU_ISA=AVX2 keeps oneDNN from this CPU's bf16 units; unset it",
    ),
    "a quota": (
        {"cores": Cores(8, 8, 1.5, 0.0)},
        "the control group grants the time of 1.5 cores, and jax starts threads for 8",
    ),
    "an affinity": ({"cores": Cores(8, 2, None, 0.0)}, "this process may run on 2 of 8 cores"),
    "other work": ({"cores": Cores(2, 2, None, 1.26)}, "other work takes 1.3 of 2 cores now"),
    "little memory": (
        {"memory": Memory(4 * 10**9, 3 * 10**8, None)},
        "only 300 MB of memory are free",
    ),
    "a GPU without its package": (
        {"accelerators": GPU},
        "NVIDIA hardware is here (driver 535.104.05), and jax does not use it: "
        'python -m pip install -e ".[cuda12]"',
    ),
    "a GPU with a new driver": ({"accelerators": NEW_GPU}, ".[cuda13]"),
    "a GPU left out": (
        {"accelerators": GPU, "versions": CUDA, "variables": {"JAX_PLATFORMS": "cpu"}},
        "JAX_PLATFORMS=cpu leaves it out; unset it",
    ),
    "a GPU whose driver fails": ({"accelerators": GPU, "versions": CUDA}, "look whether its driver runs"),
    "packages that differ": (
        {"versions": {**CUDA, "jax-cuda12-plugin": "0.11.2"}},
        "jax-cuda12-plugin 0.11.2 is not for jaxlib 0.12.0.1",
    ),
    "a TPU": ({"accelerators": (Accelerator("TPU", None),)}, ".[tpu]"),
    "an AMD GPU": ({"accelerators": (Accelerator("AMD", None),)}, "jax has packages for ROCm"),
    "a device that fails": (
        {"devices": (Device("gpu", "NVIDIA H100", 1, 0, "out of memory"),)},
        "the NVIDIA H100 fails: out of memory",
    ),
    "no jit": ({"variables": {"JAX_DISABLE_JIT": "1"}}, "JAX_DISABLE_JIT runs every operation on its own"),
    "one thread": (
        {"variables": {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}},
        "XLA_FLAGS has xla_cpu_multi_thread_eigen=false",
    ),
    "few threads": ({"variables": {"NPROC": "1"}}, "NPROC=1 keeps jax to fewer threads"),
    "no cache": (
        {"variables": {"JAX_ENABLE_COMPILATION_CACHE": "false"}},
        "JAX_ENABLE_COMPILATION_CACHE is false",
    ),
}


@pytest.mark.parametrize(("changes", "sentence"), ADVICE.values(), ids=ADVICE)
def test_advice_names_what_is_wrong_and_what_to_do(changes, sentence, seen):
    changes = dict(changes)
    slow, units = changes.pop("slow", ""), changes.pop("units", True)
    precision = replace(
        seen.precision, bf16_units=units, reason=slow, bf16_from_step_flops=None if slow else 5e7
    )
    told = advice(replace(seen, precision=precision, **changes))
    assert any(sentence in line for line in told), told
    assert all("\n" not in line for line in told)


def test_a_cpu_whose_bf16_does_not_pay_is_advised_no_newer_jax(seen):
    """None would make it the faster precision there."""
    slow = replace(seen.precision, bf16_from_step_flops=None, reason="slow")
    assert any("bf16 is faster" in line for line in advice(replace(seen, precision=slow)))
    assert not any("bf16" in line for line in advice(replace(seen, precision=replace(slow, bf16_pays=False))))


def test_a_gpu_in_use_needs_no_advice_for_the_cpu(seen):
    devices = (Device("gpu", "NVIDIA H100", 10**11, 0, ""),)
    slow = replace(seen.precision, bf16_from_step_flops=None, reason="slow")
    assert advice(replace(seen, devices=devices, accelerators=GPU, precision=slow)) == ()


def test_the_record_has_everything_and_no_path(seen):
    """Paths come in through variables, failures of plugins and the cache; sentences with a / are no paths."""
    home = str(Path.home())
    broken = replace(seen.backends[0], reason=f"OSError: {home}/lib/x.so: cannot open 'a/b.so', 3 samples/s")
    variables = {"XLA_FLAGS": "--xla_dump_to=/tmp/dump --xla_x=1", "JAX_COMPILATION_CACHE_DIR": "/tmp/cache"}
    variables["JAX_DISABLE_JIT"] = "1"
    seen = replace(
        seen,
        backends=(broken,),
        variables=variables,
        compilation_cache=Place("/tmp/cache", "by JAX_COMPILATION_CACHE_DIR"),
        data_folder=Path(home),
    )
    record = to_json(seen, advice(seen))
    text = json.dumps(record)
    assert home not in text
    assert "/tmp" not in text
    assert record["backends"][0]["reason"] == "OSError: <path>: cannot open 'a/b.so', 3 samples/s"
    assert record["variables"]["XLA_FLAGS"] == "--xla_dump_to=<path> --xla_x=1"
    assert record["compilation_cache"] == {"on": True, "reason": "by JAX_COMPILATION_CACHE_DIR"}
    assert record["advice"]
    assert {"versions", "devices", "cores", "memory", "precision", "datasets"} <= record.keys()
