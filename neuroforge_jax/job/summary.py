"""What a person reads before and after a run: header, final figures, table."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jax

from neuroforge_jax.backends.peak import matmul_peak_flops
from neuroforge_jax.backends.resolve import precision_advice
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.quality_rows import Rows, describe_majority, quality_rows
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.nn.mlp import count, train_flops
from neuroforge_jax.precision.policy import short_name
from neuroforge_jax.system import memory
from neuroforge_jax.system.accelerators import accelerators
from neuroforge_jax.system.cpu import processor_name
from neuroforge_jax.system.provenance import device_name, installed_version
from neuroforge_jax.training.best import BestEpoch, Selection
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.monitor import Monitor
from neuroforge_jax.training.progress import Record
from neuroforge_jax.training.step import Training

peak_of_this_process: Callable[..., float] = cache(matmul_peak_flops)
"""Measured once: it takes a third of a second, and a second training finds the same machine."""


def header_rows(job: Job) -> Rows:
    """What is going to be trained, on what, and why so."""
    backend, mlp, training, dataset = job.backend, job.model.mlp, job.training, job.dataset
    config, per_epoch = job.config, job.steps_per_epoch
    shape = "×".join(map(str, dataset.shape))
    others = {"validation": dataset.validation, "test": dataset.test}
    sizes = [f"{dataset.samples:,} training"]
    sizes += [f"{len(split):,} {part}" for part, split in others.items() if split is not None]
    plural = "" if dataset.outputs == 1 else "s"
    what = {
        "classification": "classes",
        "multilabel": f"label{plural}",
        "regression": f"number{plural} to predict",
    }
    widths = "-".join(map(str, (mlp.inputs, *mlp.hidden, mlp.outputs)))
    rows = [
        ("data", f"{dataset.name}: {dataset.origin}"),
        ("", f"{', '.join(sizes)} samples of {shape}, {dataset.outputs} {what[dataset.target.task]}"),
        *(("", note) for note in dataset.notes),
        ("device", f"{_describe_devices(job)}, jax {jax.__version__}"),
        (
            "backend",
            f"{backend.name} ({job.reason}): {backend.executor.name}, {job.policy}, {backend.kernels}",
        ),
        ("precision", job.policy.path(job.device.platform) + _describe_loss_scale(training)),
        ("network", f"{widths} {_traits(config)}, {count(mlp):,} parameters"),
        (
            "training",
            f"{config.optimizer}, {config.schedule} learning rate {config.learning_rate:g}, batch "
            f"{config.batch_size:,}{_describe_shards(job)}, {_epochs(config.epochs)} of {per_epoch:,} steps",
        ),
        ("work", f"{train_flops(mlp) / 1e6:.3g} MFLOP a sample"),
        ("memory", str(job.memory)),
    ]
    notes = (
        unused_accelerator(backend),
        precision_advice(backend, train_flops(mlp) * config.batch_size),
        describe_majority(dataset),
    )
    return [*rows, *(("note", note) for note in notes if note)]


def unused_accelerator(backend: Backend) -> str:
    """That hardware is here for which this jax is not installed, and how to install it; "" where there is none."""
    if backend.device.platform != "cpu":
        return ""
    for accelerator in accelerators():
        if accelerator.extra and not any(map(installed_version, accelerator.packages)):
            return (
                f"{accelerator.maker} hardware is here, and the jax that is installed runs on CPUs alone; to train "
                f'on it: python -m pip install -e ".[{accelerator.extra}]"'
            )
    return ""


def _describe_devices(job: Job) -> str:
    name, placement = device_name(job.device), job.placement
    return name if placement.mesh is None else f"{placement.devices} × {name}, as {placement}"


def _describe_shards(job: Job) -> str:
    parts, shards = job.placement.parts("batch"), job.training.shards
    divided = f" divided over {parts} devices" if parts > 1 else ""
    return divided if shards is None else f"{divided} in {shards} shards of one order"


def _describe_loss_scale(training: Training) -> str:
    if training.loss_scale is None:
        return ""
    kind = "static" if training.loss_scale.is_static else "at first, dynamic"
    return f", losses scaled by {float(training.loss_scale.scale):,.0f} ({kind})"


def _traits(config: TrainConfig) -> str:
    traits = [config.activation if config.hidden else "softmax regression"]
    if config.normalization != "none":
        traits.append(f"{config.normalization} norm")
    if config.dropout:
        traits.append(f"dropout {config.dropout:g}")
    if config.residual:
        traits.append("residual")
    return ", ".join(traits)


def describe_changes(before: Mapping[str, Any], job: Job) -> str:
    """For a resumed run: what else than the config rounds otherwise than before; "" for nothing.

    before: the environment.json of the run.
    """
    versions, options = before.get("versions", {}), dict(job.compile_options)
    changes = {
        f"jax {versions.get('jax')} before and {jax.__version__} now": versions.get("jax") != jax.__version__,
        f"{before.get('processor')} before and {processor_name()} now": before.get("processor")
        != processor_name(),
        "a training of this length is compiled otherwise": before.get("compile_options") != options,
    }
    found = [change for change, differs in changes.items() if differs]
    if not found:
        return ""
    return f"{'; '.join(found)}: the last bits may differ from those of a run that was never stopped"


def final_figures(
    trainer: Trainer, best: BestEpoch, test: Evaluation | None, compile_seconds: float, peak: float | None
) -> dict[str, Any]:
    """The contents of result.json but for the scores of the test data. peak: FLOP/s of the machine, where they were
    measured.
    """
    job, progress, model = trainer.job, trainer.progress, trainer.job.model
    pace, history = progress.throughput, progress.history
    flops = pace.samples_per_second * train_flops(model.mlp)
    # A training that was faster than all that was measured before it is itself the peak.
    peak = peak and max(peak, flops)
    shown = next(iter(trainer.evaluators), "train")
    rate = pace.samples_per_second
    return {
        "test_accuracy": test and test.accuracy,
        "test_loss": test and test.loss,
        **_selection_figures(job.selection, best, history),
        **_metric_figures(job.selection.monitor, {"test": test, "best_validation": best.evaluation}),
        "train_loss": history[-1]["train_loss"],
        "last_epoch_accuracy": history[-1].get(f"{shown}_accuracy"),
        "compile_seconds": compile_seconds,
        "train_seconds": pace.train_seconds,
        "samples_per_second": rate,
        "steps": pace.steps,
        "epochs": len(history),
        "parameters": count(model.mlp),
        "train_flops_per_sample": train_flops(model.mlp),
        "flops_per_second": flops,
        "matmul_peak_flops_per_second": peak,
        "matmul_peak_dtype": short_name(job.policy.multiplied_in(job.device.platform)),
        "share_of_peak": peak and flops / peak,
        "peak_memory_bytes": memory.peak_device_bytes(job.device) or memory.peak_resident_bytes(),
        "dataset": job.dataset.name,
        "dataset_origin": job.dataset.origin,
        "backend": job.backend.name,
        "backend_reason": job.reason,
        "precision": str(job.policy),
        "products": job.policy.path(job.device.platform),
        "loss_scale": history[-1].get("loss_scale"),
        "skipped_steps": sum(int(record.get("skipped_steps") or 0) for record in history),
        "device": device_name(job.device),
        "devices": job.placement.devices,
        "mesh": str(job.placement) or None,
        "seed": job.config.seed,
    }


def _selection_figures(
    selection: Selection, best: BestEpoch, history: Sequence[Record]
) -> dict[str, float | str | None]:
    """The best epoch from 1, its numbers, and what it was selected by; where nothing selects, that of test data."""
    found: dict[str, float | str | None] = {
        "best_validation_accuracy": None,
        "best_validation_loss": None,
        "best_epoch": None,
        "selected_by": None,
    }
    if best.evaluation is not None:
        return found | {
            "best_validation_accuracy": best.evaluation.accuracy,
            "best_validation_loss": best.evaluation.loss,
            "best_epoch": best.epoch + 1,
            "selected_by": selection.reason(best),
        }
    for name, sign in (("accuracy", 1), ("loss", -1)):
        values = [(epoch, record.get(f"test_{name}")) for epoch, record in enumerate(history, 1)]
        scores = [(sign * float(value), epoch) for epoch, value in values if value is not None]
        if scores:
            score, epoch = max(scores)  # the last of equals
            return found | {"best_epoch": epoch, f"best_test_{name}_of_an_epoch": sign * score}
    return found


def _metric_figures(monitor: Monitor, parts: Mapping[str, Evaluation | None]) -> dict[str, float | None]:
    """What the host computed of the model that is kept, by part."""
    if monitor.compute is None:
        return {}
    named = ((part, evaluation.numbers.get(monitor.name)) for part, evaluation in parts.items() if evaluation)
    key = monitor.name.replace("-", "_")
    return {f"{part}_{key}": value for part, value in named if value is not None and math.isfinite(value)}


def measure_peak(job: Job) -> float:
    """FLOP/s of the fastest product in the dtype of this training, on the idle machine; once a process. Of several
    devices together: those of a CPU are one machine.
    """
    dtype = job.policy.multiplied_in(job.device.platform)
    of_a_device = peak_of_this_process(job.device, dtype, job.compile_options, job.policy.precision)
    return of_a_device if job.device.platform == "cpu" else of_a_device * job.placement.devices


def result_rows(figures: Mapping[str, Any]) -> Rows:
    """The final table."""
    scaling = f"{figures['loss_scale'] or 0:,.0f} at the end; {figures['skipped_steps']:,} steps skipped"
    steps = f"{_epochs(figures['epochs'])}, {figures['steps']:,} steps"
    return [
        *quality_rows(figures),
        ("time to compile", f"{figures['compile_seconds']:.2f} s"),
        ("time to train", f"{figures['train_seconds']:.2f} s   {steps}"),
        ("throughput", f"{figures['samples_per_second']:,.0f} samples/s"),
        *([("share of peak", _share_of_peak(figures))] if figures["share_of_peak"] is not None else []),
        ("peak memory", memory.text(figures["peak_memory_bytes"])),
        *([("loss scale", scaling)] if figures["loss_scale"] is not None else []),
    ]


def _share_of_peak(figures: Mapping[str, Any]) -> str:
    rate, peak = figures["flops_per_second"], figures["matmul_peak_flops_per_second"]
    unit = f"{figures['matmul_peak_dtype']} matrix-product peak"
    return f"{figures['share_of_peak']:.0%} of this machine's {unit}   {_flops(rate)} of {_flops(peak)}"


def seconds_rows(seconds: Mapping[str, float]) -> Rows:
    """Where the time went, for `--benchmark`."""
    return [("where the time went", ", ".join(f"{name} {spent:.2f} s" for name, spent in seconds.items()))]


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'s' if count > 1 else ''}"


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"
