"""How long one waits before anything is trained: the import, and the first step, cold and with kept programs."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from neuroforge_jax.benchmarking.harness import beside
from neuroforge_jax.benchmarking.statistics import Spread

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


def cases(reference: Callable[[], float]) -> list[dict[str, Any]]:
    """Each a process from its start to its end, in turn; those of the first step in an empty cache, and again.

    reference: of the harness, which tells how fast the machine was beside each.
    """
    seconds: dict[str, list[float]] = {}
    references: dict[str, list[float]] = {}

    def keep(name: str, code: str, variables: dict[str, str]) -> None:
        spent, reference_seconds = beside(reference, lambda: _seconds(code, variables))
        seconds.setdefault(name, []).append(spent)
        references.setdefault(name, []).append(reference_seconds)

    for _ in range(REPETITIONS):
        for name, code in IMPORTS.items():
            keep(name, code, {})
        with tempfile.TemporaryDirectory() as cache:
            variables = {"XDG_CACHE_HOME": cache, "JAX_ENABLE_COMPILATION_CACHE": "true"}
            for name in ("first step, cold", "first step, programs kept"):
                keep(name, FIRST_STEP, variables)
    return [
        {
            "name": f"startup/process/{name}",
            "group": "startup",
            "contender": name,
            "axis": {},
            "seconds": Spread.of(values).to_json(),
            "reference_seconds": references[name],
        }
        for name, values in seconds.items()
    ]


def _seconds(code: str, variables: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **variables})
    return time.perf_counter() - begun
