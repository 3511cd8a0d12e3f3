"""A training with every name looked up, once: what a config, a dataset and a backend come to.

    job = Job.build(config, dataset)
    run = job.compile()
    state, metrics = run(job.start(), 0, job.steps_per_epoch)

Nothing below it sees the config or asks for a name again.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from neuroforge_jax.backends.compiler import options_of_what_runs_once
from neuroforge_jax.backends.executors.base import ExecutorSpec, Run, Streaming
from neuroforge_jax.backends.memory_estimate import Estimate, estimate
from neuroforge_jax.backends.resolve import Choice, choose
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data import shuffle
from neuroforge_jax.data.batch import BatchRows
from neuroforge_jax.data.shards.dataset import ShardedDataset
from neuroforge_jax.data.stream import Source
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.job.resolve import make_model, make_selection, make_training
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.nn import mlp as nn
from neuroforge_jax.nn.mlp import MLP, ParamsLike
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.precision.policy import Policy
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.training.best import Selection
from neuroforge_jax.training.compiling import Compiling, start_compiling
from neuroforge_jax.training.evaluate import (
    Evaluator,
    EvaluatorOfMembers,
    prepare_evaluation,
    prepare_evaluation_of_members,
)
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.optimizer import OptimizerSpec
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState, copy_params, params_key, state_around
from neuroforge_jax.training.step import Parts, Training, make_step
from neuroforge_jax.typing import Array, CompileOptions, Float, Params, PRNGKey

SAMPLE = 256
"""Training rows that the first parameters may be fitted to."""


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
    placement: Placement
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
        many: bool = False,
    ) -> "Job":
        """Look everything up.

        choice: the backend, where it is chosen already. skips_non_finite: a step whose gradients are not finite
        updates nothing, in float32 and bf16 too. many: that it will be given the seeds of a population. Raises
        ConfigError for names and sizes that cannot be used, DeviceError where the backend's platform is absent.
        """
        own = None
        if source is None and isinstance(dataset, ShardedDataset):
            own = source = dataset.source(config.batch_size, shuffles=config.shuffle)
        choice = choice or choose(config, streams=own is not None)
        backend = choice.backend
        if source is not None and not backend.executor.takes_source:
            raise ConfigError(
                f"backend {backend.name!r} ({backend.executor.name} execution) keeps its data on the device; to "
                "train from a source use --backend async, or --async-ops"
            )
        if not config.shuffle and own is None:
            check_keeps_order(backend, source)
        model = make_model(config, dataset, backend)
        training = make_training(config, dataset, model.spec, source, skips_non_finite=skips_non_finite)
        placement = make_placement(config, choice, model.mlp)
        if placement.parts("members") > 1 and not many:
            raise ConfigError(
                f"--mesh {config.mesh}: a population is trained by nf.fit_population, and this is one network; use "
                "--mesh data=N"
            )
        return Job(
            config,
            backend,
            choice.reason,
            placement,
            backend.policy,
            backend.options(
                config.batch_size // placement.parts("batch"), training_flops(training, model.mlp)
            ),
            dataset,
            model,
            training,
            source,
            selection=make_selection(config, dataset, model),
        )

    @property
    def device(self) -> jax.Device:
        """Where it is, or of several devices the first."""
        return self.placement.device

    @property
    def on_one_device(self) -> "Job":
        """The same training on its first device alone."""
        return replace(self, placement=Placement(self.device))

    @property
    def steps_per_epoch(self) -> int:
        """The last batch of an epoch is padded."""
        return shuffle.steps_per_epoch(len(self.source or self.dataset.train), self.training.batch_size)

    @cached_property
    def parts(self) -> Parts:
        """The pure parts of its step."""
        return self.backend.parts(self.model.spec, self.training, self.placement)

    @cached_property
    def state_like(self) -> TrainState:
        """The shapes and dtypes of its state, and over a mesh where each array of it lies."""
        like = replace(self._complete_program.out_info, params=self._params_like)
        return self.placement.lay_out(like, many=self._many)

    def prepare_start(self) -> None:
        """Let what draws the first parameters be compiled from now on, beside all else; `start` waits for it."""
        _ = self._draw_program, self._complete_program

    def start(self, params: Params | None = None) -> TrainState:
        """The state before the first step, on the device; of a population [P, …].

        params: the first parameters, of the host or of any device, in the place of drawn ones, for which then
        nothing is compiled; they are copied. Raises ValueError for others than those of `state_like`.
        """
        if params is None:
            self.prepare_start()
            params = self._draw_program(self._key, self._sample)
        else:
            params = copy_params(params, self._params_like, self.device)
        state = replace(self._complete_program(params, self._key, self._hyper), params=params)
        return state if self.placement.mesh is None else self.place(state)

    def place(self, state: TrainState) -> TrainState:
        """A state of the host or of one device where that of this training lies, in buffers of its own."""
        return self.placement.put(state, self.state_like)

    @cached_property
    def _params_like(self) -> ParamsLike:
        like = nn.params_like(self.model.mlp, self.policy.param)
        if self.seeds is None:
            return like
        members = (len(self.seeds),)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*members, *leaf.shape), leaf.dtype), like)

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
        return start_compiling(program, self.device, self._params_like, self._key, self._hyper)

    def spec(self, parts: Parts | None = None) -> ExecutorSpec:
        """What the execution is given. parts: of the step, in the place of the backend's own."""
        return ExecutorSpec(
            step=make_step(parts or self.parts),
            state_like=self.state_like,
            fitted=self.model.fitted,
            train=self.dataset.weighted_train,
            placement=self.placement,
            batch_size=self.training.batch_size,
            steps=self.training.steps,
            shuffles=self.training.shuffles,
            options=self.compile_options,
            source=self.source,
            streaming=self.streaming,
            members=None if self.seeds is None else len(self.seeds),
            metrics_held=self.training.metrics_held,
            rows=self.rows_of(self.training.batch_size),
        )

    def rows_of(self, samples: int) -> BatchRows:
        """The rows of a batch of so many samples: every device gets as many of a part of it, and every shard."""
        shares = self.training.shards or self.placement.parts("batch")
        return BatchRows.of(samples, self.training.accumulate, shares)

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
            self.model, split, self.placement, self.compile_options, params_like, monitor=monitor
        )

    def evaluator_of_members(self, split: Split) -> EvaluatorOfMembers:
        """A function of a population's parameters [P, …] that evaluates a split for each network, all at once."""
        monitor = self.selection.monitor
        return prepare_evaluation_of_members(
            self.model, split, self.placement, self.compile_options, monitor=monitor
        )

    @cached_property
    def memory(self) -> Estimate:
        """What it takes on the device, by shapes alone."""
        others = [split for split in (self.dataset.validation, self.dataset.test) if split is not None]
        executor, accumulate = self.backend.executor, self.training.accumulate
        return estimate(self.spec(), executor, self.model.mlp, others, accumulate)


