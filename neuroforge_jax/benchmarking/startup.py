"""How long one waits before anything is trained: the import, and the first step, cold and with kept programs."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side

REPETITIONS = 5
IMPORTS = {
    "python": "pass",
    "import neuroforge_jax": "import neuroforge_jax",
    "import fit": "from neuroforge_jax import fit, load_dataset",
}
FIRST_STEP = """
import sys
import neuroforge_jax as nf
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.backends.compilation_cache import keep_programs
config, data = nf.TrainConfig(hidden=(1024, 512), batch_size=32, backend="optimized"), random_pixels(4096)
backend = BACKENDS["optimized"]
with keep_programs(backend.device, backend.options(32), lambda text: None):
    model, state = nf.init(config, data)
    run = nf.prepare(config, model, data)
    state, metrics = run(state, 0, 1)
    metrics.loss
"""
"""To the end of the first step; at batch 32 the program can be kept on every CPU."""

FIRST_STEPS = ("first step, cold", "first step, programs kept")
"""The second one needs the cache that the first one has filled."""


def names() -> list[str]:
    """Of the rows."""
    return [_name(what) for what in (*IMPORTS, *FIRST_STEPS)]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Each a process from its start to its end, in turn; those of the first step in an empty cache, and again.

    reference: of the harness, which tells how fast the machine was beside each.
    """
    chosen = [what for what in (*IMPORTS, *FIRST_STEPS) if options.selects(_name(what))]
    sides = {what: Side() for what in (*IMPORTS, *FIRST_STEPS)}
    for _ in range(REPETITIONS):
        for what, code in IMPORTS.items():
            if what in chosen:
                sides[what].take_turn(partial(_run, code, {}), reference)
        if any(what in chosen for what in FIRST_STEPS):
            with tempfile.TemporaryDirectory() as cache:
                variables = {"XDG_CACHE_HOME": cache, "JAX_ENABLE_COMPILATION_CACHE": "true"}
                for what in FIRST_STEPS:
                    sides[what].take_turn(partial(_run, FIRST_STEP, variables), reference)
    for what in chosen:
        yield sides[what].describe(_name(what))


def _name(what: str) -> str:
    return f"startup/process/{what}"


def _run(code: str, variables: Mapping[str, str]) -> Outcome:
    """A process of this code, from its start to its end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **variables})
    return Outcome(time.perf_counter() - begun)
