"""A training with every name looked up, once: what a config, a dataset and a backend come to.

    job = Job.build(config, dataset)
    run = job.compile()
    state, metrics = run(job.start(), 0, job.steps_per_epoch)

Nothing below it sees the config or asks for a name again.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from neuroforge_jax.backends.compiler import options_of_what_runs_once
from neuroforge_jax.backends.executors.base import ExecutorSpec, Placement, Run, Streaming
from neuroforge_jax.backends.memory_estimate import Estimate, estimate
from neuroforge_jax.backends.resolve import Choice, choose
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import shuffle
from neuroforge_jax.data.pictures import PictureStyle, are_pictures, measure_style
from neuroforge_jax.data.stream import Source
from neuroforge_jax.data.targets import choose_loss
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import ConfigError, DataError, lookup
from neuroforge_jax.model.answers import score_outputs
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.losses import Loss, make_loss
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.loss_scale import LossScale, make_loss_scale, static_scale
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.scoring.metrics import METRICS, Metric
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.best import Selection
from neuroforge_jax.training.compiling import Compiling, start_compiling
from neuroforge_jax.training.evaluate import Evaluator, prepare_evaluation
from neuroforge_jax.training.hyper import Hyper, make_hyper
from neuroforge_jax.training.monitor import LOSS, MONITORS, Monitor
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.state import TrainState, params_key, state_around
from neuroforge_jax.training.step import Parts, Training, make_step
from neuroforge_jax.typing import Array, CompileOptions, Float, Params, PRNGKey

SAMPLE = 256
"""Training rows that the first parameters may be fitted to."""

PREDICTED = {"classification": "classes", "regression": "numbers", "multilabel": "labels"}
"""Task → what is predicted, for a sentence."""

STYLE_ROWS = 10_000
"""Training pictures among which some show how all look."""


@dataclass(frozen=True, eq=False)
class Job:
    """A training, resolved.

    config: as it was asked for; what is computed follows from the other fields. reason: why it is this backend.
    dataset: to train on, validation data apart. source: samples to train on in the place of `dataset.train`.
    streaming: how far they are read ahead, where they are not all on the device. seeds: of a population, whose
    networks are trained at once, every leaf of its state [P, …]; None for one network, by `config.seed`. selection:
    how the best epoch is found, where there are validation data.
    """

    config: TrainConfig
    backend: Backend
    reason: str
    device: jax.Device
    policy: Policy
    compile_options: CompileOptions
    dataset: Dataset
    model: FittedModel
    training: Training
    source: Source | None = None
    streaming: Streaming = field(default_factory=Streaming)
    seeds: tuple[int, ...] | None = None
    selection: Selection = field(default_factory=Selection)

    @staticmethod
    def build(
        config: TrainConfig,
        dataset: Dataset,
        choice: Choice | None = None,
        *,
        source: Source | None = None,
        skips_non_finite: bool = False,
    ) -> "Job":
        """Look everything up.

        choice: the backend, where it is chosen already. skips_non_finite: a step whose gradients are not finite
        updates nothing, in float32 and bf16 too. Raises ConfigError for names and sizes that cannot be used,
        DeviceError where the backend's platform is absent.
        """
        choice = choice or choose(config)
        backend = choice.backend
        if source is not None and not backend.executor.takes_source:
            raise ConfigError(
                f"backend {backend.name!r} ({backend.executor.name} execution) keeps its data on the device; to "
                "train from a source use --backend async, or --async-ops"
            )
        model = make_model(config, dataset, backend)
        training = make_training(config, dataset, model.spec, source, skips_non_finite=skips_non_finite)
        return Job(
            config,
            backend,
            choice.reason,
            backend.device,
            backend.policy,
            backend.options(config.batch_size, training_flops(training, model.mlp)),
            dataset,
            model,
            training,
            source,
            selection=make_selection(config, dataset, model),
        )

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch is padded."""
        return shuffle.steps_per_epoch(len(self.source or self.dataset.train), self.training.batch_size)

    @cached_property
    def parts(self) -> Parts:
        """The pure parts of its step."""
        return self.backend.parts(self.model.spec, self.training)

    @cached_property
    def state_like(self) -> TrainState:
        """The shapes and dtypes of its state."""
        params_like, complete = self._draw_program.out_info, self._complete_program
        return replace(complete.out_info, params=params_like)

    def start(self) -> TrainState:
        """The state before the first step, on the device; of a population [P, …]."""
        params = self._draw_program(self._key, self._sample)
        return replace(self._complete_program(params, self._key, self._hyper), params=params)

    @cached_property
    def _key(self) -> PRNGKey:
        with jax.default_device(self.device):
            if self.seeds is None:
                return jax.random.key(self.config.seed)
            return jax.vmap(jax.random.key)(jnp.asarray(self.seeds, jnp.uint32))

    @cached_property
    def _hyper(self) -> Hyper:
        return jax.device_put(self.training.hyper, self.device)

    @cached_property
    def _sample(self) -> Float[np.ndarray, "S I"] | None:
        """Rows from all over the training data, for the parameters that are fitted to some."""
        if not nn.fits_rows(self.model.mlp):
            return None
        inputs = self.dataset.train.inputs
        rows = np.linspace(0, len(inputs) - 1, min(len(inputs), SAMPLE)).astype(np.int64)
        sample = np.asarray(inputs[rows], np.float32)
        return np.asarray(self.model.spec.preprocess(self.model.fitted, jnp.asarray(sample)), np.float32)

    # Two programs: the first is the long one to compile, and the same whatever the optimizer. One an operation
    # would take longer to compile than the first step takes to train.
    @cached_property
    def _draw_program(self) -> Compiling:
        options = options_of_what_runs_once(self.device.platform)
        return start_compiling(
            _draw(self.model.mlp, self.policy.param, options, self._many),
            self.device,
            self._key,
            self._sample,
        )

    @cached_property
    def _complete_program(self) -> Compiling:
        options, training = options_of_what_runs_once(self.device.platform), self.training
        program = _complete(training.optimizer, training.loss_scale, options, self._many)
        return start_compiling(program, self.device, self._draw_program.out_info, self._key, self._hyper)

    def spec(self, parts: Parts | None = None) -> ExecutorSpec:
        """What the execution is given. parts: of the step, in the place of the backend's own."""
        return ExecutorSpec(
            step=make_step(parts or self.parts),
            state_like=self.state_like,
            fitted=self.model.fitted,
            train=self.dataset.weighted_train,
            placement=Placement(self.device),
            batch_size=self.training.batch_size,
            steps=self.training.steps,
            options=self.compile_options,
            source=self.source,
            streaming=self.streaming,
            members=None if self.seeds is None else len(self.seeds),
        )

    def compile(self, parts: Parts | None = None) -> Run:
        """Compile the training: a function that advances a state over any segment of its steps.

        parts: of the step, in the place of the backend's own.
        """
        with jax.default_device(self.device):
            return self.backend.executor.prepare(self.spec(parts))

    @property
    def flops(self) -> float:
        """Operations of all products of the training, of all its networks."""
        return len(self.seeds or (0,)) * training_flops(self.training, self.model.mlp)

    @property
    def _many(self) -> bool:
        return self.seeds is not None

    @property
    def environment(self) -> dict[str, Any]:
        """The contents of environment.json: machine, versions, compile options."""
        about = self.backend.environment(self.training.batch_size)
        return about | {"compile_options": dict(self.compile_options)}

    def evaluator(self, split: Split) -> Evaluator:
        """A function of one network's parameters that evaluates a split; it is being compiled, except for a
        population, whose networks are evaluated one at a time.
        """
        params_like = None if self._many else self.state_like.params
        monitor = self.selection.monitor
        return prepare_evaluation(
            self.model, split, self.device, self.compile_options, params_like, monitor=monitor
        )

    @cached_property
    def memory(self) -> Estimate:
        """What it takes on the device, by shapes alone."""
        others = [split for split in (self.dataset.validation, self.dataset.test) if split is not None]
        executor, accumulate = self.backend.executor, self.training.accumulate
        return estimate(self.spec(), executor, self.model.mlp, others, accumulate)


