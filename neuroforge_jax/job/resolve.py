"""What a config and a dataset come to: the rows to train on, the model, the sizes of the training, the selection.

Each name of the config is looked up in the table that owns it; what the dataset cannot be used for is said here.
"""

import math
from functools import cache, partial

import numpy as np

from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import shuffle
from neuroforge_jax.data.pictures import PictureStyle, are_pictures, measure_style
from neuroforge_jax.data.stream import Source
from neuroforge_jax.data.targets import choose_loss
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError, DataError, lookup
from neuroforge_jax.model.answers import score_outputs
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.nn.losses import Loss, make_loss
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.loss_scale import make_loss_scale, static_scale
from neuroforge_jax.scoring.metrics import METRICS, Metric
from neuroforge_jax.training.best import Selection
from neuroforge_jax.training.hyper import make_hyper
from neuroforge_jax.training.monitor import LOSS, MONITORS, Monitor
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.step import Training

PREDICTED = {"classification": "classes", "regression": "numbers", "multilabel": "labels"}
"""Task → what is predicted, for a sentence."""

STYLE_ROWS = 10_000
"""Training pictures among which some show how all look."""


def select_rows(config: TrainConfig, dataset: Dataset) -> Dataset:
    """The first samples, as many as the config says, and of them a share held out where no validation data came."""
    dataset = dataset.first(config.train_samples)
    if dataset.validation is None:
        return dataset.hold_out(config.held_out_fraction, config.seed)
    if config.validation_fraction:
        raise ConfigError(
            f"--validation-fraction {config.validation_fraction:g}: {dataset.name} comes with validation data; "
            "leave it out"
        )
    return dataset


def make_model(config: TrainConfig, dataset: Dataset, backend: Backend) -> FittedModel:
    """The architecture of the config with the widths, the classes and what was fitted of the dataset.

    Raises ConfigError for a loss that is not for these targets, DataError for a target that it has no value for.
    """
    name = choose_loss(config.loss, dataset.target.task)
    loss = make_loss(name, config.quantiles)
    mlp = MLP(
        inputs=dataset.inputs,
        hidden=config.hidden,
        outputs=dataset.outputs * loss.outputs_per_target,
        activation=config.activation,
        normalization=config.normalization,
        dropout=config.dropout > 0,
        residual=config.residual,
        initializer=config.initializer,
    )
    spec = Model(
        mlp,
        backend.policy,
        name,
        dataset.plan,
        dataset.shape,
        dataset.classes,
        backend.implementation,
        config.quantiles if config.loss == "quantile" else (),
    )
    if name == "poisson" and (dataset.target.transform != "none" or any(dataset.target.origins)):
        raise ConfigError(
            "--loss poisson takes counts as they are, from 0 upwards: leave --target-transform out, and for "
            "numbers far from 0 that differ little use --loss mse"
        )
    if not dataset.classes:
        check_targets(loss, dataset)
    if config.label_smoothing and not dataset.classes and "labels" not in loss.takes:
        raise ConfigError(
            f"--label-smoothing {config.label_smoothing:g} is for classes, and the targets are numbers; leave it "
            "out"
        )
    fitted = dataset.fitted
    if not loss.standardizes:
        fitted = fitted._replace(target_shift=None, target_scale=None)
    style = cache(partial(_measure_style, dataset))
    return FittedModel(spec, fitted, dataset.target, dataset.schema, dataset.origins, dataset.missing, style)


def _measure_style(dataset: Dataset) -> PictureStyle | None:
    if not (dataset.plan.pixels and are_pictures(dataset.shape)):
        return None
    return measure_style(dataset.train.inputs[:STYLE_ROWS].reshape(-1, *dataset.shape))


def check_targets(loss: Loss, dataset: Dataset) -> None:
    """Numbers that a loss is not defined for. Raises DataError, which names the first."""
    splits = {"training": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for part, split in splits.items():
        if split is None or "numbers" in loss.takes:
            continue
        if "counts" in loss.takes:
            wrong, wanted = split.targets < 0, "counts, from 0 upwards"
        else:
            wrong, wanted = (split.targets != 0) & (split.targets != 1), "classes, or labels that are 0 or 1"
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise DataError(
                f"{dataset.name}: the target of {part} sample {row} is {split.targets[row, column]:g}, and --loss "
                f"{loss.name} takes {wanted}; use --loss mse"
            )


def make_selection(config: TrainConfig, dataset: Dataset, model: FittedModel) -> Selection:
    """How the config selects. Raises ConfigError for an unknown monitor, and for one with nothing to look at."""
    task = dataset.target.task
    quantiles = bool(model.spec.quantiles)
    metrics = {
        name: metric
        for name, metric in METRICS.items()
        if metric.task == task and (quantiles or name != "pinball")
    }
    known = {name: monitor for name, monitor in MONITORS.items() if monitor is LOSS or dataset.classes}
    monitor = known.get(config.monitor)
    if monitor is None:
        lookup({**known, **metrics}, config.monitor, f"monitor of {PREDICTED[task]}")
        monitor = _make_monitor(metrics[config.monitor], model)
    if monitor is not LOSS and dataset.validation is None and not config.held_out_fraction:
        raise ConfigError(
            f"--monitor {monitor.name} selects by validation data, and there are none; add --patience 5, or "
            "--validation-fraction 0.1"
        )
    return Selection(monitor, config.patience, config.target_accuracy)


def _make_monitor(metric: Metric, model: FittedModel) -> Monitor:
    """A metric that the host computes of each epoch."""

    def compute(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
        return score_outputs(model, targets, outputs, weights).get(metric.name, math.nan)

    return Monitor(metric.name, metric.higher_is_better, compute)


def make_training(
    config: TrainConfig, dataset: Dataset, model: Model, source: Source | None, *, skips_non_finite: bool
) -> Training:
    """The optimizer, its values and the sizes of a training. Raises ConfigError for a batch larger than the
    data.
    """
    samples = len(source or dataset.train)
    if config.batch_size > samples:
        raise ConfigError(
            f"--batch-size {config.batch_size} is larger than the {samples} training samples of "
            f"{dataset.name}; take {samples} or fewer"
        )
    steps = config.epochs * shuffle.steps_per_epoch(samples, config.batch_size)
    decays, clips = config.weight_decay > 0, config.clip_norm is not None
    hyper = make_hyper(config, steps)
    by_group = any(factor != 1 for factor in hyper.rate_factors.values())
    loss_scale = make_loss_scale(config.loss_scale, model.policy)
    if loss_scale is None and skips_non_finite:
        loss_scale = static_scale(1.0)
    return Training(
        optimizer=OptimizerSpec(model.mlp, config.optimizer, config.schedule, decays, clips, by_group),
        hyper=hyper,
        batch_size=config.batch_size,
        steps=steps,
        smooths=config.label_smoothing > 0,
        accumulate=config.accumulate,
        loss_scale=loss_scale,
        shuffles=config.shuffle,
        shards=config.deterministic_shards,
    )
