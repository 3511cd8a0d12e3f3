"""What a person reads before and after a run: header, final figures, table; and what is kept for a report."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.memory_estimate import Estimate
from neuroforge_jax.backends.peak import matmul_peak_flops
from neuroforge_jax.backends.resolve import Choice, precision_advice
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.job.pieces import predict, steps_per_epoch
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import count, train_flops
from neuroforge_jax.precision.policy import short_name
from neuroforge_jax.system import memory
from neuroforge_jax.system.accelerators import accelerators
from neuroforge_jax.system.memory import peak_resident_bytes
from neuroforge_jax.system.provenance import device_name, installed_version
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.progress import Standing
from neuroforge_jax.training.step import Training
from neuroforge_jax.typing import Params

Rows = Sequence[tuple[str, str]]
"""Lines of a header or a final table: a label and its text."""

WORST_MISTAKES = 24


peak_of_this_process: Callable[..., float] = cache(matmul_peak_flops)
"""Measured once: it takes a third of a second, and a second training finds the same machine."""


def header_rows(
    config: TrainConfig,
    choice: Choice,
    dataset: Dataset,
    validation: Split | None,
    model: Model,
    training: Training,
    needed: Estimate,
) -> Rows:
    """What is going to be trained, on what, and why so."""
    backend, mlp = choice.backend, model.mlp
    shape = "×".join(map(str, dataset.shape))
    held_out = f", {len(validation):,} validation" if validation is not None else ""
    what = f"{len(dataset.classes)} classes" if dataset.classes else f"{dataset.outputs} numbers to predict"
    widths = "-".join(map(str, (mlp.inputs, *mlp.hidden, mlp.outputs)))
    rows = [
        ("data", f"{dataset.name}: {dataset.origin}"),
        (
            "",
            f"{len(dataset.train):,} training{held_out}, {len(dataset.test):,} test samples of {shape}, {what}",
        ),
        ("device", f"{device_name(backend.device)}, jax {jax.__version__}"),
        (
            "backend",
            f"{backend.name} ({choice.reason}): {backend.execution_name}, {backend.policy}, {backend.kernels}",
        ),
        ("precision", backend.policy.path(backend.device.platform) + _scaling(training)),
        ("network", f"{widths} {_traits(config)}, {count(mlp):,} parameters"),
        (
            "training",
            f"{config.optimizer}, {config.schedule} learning rate {config.learning_rate:g}, batch "
            f"{config.batch_size:,}, {_epochs(config.epochs)} of {steps_per_epoch(config, dataset):,} steps",
        ),
        ("work", f"{train_flops(mlp) / 1e6:.3g} MFLOP a sample"),
        ("memory", str(needed)),
    ]
    notes = unused_accelerator(backend), precision_advice(backend, train_flops(mlp) * config.batch_size)
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


def _scaling(training: Training) -> str:
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


def final_figures(
    config: TrainConfig,
    dataset: Dataset,
    model: Model,
    backend: Backend,
    standing: Standing,
    compile_seconds: float,
    test: Evaluation,
) -> dict[str, Any]:
    """The contents of result.json; the share of the peak is measured here, on the idle machine."""
    pace, best, history = standing.pace, standing.best, standing.history
    selected = best.params is not None
    shown = "validation" if selected else "test"
    rate = pace.samples / pace.train_seconds
    multiplied_in = model.policy.multiplied_in(backend.device.platform)
    peak = peak_of_this_process(
        backend.device, multiplied_in, backend.options(config.batch_size), model.policy.precision
    )
    assert best.evaluation is not None, "a run has at least one epoch"
    return {
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "best_validation_accuracy": best.evaluation.accuracy if selected else None,
        "best_validation_loss": best.evaluation.loss if selected else None,
        "best_epoch": best.epoch + 1,
        f"best_{shown}_accuracy_of_an_epoch": best.evaluation.accuracy,
        "last_epoch_accuracy": history[-1][f"{shown}_accuracy"],
        "compile_seconds": compile_seconds,
        "train_seconds": pace.train_seconds,
        "samples_per_second": rate,
        "steps": pace.steps,
        "epochs": len(history),
        "parameters": count(model.mlp),
        "train_flops_per_sample": train_flops(model.mlp),
        "flops_per_second": rate * train_flops(model.mlp),
        "matmul_peak_flops_per_second": peak,
        "matmul_peak_dtype": short_name(multiplied_in),
        "share_of_peak": rate * train_flops(model.mlp) / peak,
        "peak_memory_bytes": memory.peak_device_bytes(backend.device) or peak_resident_bytes(),
        "dataset": dataset.name,
        "dataset_origin": dataset.origin,
        "backend": backend.name,
        "precision": str(backend.policy),
        "products": backend.policy.path(backend.device.platform),
        "loss_scale": history[-1].get("loss_scale"),
        "skipped_steps": sum(int(record.get("skipped_steps") or 0) for record in history),
        "device": device_name(backend.device),
        "seed": config.seed,
    }


def result_rows(figures: Mapping[str, Any]) -> Rows:
    """The final table."""
    scaling = f"{figures['loss_scale'] or 0:,.0f} at the end; {figures['skipped_steps']:,} steps skipped"
    unit = f"{figures['matmul_peak_dtype']} matrix-product peak"
    accuracy = figures["test_accuracy"]
    rows = []
    if accuracy is None:
        rows.append(("test loss", f"{figures['test_loss']:.4g}"))
    else:
        rows.append(("test accuracy", f"{accuracy:.2%}   loss {figures['test_loss']:.4f}"))
    if figures["best_validation_loss"] is not None:
        score = figures["best_validation_accuracy"]
        text = f"loss {figures['best_validation_loss']:.4g}" if score is None else f"{score:.2%}"
        last = figures["last_epoch_accuracy"]
        after = "" if last is None else f"; the last epoch had {last:.2%}"
        rows.append(
            ("best validation", f"{text} in epoch {figures['best_epoch']}, whose weights are kept{after}")
        )
    elif accuracy is not None:
        best = figures["best_test_accuracy_of_an_epoch"]
        rows.append(
            (
                "best epoch",
                f"{best:.2%} in epoch {figures['best_epoch']}; the weights of the last epoch are kept",
            )
        )
    return [
        *rows,
        ("time to compile", f"{figures['compile_seconds']:.2f} s"),
        (
            "time to train",
            f"{figures['train_seconds']:.2f} s   {_epochs(figures['epochs'])}, {figures['steps']:,} steps",
        ),
        ("throughput", f"{figures['samples_per_second']:,.0f} samples/s"),
        (
            "share of peak",
            f"{figures['share_of_peak']:.0%} of this machine's {unit}   "
            f"{_flops(figures['flops_per_second'])} of {_flops(figures['matmul_peak_flops_per_second'])}",
        ),
        ("peak memory", memory.text(figures["peak_memory_bytes"])),
        *([("loss scale", scaling)] if figures["loss_scale"] is not None else []),
    ]


def seconds_rows(seconds: Mapping[str, float]) -> Rows:
    """Where the time went, for `--benchmark`."""
    return [("where the time went", ", ".join(f"{name} {spent:.2f} s" for name, spent in seconds.items()))]


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'s' if count > 1 else ''}"


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"


def test_predictions(model: Model, params: Params, dataset: Dataset) -> dict[str, np.ndarray]:
    """What the model says of the test samples, for a report that has nothing but the run's folder.

    Classes: labels and predicted i32 [N], confidence f32 [N] of the predicted class, and the surest mistakes
    with their inputs: worst i32 [K], worst_inputs [K, I]. A regression: targets and predicted f32 [N, O].
    """
    logits = predict(model, params, dataset.test.inputs)
    if not model.classes:
        return {"targets": dataset.test.targets, "predicted": logits}
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = shifted / shifted.sum(axis=1, keepdims=True)
    predicted, confidence = logits.argmax(axis=1).astype(np.int32), probability.max(axis=1)
    wrong = np.nonzero(predicted != dataset.test.targets)[0]
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST_MISTAKES].astype(np.int32)
    return {
        "labels": dataset.test.targets,
        "predicted": predicted,
        "confidence": confidence,
        "worst": worst,
        "worst_inputs": dataset.test.inputs[worst],
    }
