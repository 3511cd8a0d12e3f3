"""What a person reads before and after a run: header, final figures, table; and what is kept for a report."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.peak import matmul_peak_flops
from neuroforge_jax.backends.resolve import precision_advice
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Split
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.pieces import predict
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.nn.mlp import count, train_flops
from neuroforge_jax.precision.policy import short_name
from neuroforge_jax.system import memory
from neuroforge_jax.system.accelerators import accelerators
from neuroforge_jax.system.cpu import processor_name
from neuroforge_jax.system.provenance import device_name, installed_version
from neuroforge_jax.training.best import BestEpoch
from neuroforge_jax.training.evaluate import Evaluation
from neuroforge_jax.training.step import Training
from neuroforge_jax.typing import Params

Rows = Sequence[tuple[str, str]]
"""Lines of a header or a final table: a label and its text."""

WORST_MISTAKES = 24


peak_of_this_process: Callable[..., float] = cache(matmul_peak_flops)
"""Measured once: it takes a third of a second, and a second training finds the same machine."""


def header_rows(job: Job) -> Rows:
    """What is going to be trained, on what, and why so."""
    backend, mlp, training, dataset = job.backend, job.model.mlp, job.training, job.dataset
    config, per_epoch = job.config, job.steps_per_epoch
    shape = "×".join(map(str, dataset.shape))
    others = {"validation": dataset.validation, "test": dataset.test}
    sizes = [f"{len(dataset.train):,} training"]
    sizes += [f"{len(split):,} {part}" for part, split in others.items() if split is not None]
    what = f"{len(dataset.classes)} classes" if dataset.classes else f"{dataset.outputs} numbers to predict"
    widths = "-".join(map(str, (mlp.inputs, *mlp.hidden, mlp.outputs)))
    rows = [
        ("data", f"{dataset.name}: {dataset.origin}"),
        ("", f"{', '.join(sizes)} samples of {shape}, {what}"),
        ("device", f"{device_name(job.device)}, jax {jax.__version__}"),
        (
            "backend",
            f"{backend.name} ({job.reason}): {backend.executor.name}, {job.policy}, {backend.kernels}",
        ),
        ("precision", job.policy.path(job.device.platform) + _describe_loss_scale(training)),
        ("network", f"{widths} {_traits(config)}, {count(mlp):,} parameters"),
        (
            "training",
            f"{config.optimizer}, {config.schedule} learning rate {config.learning_rate:g}, batch "
            f"{config.batch_size:,}, {_epochs(config.epochs)} of {per_epoch:,} steps",
        ),
        ("work", f"{train_flops(mlp) / 1e6:.3g} MFLOP a sample"),
        ("memory", str(job.memory)),
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
    """The contents of result.json. peak: FLOP/s of the machine, where they were measured."""
    job, progress, model = trainer.job, trainer.progress, trainer.job.model
    pace, history = progress.throughput, progress.history
    flops = pace.samples_per_second * train_flops(model.mlp)
    # A training that was faster than all that was measured before it is itself the peak.
    peak = peak and max(peak, flops)
    selected, shown = best.params is not None, next(iter(trainer.evaluators), "train")
    rate = pace.samples_per_second
    of_best = best.evaluation
    return {
        "test_accuracy": test and test.accuracy,
        "test_loss": test and test.loss,
        "best_validation_accuracy": of_best.accuracy if selected and of_best else None,
        "best_validation_loss": of_best.loss if selected and of_best else None,
        "best_epoch": best.epoch + 1 if of_best else None,
        f"best_{shown}_accuracy_of_an_epoch": of_best and of_best.accuracy,
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
        "seed": job.config.seed,
    }


def measure_peak(job: Job) -> float:
    """FLOP/s of the fastest product in the dtype of this training, on the idle machine; once a process."""
    dtype = job.policy.multiplied_in(job.device.platform)
    return peak_of_this_process(job.device, dtype, job.compile_options, job.policy.precision)


def result_rows(figures: Mapping[str, Any]) -> Rows:
    """The final table."""
    scaling = f"{figures['loss_scale'] or 0:,.0f} at the end; {figures['skipped_steps']:,} steps skipped"
    steps = f"{_epochs(figures['epochs'])}, {figures['steps']:,} steps"
    return [
        *_quality_rows(figures),
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


def _quality_rows(figures: Mapping[str, Any]) -> Rows:
    """How good the model is, and which epoch's it is."""
    rows, accuracy, epoch = [], figures["test_accuracy"], figures["best_epoch"]
    if accuracy is not None:
        rows.append(("test accuracy", f"{accuracy:.2%}   loss {figures['test_loss']:.4f}"))
    elif figures["test_loss"] is not None:
        rows.append(("test loss", f"{figures['test_loss']:.4g}"))
    if figures["best_validation_loss"] is not None:
        score = figures["best_validation_accuracy"]
        text = f"loss {figures['best_validation_loss']:.4g}" if score is None else f"{score:.2%}"
        last = figures["last_epoch_accuracy"]
        after = "" if last is None else f"; the last epoch had {last:.2%}"
        rows.append(("best validation", f"{text} in epoch {epoch}, whose weights are kept{after}"))
    elif accuracy is not None:
        best = figures["best_test_accuracy_of_an_epoch"]
        rows.append(("best epoch", f"{best:.2%} in epoch {epoch}; the weights of the last epoch are kept"))
    elif not rows and figures["train_loss"] is not None:
        rows.append(("training loss", f"{figures['train_loss']:.4g}   nothing was held out to test on"))
    return rows


def seconds_rows(seconds: Mapping[str, float]) -> Rows:
    """Where the time went, for `--benchmark`."""
    return [("where the time went", ", ".join(f"{name} {spent:.2f} s" for name, spent in seconds.items()))]


def _epochs(count: int) -> str:
    return f"{count:,} epoch{'s' if count > 1 else ''}"


def _flops(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s" if rate >= 1e12 else f"{rate / 1e9:.3g} GFLOP/s"


def predict_test_data(model: FittedModel, params: Params, test: Split) -> dict[str, np.ndarray]:
    """What the model says of the test samples, for a report that has nothing but the run's folder.

    Classes: labels and predicted i32 [N], confidence f32 [N] of the predicted class, and the most confident
    mistakes with their inputs: worst i32 [K], worst_inputs [K, I]. A regression: targets and predicted f32 [N,
    O].
    """
    logits = predict(model, params, test.inputs)
    if not model.classes:
        return {"targets": test.targets, "predicted": logits}
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability = shifted / shifted.sum(axis=1, keepdims=True)
    predicted, confidence = logits.argmax(axis=1).astype(np.int32), probability.max(axis=1)
    wrong = np.nonzero(predicted != test.targets)[0]
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:WORST_MISTAKES].astype(np.int32)
    return {
        "labels": test.targets,
        "predicted": predicted,
        "confidence": confidence,
        "worst": worst,
        "worst_inputs": test.inputs[worst],
    }
