"""Every test runs on the CPU, away from the user's folders, and trains on data small enough to be quick."""

import dataclasses
import os
from types import SimpleNamespace

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")  # of one CPU, for meshes; all else takes the first
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
os.environ["XDG_DATA_DIRS"] = "/nowhere"  # what this machine has installed is no part of a test

from jaxtyping import install_import_hook

from tests import typechecker

# Functions of arrays. Registered states are left out: jax builds them from other things than arrays too.
CHECKED = (
    "nn",
    "precision.policy",
    # Not `kernels.fused`, whose own checks of shapes are under test.
    "kernels.hopper",
    "kernels.reference",
    "kernels.tpu",
    "kernels.xla",
    "model.model",
    "training.optimizer",
    "data.types",
    "data.shuffle",
    "training.schedules",
)
install_import_hook([f"neuroforge_jax.{name}" for name in CHECKED], f"{typechecker.__name__}.check")

import numpy as np
import pytest

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.system.program_cache import forget_programs


def make_blobs(samples: int = 203, inputs: int = 13, classes: int = 4, seed: int = 0) -> Dataset:
    """Classes that can be told apart: noisy uint8 copies of one pattern a class. Sizes are odd on purpose."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 200, (classes, inputs))
    labels = rng.integers(0, classes, samples + 57).astype(np.int32)
    pixels = (patterns[labels] + rng.integers(0, 56, (samples + 57, inputs))).astype(np.uint8)
    return Dataset.from_arrays(
        pixels[:samples],
        labels[:samples],
        pixels[samples:],
        labels[samples:],
        name="blobs",
        classes=[f"class {index}" for index in range(classes)],
    )


def untested(with_validation: bool = False) -> Dataset:
    """Data of which none is to test on."""
    blobs = make_blobs()
    held = (blobs.test.inputs, blobs.test.targets) if with_validation else None
    return Dataset.from_arrays(blobs.train.inputs, blobs.train.targets, validation=held, name="untested")


def numbers_to_predict(target) -> Dataset:
    """400 samples, a quarter of them to test on, whose two targets are this of two linear numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5)).astype(np.float32)
    y = target(x @ rng.normal(size=(5, 2)) / 2).astype(np.float32)
    return Dataset.from_arrays(x[:300], y[:300], x[300:], y[300:])


@pytest.fixture
def blobs() -> Dataset:
    return make_blobs()


SMALL_CONFIG = TrainConfig(hidden=(16,), batch_size=32, epochs=3, learning_rate=0.1, backend="optimized")


@pytest.fixture
def small_config() -> TrainConfig:
    return SMALL_CONFIG


@pytest.fixture
def config(small_config) -> TrainConfig:
    """28 steps, for which the program of other tests' 21 is compiled."""
    return dataclasses.replace(small_config, epochs=4)


def pytest_collection_modifyitems(items):
    """Those of full effort together, for a change of effort makes every program anew; and slow ones before quick
    ones, of which the workers take equal parts at the end. Else as they were.
    """
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("full_effort", "slow")])


full_effort = True
"""Whether LLVM does all it can now, in this process and in those that a test starts."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Half of what LLVM would do takes a quarter off the time of a test; what is marked full_effort has all of it.

    What XLA does before (fusion, the layout of memory) is the same. The program that draws the first weights asks
    for an effort of its own, and gets the test's. Fixtures of a module come after: they are compiled as its tests
    are.
    """
    import jax

    from neuroforge_jax.backends import compiler
    from neuroforge_jax.job import job

    global full_effort
    wanted = item.get_closest_marker("full_effort") is not None
    if wanted != full_effort:
        full_effort = wanted
        jax.config.update("jax_disable_most_optimizations", not wanted)
        os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(not wanted)
        job.options_of_what_runs_once = compiler.options_of_what_runs_once if wanted else lambda platform: ()
        forget_programs()


@pytest.fixture(autouse=True)
def peak_of_another_day(monkeypatch):
    """The machine's peak is measured at the end of a run, and is not what the tests are about."""
    monkeypatch.setattr("neuroforge_jax.job.summary.peak_of_this_process", lambda *_: 1e12)


@pytest.fixture
def traced_alone(monkeypatch):
    """The programs of a job's first state are traced and not compiled, for what looks at shapes."""
    import jax

    def trace(program, device, *args):
        return SimpleNamespace(out_info=jax.eval_shape(program, *args))

    monkeypatch.setattr("neuroforge_jax.job.job.start_compiling", trace)


@pytest.fixture
def compilations(caplog):
    """The names of the programs that XLA compiles while a test runs, beside those that are there from others."""
    import jax
    import jax.monitoring

    names: list[str] = []

    def note(event: str, duration: float, **details: object) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(str(details.get("fun_name", "program")))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)