def training_flops(training: Training, mlp: MLP) -> float:
    """Operations of all products of a training of one network."""
    return float(nn.train_flops(mlp)) * training.batch_size * training.steps


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
    return FittedModel(spec, fitted, dataset.target, dataset.schema, dataset.origins, style)


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
    )


@by_structure
def _draw(mlp: MLP, dtype: DTypeLike, options: CompileOptions, many: bool) -> jax.stages.Wrapped:
    """many: by the keys of a population."""

    def draw(key: PRNGKey, sample: Array | None) -> Params:
        return nn.init(params_key(key), mlp, dtype, sample)

    every = jax.vmap(draw, in_axes=(0, None)) if many else draw
    return jax.jit(every, compiler_options=dict(options) or None)


@by_structure
def _complete(
    optimizer: OptimizerSpec, loss_scale: LossScale | None, options: CompileOptions, many: bool
) -> jax.stages.Wrapped:
    """The state but for its parameters, which are there already."""

    def complete(params: Params, key: PRNGKey, hyper: Hyper) -> TrainState:
        state = state_around(params, key, optimizer, hyper, loss_scale)
        return replace(state, params={}, frozen=jnp.array(False) if many else None)

    every = jax.vmap(complete, in_axes=(0, 0, None)) if many else complete
    return jax.jit(every, compiler_options=dict(options) or None)
