"""From a configuration to the parts of a training: model, state, prepared run.

    model, state = init(config, dataset)
    run = prepare(config, model, dataset)
    steps = steps_per_epoch(config, dataset)
    state, metrics = run(state, 0, steps)
    evaluate(model, state.params, dataset.test).accuracy

These take a dataset as it is; `fit` first applies the config's `train_samples` and `validation_fraction`.
"""

from collections.abc import Callable
from dataclasses import replace

import jax
import numpy as np
import optax
from jax.typing import DTypeLike
from jaxtyping import Float

from neuroforge_jax.backends.compiler import compile_options, options_of_what_runs_once
from neuroforge_jax.backends.executors.base import Run
from neuroforge_jax.backends.executors.pipelined import Streaming
from neuroforge_jax.backends.resolve import choose
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import shuffle as order
from neuroforge_jax.data.stream import Source
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.loss_scale import LossScale, make_loss_scale, static_scale
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.compiling import Compiling
from neuroforge_jax.training.evaluate import CHUNK, Evaluation, predict_logits, prepare_evaluation
from neuroforge_jax.training.optimizer import make_optimizer, make_schedule
from neuroforge_jax.training.state import TrainState, first_params, state_around
from neuroforge_jax.training.step import Parts, Training
from neuroforge_jax.typing import CompileOptions, Params, PRNGKey


def init(config: TrainConfig, dataset: Dataset) -> tuple[Model, TrainState]:
    """Make the model that the config describes for this dataset, and its state before the first step.

    The state (float32 parameters, the optimizer's state, keys that follow from `config.seed`) lies on the backend's
    device. Raises ConfigError for a name or a size that cannot be used, DeviceError where the platform is absent.
    """
    model = make_model(config, dataset)
    return model, make_state(config, model, make_training(config, dataset))


def prepare(
    config: TrainConfig,
    model: Model,
    dataset: Dataset,
    *,
    source: Source | None = None,
    streaming: Streaming | None = None,
) -> Run:
    """Compile a training, and return its run: `run(state, first_step, last_step) → (state, metrics)`.

    The run advances a state over the steps first_step … last_step − 1, any range of them. The state that it is
    given is donated and must not be used again. Of its metrics, `loss` and `correct` are f32 [S], a number for each
    step; reading them waits for the device. source: samples to train on in the place of `dataset.train`, and
    streaming: how far ahead they are read; both are for pipelined execution. Raises ConfigError for a batch larger
    than the data and for a source with another execution, DeviceError where the backend's platform is absent.
    """
    training = make_training(config, dataset, source)
    return choose(config).backend.prepare(model, training, dataset, source=source, streaming=streaming)


def parts(config: TrainConfig, model: Model, dataset: Dataset) -> Parts:
    """The pure functions that a step of this training is made of.

    forward: (params, inputs as stored [B, I], dropout key or None) → logits f32 [B, C]. metrics: (logits, batch) →
    the loss that is minimised, and how many samples are classified correctly. backward: (state, batch) → the
    gradients of that loss times the loss scale, and the metrics. optimize: (state, gradients) → the next state.
    """
    return choose(config).backend.parts(model, make_training(config, dataset))


def steps_per_epoch(config: TrainConfig, data: Dataset | Source) -> int:
    """Steps of one pass over the training data; the last batch is padded with samples of weight 0."""
    return order.steps_per_epoch(len(data.train if isinstance(data, Dataset) else data), config.batch_size)


def evaluate(model: Model, params: Params, split: Split) -> Evaluation:
    """Mean loss (without label smoothing) and accuracy over a split, on the device that holds the parameters.

    The result has `loss`, `accuracy` (a share from 0 to 1; None for a regression) and `samples`.
    """
    device = device_of(params)
    options = compile_options(device.platform, model.policy, CHUNK)
    return prepare_evaluation(model, split, device, options)(params)


def predict(model: Model, params: Params, inputs: np.ndarray) -> Float[np.ndarray, "N C"]:
    """Logits f32 [N, C] of samples; of a regression the predicted numbers f32 [N, O].

    inputs: as the dataset stores them, uint8 or f32, [N, I] or [N, …]. Raises ValueError for samples of another
    width than the model's.
    """
    flat = np.asarray(inputs).reshape(len(inputs), -1)
    if flat.shape[1] != model.mlp.inputs:
        raise ValueError(f"samples have {flat.shape[1]} numbers, and the model takes {model.mlp.inputs}")
    device = device_of(params)
    options = compile_options(device.platform, model.policy, CHUNK)
    unlabelled = Split(
        flat if flat.dtype == np.uint8 else flat.astype(np.float32), np.zeros(len(flat), np.int32)
    )
    return predict_logits(model, params, unlabelled, device, options)


