"""Real commands that compile once and find their programs again, whatever has become of the cache."""

import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from neuroforge_jax.backends.compiler import ONEDNN
from tests.reliability.processes import BARE_END, run, write_data
from tests.tiers import with_further

pytestmark = pytest.mark.faults

TRAINING = ["--dataset", "data.npz", "--hidden", "64", "--epochs", "2", "--optimizer", "adam"]
KEPT = [*TRAINING, "--backend", "stepped", "--batch-size", "32"]
"""A batch for which XLA's own products are used on every CPU, so that the program can be serialised."""

SWITCHED_ON = """
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "true"
os.environ["XDG_CACHE_HOME"] = os.path.abspath("cache")
"""

COUNTS = """
import jax.monitoring
def count(event, **_):
    if event.startswith("/jax/compilation_cache/cache_"):
        open("events", "a").write(event.rpartition("/")[2] + "\\n")
jax.monitoring.register_event_listener(count)
from neuroforge_jax.backends import compilation_cache
compilation_cache.MIN_SECONDS = 0
"""


@pytest.fixture(autouse=True)
def data(tmp_path):
    write_data(tmp_path)


def trained(folder, args, plant=""):
    """Its output, what it wrote to standard error, its weights, and how often it looked in vain or found."""
    (folder / "events").unlink(missing_ok=True)
    name = f"run{len(list(folder.glob('run*')))}"
    code, out, err = run([*args, "--run-dir", name], folder, SWITCHED_ON + plant + BARE_END + COUNTS)
    assert code == 0, err
    events = (folder / "events").read_text().split() if (folder / "events").exists() else []
    return out, err, load_file(folder / name / "params.safetensors"), events


def programs(folder):
    return sorted((folder / "cache").rglob("*-cache"))


@pytest.fixture(scope="module")
def cold_run(tmp_path_factory):
    """A folder in which KEPT was run once, its weights and what became of its programs."""
    folder = tmp_path_factory.mktemp("cold")
    write_data(folder)
    _, err, params, events = trained(folder, KEPT)
    assert err == ""
    return folder, params, events


@pytest.fixture
def cold(cold_run, tmp_path):
    """The weights of the run whose programs are kept here."""
    folder, params, events = cold_run
    if not events:
        pytest.skip("XLA complains of programs that it loads on this CPU")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return params


def test_a_second_run_compiles_nothing_and_is_the_same_run(cold, tmp_path):
    kept = programs(tmp_path)
    assert kept
    assert all(path.parent.stat().st_mode & 0o777 == 0o700 for path in kept)
    _, err, params, events = trained(tmp_path, KEPT)
    assert err == ""
    assert set(events) == {"cache_hits"}
    assert programs(tmp_path) == kept
    assert all(np.array_equal(cold[name], params[name]) for name in cold)


@pytest.mark.parametrize("damage", with_further(["flipped"], ["cut", "noise"]))
def test_damaged_programs_are_told_removed_and_compiled_anew(damage, cold, tmp_path):
    rng = np.random.default_rng(0)
    for path in programs(tmp_path):
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[int(rng.integers(len(content)))] ^= 4
        path.write_bytes(
            {"cut": content[: len(content) // 2], "flipped": content}.get(damage, rng.bytes(999))
        )
    kept = programs(tmp_path)
    out, err, params, events = trained(tmp_path, KEPT)
    assert err == ""
    assert "is damaged: it is removed and compiled anew" in " ".join(out.split())
    assert "cache_hits" not in events
    assert programs(tmp_path) == kept
    assert all(np.array_equal(cold[name], params[name]) for name in cold)
    assert set(trained(tmp_path, KEPT)[3]) == {"cache_hits"}


def test_a_cache_that_cannot_be_used_is_a_line(tmp_path):
    (tmp_path / "cache" / "neuroforge-jax").mkdir(parents=True)
    (tmp_path / "cache" / "neuroforge-jax" / "compiled").write_text("a file")
    out, err, _, events = trained(tmp_path, KEPT)
    assert err == ""
    if events != []:
        assert "compiled programs are not kept: " in " ".join(out.split())
    assert programs(tmp_path) == []


def test_a_full_disk_under_the_cache_is_a_line(tmp_path):
    plant = """
from jax._src.lru_cache import LRUCache
def full(*_):
    raise OSError(28, "No space left on device")
LRUCache.put = full
"""
    out, err, _, events = trained(tmp_path, KEPT, plant)
    assert err == ""
    if events:
        assert "No space left on device" in out
    assert programs(tmp_path) == []


@pytest.mark.parametrize("own", [False, True])
def test_what_goes_through_onednn_stays_out(own, tmp_path):
    """jax would warn of it, at every start."""
    from neuroforge_jax.backends.table import BACKENDS

    if ONEDNN not in dict(BACKENDS["optimized"].options(16)):
        pytest.skip("nothing goes through oneDNN here")
    plant = """
from neuroforge_jax.backends import compiler
compiler.REPAYS_FROM_FLOPS.update({False: 0, True: 0})
"""
    plant += 'os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.abspath("cache")' if own else ""
    args = [*TRAINING, "--backend", "optimized", "--batch-size", "16"]
    _, err, _, _ = trained(tmp_path, args, plant)
    assert err == ""
    assert programs(tmp_path) == []


def test_the_switch_of_jax_is_the_switch(tmp_path):
    _, err, _, events = trained(tmp_path, KEPT, 'os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"')
    assert (err, events) == ("", [])
    assert programs(tmp_path) == []


def test_a_cache_of_the_users_own_place_is_used(cold, tmp_path):
    plant = 'os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.abspath("mine")'
    settings = '\nos.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"'
    _, err, _, _ = trained(tmp_path, KEPT, plant + settings)
    assert err == ""
    assert list((tmp_path / "mine").glob("*-cache"))
    assert os.environ.get("JAX_COMPILATION_CACHE_DIR") is None
