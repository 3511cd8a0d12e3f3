"""NeuroForge JAX: multilayer perceptrons as pure functions, compiled by XLA.

    import neuroforge_jax as nf
    config = nf.TrainConfig(hidden=(1024, 512), batch_size=64, backend="mixed")
    dataset = nf.load_dataset("mnist")
    result = nf.fit(config, dataset)

The names are loaded where they are first used: importing the package imports nothing heavy.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from neuroforge_jax.backends.executors.base import Execution, ExecutorSpec, SegmentMetrics, Streaming
    from neuroforge_jax.backends.table import BACKENDS, Backend
    from neuroforge_jax.callbacks.base import Callback
    from neuroforge_jax.callbacks.console import Console
    from neuroforge_jax.config import DataConfig, RunOptions, TrainConfig
    from neuroforge_jax.data.batch import draw_batch, to_device
    from neuroforge_jax.data.datasets import load_dataset
    from neuroforge_jax.data.stream import ArraySource, IteratorSource
    from neuroforge_jax.data.types import Dataset, Split
    from neuroforge_jax.job.importance import permutation_importance
    from neuroforge_jax.job.pieces import (
        evaluate,
        init,
        parts,
        predict,
        predict_proba,
        prepare,
        steps_per_epoch,
    )
    from neuroforge_jax.kernels.dense_kernel import DenseKernel
    from neuroforge_jax.kernels.forms import activate
    from neuroforge_jax.model.io import load
    from neuroforge_jax.population import PopulationResult, fit_population
    from neuroforge_jax.profiling.step_parts import StepParts, step_parts
    from neuroforge_jax.report.callback import Report
    from neuroforge_jax.run import Result, fit
    from neuroforge_jax.sklearn import MLPClassifier, MLPRegressor, from_sklearn
    from neuroforge_jax.system.spans import PerformanceMonitor
    from neuroforge_jax.verification.checks import verify_backend
    from neuroforge_jax.verification.conformance import verify_plugin

_HOMES = {
    "ArraySource": "data.stream",
    "BACKENDS": "backends.table",
    "Backend": "backends.table",
    "Callback": "callbacks.base",
    "Console": "callbacks.console",
    "Dataset": "data.types",
    "DataConfig": "config",
    "DenseKernel": "kernels.dense_kernel",
    "Execution": "backends.executors.base",
    "ExecutorSpec": "backends.executors.base",
    "IteratorSource": "data.stream",
    "MLPClassifier": "sklearn",
    "MLPRegressor": "sklearn",
    "PerformanceMonitor": "system.spans",
    "PerformanceProfiler": "profiling.profiler",
    "PopulationResult": "population",
    "Result": "run",
    "Report": "report.callback",
    "RunOptions": "config",
    "SegmentMetrics": "backends.executors.base",
    "Split": "data.types",
    "StepParts": "profiling.step_parts",
    "Streaming": "backends.executors.base",
    "TrainConfig": "config",
    "activate": "kernels.forms",
    "draw_batch": "data.batch",
    "evaluate": "job.pieces",
    "fit": "run",
    "fit_population": "population",
    "from_sklearn": "sklearn",
    "init": "job.pieces",
    "load": "model.io",
    "load_dataset": "data.datasets",
    "parts": "job.pieces",
    "predict": "job.pieces",
    "predict_proba": "job.pieces",
    "permutation_importance": "job.importance",
    "prepare": "job.pieces",
    "step_parts": "profiling.step_parts",
    "steps_per_epoch": "job.pieces",
    "to_device": "data.batch",
    "verify_backend": "verification.checks",
    "verify_plugin": "verification.conformance",
}

__all__ = [  # noqa: RUF022 (in the order of a reader's interest)
    "TrainConfig",
    "DataConfig",
    "RunOptions",
    "load_dataset",
    "Dataset",
    "Split",
    "fit",
    "Result",
    "Callback",
    "Console",
    "Report",
    "MLPClassifier",
    "MLPRegressor",
    "from_sklearn",
    "fit_population",
    "PopulationResult",
    "init",
    "prepare",
    "parts",
    "steps_per_epoch",
    "evaluate",
    "predict",
    "predict_proba",
    "permutation_importance",
    "load",
    "verify_backend",
    "ArraySource",
    "IteratorSource",
    "Streaming",
    "BACKENDS",
    "Backend",
    "Execution",
    "ExecutorSpec",
    "SegmentMetrics",
    "draw_batch",
    "to_device",
    "DenseKernel",
    "activate",
    "verify_plugin",
    "PerformanceMonitor",
    "PerformanceProfiler",
    "step_parts",
    "StepParts",
]


class _Package(ModuleType):
    """`predict` and `evaluate` are functions here, and commands of the same names: importing the module of a
    command must not take the function's place.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