def make_model(config: TrainConfig, dataset: Dataset) -> Model:
    """The architecture of the config with the widths, scaling and classes of the dataset."""
    backend = choose(config).backend
    mlp = MLP(
        inputs=dataset.inputs,
        hidden=config.hidden,
        outputs=dataset.outputs,
        activation=config.activation,
        normalization=config.normalization,
        dropout=config.dropout,
        residual=config.residual,
        initializer=config.initializer,
    )
    return Model(
        mlp,
        backend.policy,
        config.loss,
        dataset.scaling,
        dataset.shape,
        dataset.classes,
        dataset.columns,
        backend.implementation,
    )


def make_training(
    config: TrainConfig, dataset: Dataset, source: Source | None = None, *, skips_non_finite: bool = False
) -> Training:
    """The optimizer and the sizes of a training. Raises ConfigError for a batch larger than the data.

    skips_non_finite: a step whose gradients are not finite updates nothing, in float32 and bf16 too.
    """
    samples = len(source or dataset.train)
    if config.batch_size > samples:
        raise ConfigError(
            f"--batch-size {config.batch_size} is larger than the {samples} training samples of "
            f"{dataset.name}; take {samples} or fewer"
        )
    steps = config.epochs * order.steps_per_epoch(samples, config.batch_size)
    schedule = make_schedule(
        config.schedule, learning_rate=config.learning_rate, total_steps=steps, warmup=config.warmup
    )
    optimizer = make_optimizer(
        config.optimizer,
        schedule,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        clip_norm=config.clip_norm,
    )
    loss_scale = make_loss_scale(config.loss_scale, choose(config).backend.policy)
    if loss_scale is None and skips_non_finite:
        loss_scale = static_scale(1.0)
    return Training(
        optimizer,
        config.batch_size,
        config.epochs,
        steps,
        config.label_smoothing,
        config.accumulate,
        loss_scale,
    )


def make_state(config: TrainConfig, model: Model, training: Training) -> TrainState:
    """The state before the first step, on the backend's device."""
    return state_maker(config, model, training)[0]()


def state_maker(
    config: TrainConfig, model: Model, training: Training
) -> tuple[Callable[[], TrainState], TrainState]:
    """A function that makes the state before the first step, which is being compiled, and its shapes and dtypes."""
    device = choose(config).backend.device
    options = options_of_what_runs_once(device.platform)
    with jax.default_device(device):
        key = jax.random.key(config.seed)
        draw = _draw(model.mlp, model.policy.param, options).lower(key)
        complete = _complete(training.optimizer, training.loss_scale, options).lower(draw.out_info, key)
    drawn, completed = Compiling(draw), Compiling(complete)

    def initial() -> TrainState:
        params = drawn(key)
        return replace(completed(params, key), params=params)

    return initial, replace(complete.out_info, params=draw.out_info)


# Two programs: the first is the long one to compile, and the same whatever the optimizer. One an operation would
# take longer to compile than the first step takes to train.
@by_structure
def _draw(mlp: MLP, dtype: DTypeLike, options: CompileOptions) -> jax.stages.Wrapped:
    def draw(key: PRNGKey) -> Params:
        return first_params(key, lambda key: nn.init(key, mlp, dtype))

    return jax.jit(draw, compiler_options=dict(options) or None)


@by_structure
def _complete(
    optimizer: optax.GradientTransformation, loss_scale: LossScale | None, options: CompileOptions
) -> jax.stages.Wrapped:
    """The state but for its parameters, which are there already."""

    def complete(params: Params, key: PRNGKey) -> TrainState:
        return replace(state_around(params, key, optimizer, loss_scale), params={})

    return jax.jit(complete, compiler_options=dict(options) or None)


def device_of(params: Params) -> jax.Device:
    """Where the parameters are: their device, or jax's default for arrays of NumPy."""
    leaf = jax.tree.leaves(params)[0]
    return next(iter(leaf.devices())) if isinstance(leaf, jax.Array) else jax.local_devices()[0]