def make_placement(config: TrainConfig, choice: Choice, mlp: MLP) -> Placement:
    """The devices of a training. Raises ConfigError for shards that do not divide over them."""
    mesh, shards = choice.mesh, config.deterministic_shards
    if mesh is None:
        return Placement(choice.backend.device)
    placement = Placement(mesh.local_devices[0], mesh, mlp)
    if shards is not None and (shards % placement.parts("batch") or placement.parts("hidden") > 1):
        raise ConfigError(
            f"--mesh {config.mesh} and --deterministic-shards {shards}: every device computes as many of the "
            "shards, whole ones; take a mesh of data=1, 2, 4, … up to the shards, and no model axis"
        )
    return placement


def check_keeps_order(backend: Backend, source: Source | None) -> None:
    """Raises ConfigError where samples cannot be taken in the order in which they are stored."""
    if source is not None:
        raise ConfigError(
            "--no-shuffle is for samples in arrays, and a source has an order of its own: leave it out, and use "
            "nf.ArraySource(split, shuffles=False) or nf.IteratorSource(..., window=1)"
        )
    if not backend.executor.keeps_order:
        raise ConfigError(
            f"--no-shuffle: backend {backend.name!r} ({backend.executor.name} execution) always shuffles; leave it "
            "out, or use --backend optimized"
        )


def training_flops(training: Training, mlp: MLP) -> float:
    """Operations of all products of a training of one network."""
    return float(nn.train_flops(mlp)) * training.batch_size * training.steps


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
