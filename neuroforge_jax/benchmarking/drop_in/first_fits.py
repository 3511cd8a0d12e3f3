"""How long the first fit of a new process takes, in which our network compiles its programs or reads kept ones.

Both networks have their default parameters. Each side has a process of its own. Ours has two, one after the other:
the first finds an empty cache folder, the second the programs that the first has kept there. The time is that of
the fit; the import and the whole process stand beside it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from neuroforge_jax.benchmarking.drop_in.goals import delay_goal
from neuroforge_jax.benchmarking.drop_in.networks import MODULES, ONE_THREAD, OURS, THEIRS, TURNS
from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.sides import Outcome, Side
from neuroforge_jax.benchmarking.statistics import Spread

LOADERS = {"digits": "load_digits", "breast-cancer": "load_breast_cancer"}
NOTHING_KEPT, KEPT = f"{OURS}, nothing kept", f"{OURS}, programs kept"
MOST_MORE = {NOTHING_KEPT: 4.0, KEPT: 1.5}
"""Seconds that a first fit of ours may take longer."""

ORDER = (NOTHING_KEPT, KEPT, THEIRS, ONE_THREAD)
THREADS = {ONE_THREAD: {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}}

FIRST_FIT = """
import json, time
from sklearn.datasets import {loader}
from sklearn.preprocessing import StandardScaler
x, y = {loader}(return_X_y=True)
x = StandardScaler().fit_transform(x).astype("float32")
begun = time.perf_counter()
from {module} import MLPClassifier
network = MLPClassifier(random_state=0, max_iter={max_iter})
imported = time.perf_counter()
network.fit(x, y)
print(json.dumps([time.perf_counter() - imported, imported - begun]))
"""
MAX_ITER = 200
"""scikit-learn's default."""


@dataclass(frozen=True)
class FirstFit:
    """Seconds of one process: of its fit, of importing the network, and from its start to its end."""

    fit: float
    imports: float
    process: float


def names() -> list[str]:
    """Of the rows."""
    return [name for data in LOADERS for name in _names(data).values()]


def cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Four rows for each data set. reference: of the harness, which is measured beside each process."""
    for data in LOADERS:
        if any(map(options.selects, _names(data).values())):
            yield from _measure(data, min(options.seeds, TURNS), reference)


def _names(data: str) -> dict[str, str]:
    return {who: f"sklearn/first fit of {data}/{who}" for who in ORDER}


def fit_in_process(who: str, data: str, cache: str) -> FirstFit:
    """A process whose cache folder is this one."""
    module = MODULES[who if who in MODULES else OURS]
    code = FIRST_FIT.format(loader=LOADERS[data], module=module, max_iter=MAX_ITER)
    folders = {"XDG_CACHE_HOME": cache, "JAX_ENABLE_COMPILATION_CACHE": "true"}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True, env={**os.environ, **folders, **THREADS.get(who, {})}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process = time.perf_counter() - begun
    fit, imports = json.loads(done.stdout.splitlines()[-1])
    return FirstFit(fit, imports, process)


def _measure(data: str, turns: int, reference: Callable[[], float]) -> list[dict[str, Any]]:
    """The processes of ours keep their order, for the second needs what the first has kept."""
    sides = {who: Side() for who in _names(data)}
    found: dict[str, list[FirstFit]] = {who: [] for who in sides}

    def take(who: str, cache: str) -> Outcome:
        found[who].append(fit_in_process(who, data, cache))
        return Outcome(found[who][-1].fit)

    for turn in range(turns):
        order = (*ORDER[2:], *ORDER[:2]) if turn % 2 else ORDER
        with tempfile.TemporaryDirectory() as cache:
            for who in order:
                sides[who].take_turn(partial(take, who, cache), reference)
    rows = []
    for who, name in _names(data).items():
        told = sides[who].describe(name)
        told["import_seconds"] = Spread.of([one.imports for one in found[who]]).to_json()
        told["process_seconds"] = Spread.of([one.process for one in found[who]]).to_json()
        if who in MOST_MORE:
            told["goals"] = [delay_goal(sides, who, MOST_MORE[who]).to_json()]
        rows.append(told)
    return rows
