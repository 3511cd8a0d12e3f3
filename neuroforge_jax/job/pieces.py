"""A training piece by piece, for who writes the loop:

    model, state = init(config, dataset)
    run = prepare(config, model, dataset)
    steps = steps_per_epoch(config, dataset)
    state, metrics = run(state, 0, steps)
    evaluate(model, state.params, dataset.test).accuracy

These take a dataset as it is; `fit` first applies the config's `train_samples` and `validation_fraction`.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.backends.executors.base import Run, Streaming
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import shuffle
from neuroforge_jax.data.stream import Source
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.predictor import Predictor
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.model.rows import read_rows
from neuroforge_jax.training.evaluate import Evaluation, prepare_evaluation
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.predict import CHUNK, device_of
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.training.step import Parts
from neuroforge_jax.typing import Params


def init(config: TrainConfig, dataset: Dataset) -> tuple[FittedModel, TrainState]:
    """Make the model that the config describes for this dataset, and its state before the first step.

    The state (float32 parameters, the optimizer's state, keys that follow from `config.seed`) lies on the backend's
    device. Raises ConfigError for a name or a size that cannot be used, DeviceError where the platform is absent.
    """
    job = Job.build(config, dataset)
    return job.model, job.start()


def prepare(
    config: TrainConfig,
    model: FittedModel,
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
    than the data, for a source with another execution and for a model of another network, loss or precision than
    the config's, DeviceError where the backend's platform is absent.
    """
    job = Job.build(config, dataset, source=source)
    return replace(_with_model(job, model), streaming=streaming or Streaming()).compile()


def parts(config: TrainConfig, model: FittedModel, dataset: Dataset) -> Parts:
    """The pure functions that a step of this training is made of.

    forward: (params, fitted, inputs as stored [B, I], dropout or None) → logits f32 [B, C]. metrics: (logits,
    batch, hyper) → the loss that is minimised, and how many samples are classified correctly. backward: (state,
    fitted, batch) → the gradients of that loss times the loss scale, and the metrics. optimize: (state,
    gradients) → the next state. `fitted` is `model.fitted`, and `hyper` is `state.hyper`. Raises as `prepare`.
    """
    return _with_model(Job.build(config, dataset), model).parts


def _with_model(job: Job, model: FittedModel) -> Job:
    """The job of this model, which must be the config's but for its kernels: those are how, and not what."""
    own, asked = model.spec, job.model.spec
    for name, has, wants in (
        ("precision", own.policy, asked.policy),
        ("loss", own.loss, asked.loss),
        ("quantiles", own.quantiles, asked.quantiles),
        ("network", own.mlp, asked.mlp),
    ):
        if has != wants:
            raise ConfigError(
                f"the config asks for {name} {wants}, and the model has {has}; make the model by nf.init of this "
                "config"
            )
    return replace(job, model=replace(model, spec=replace(own, implementation=asked.implementation)))


def steps_per_epoch(config: TrainConfig, data: Dataset | Source) -> int:
    """Steps of one pass over the training data; the last batch is padded with samples that count for nothing."""
    return shuffle.steps_per_epoch(
        data.samples if isinstance(data, Dataset) else len(data), config.batch_size
    )


def evaluate(model: FittedModel, params: Params, split: Split) -> Evaluation:
    """Mean loss (without label smoothing) and accuracy over a split, on the device that holds the parameters;
    samples that have weights count by them.

    The result has `loss`, `accuracy` (a share from 0 to 1; None for a regression) and `samples`.
    """
    device = device_of(params)
    options = compile_options(device.platform, model.policy, CHUNK)
    return prepare_evaluation(model, split, Placement(device), options)(params)


def predict(model: FittedModel, params: Params, rows: Any) -> Float[np.ndarray, "N C"]:
    """Logits f32 [N, C] of rows; of a regression the predicted numbers f64 [N, O], in the units of its data, for
    quantiles [N, O·Q], the quantiles of the first number first.

    rows: an array [N, I] or [N, …] of the kind that the model was trained on; of a model of a table, a data frame
    with its columns by name, in any order, too; or a Split: `dataset.test`, and not `dataset.test.inputs`, which
    are stored already, less what is subtracted from large numbers, and do not say so. Raises ValueError for samples
    of another width than the model's, and for arrays that may be such inputs where that matters (float32 of a model
    that was trained on large float64 numbers, any where columns are taken by name); DataError for a frame that
    lacks a column.
    """
    return model.read_outputs(Predictor.build(model, params)(read_rows(model, rows)))


def predict_proba(model: FittedModel, params: Params, rows: Any) -> Float[np.ndarray, "N C"]:
    """The probability of each class, f64 [N, C], in the order of `model.classes`; of labels, of each being true.

    rows: as for `predict`. Raises ValueError for a model of quantities.
    """
    return model.probabilities(Predictor.build(model, params)(read_rows(model, rows)))
