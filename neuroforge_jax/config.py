"""What defines a training, and how one run of it is carried out: two frozen values.

The sentence under each field is its help on the command line. Numbers are checked here; a name is checked
by the table that owns it, when it is looked up. Importing this module imports nothing heavy.
"""

import math
from dataclasses import dataclass, fields
from pathlib import Path

from neuroforge_jax.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """What defines the training: two runs with equal configs, data and device are the same bits."""

    dataset: str = "auto"
    """auto, mnist, fashion-mnist, digits, breast-cancer, or the path of an .npz or .csv file or a folder."""
    target: str | None = None
    """The column of a .csv file to predict (the last one unless given)."""
    train_samples: int | None = None
    """Train on the first N samples only."""
    validation_fraction: float | None = None
    """Share of the training data held out to select by (0, or 0.1 with --patience or --target-accuracy)."""
    hidden: tuple[int, ...] = (1024, 512)
    """Widths of the hidden layers; no width at all is softmax regression."""
    activation: str = "relu"
    """relu, gelu, silu, tanh, sigmoid, elu, leaky-relu or identity."""
    normalization: str = "none"
    """none, layer or rms, before each hidden activation."""
    dropout: float = 0.0
    """Probability of dropping a hidden unit in training."""
    residual: bool = False
    """Add a layer's input to its output wherever the two widths are equal."""
    initializer: str = "auto"
    """auto (by the activation), he, lecun, glorot, orthogonal, or lsuv, which looks at training rows."""
    loss: str = "cross-entropy"
    """cross-entropy, mse or binary-cross-entropy."""
    label_smoothing: float = 0.0
    """Share of the target probability spread evenly over all classes."""
    batch_size: int = 8
    """Samples of one optimizer step."""
    epochs: int = 10
    """Passes over the training data."""
    optimizer: str = "sgd"
    """sgd, momentum, nesterov, adam, adamw, lion or muon."""
    learning_rate: float = 0.01
    """Peak learning rate."""
    momentum: float = 0.9
    """Decay of the velocity of momentum, nesterov and muon."""
    beta1: float | None = None
    """Decay of the mean gradient of adam, adamw, lion and muon (0.9)."""
    beta2: float | None = None
    """Decay of the mean squared gradient of adam, adamw and muon (0.999); of lion's momentum (0.99)."""
    rate_factors: str | None = None
    """Factors of the learning rate by group of parameters, as in kernels=1,biases=0.1,norms=6 (all 1)."""
    weight_decay: float = 0.0
    """Decay of the weight matrices: L2 in the gradient, decoupled for adamw, lion and muon."""
    schedule: str = "constant"
    """constant, cosine, one-cycle, warmup-cosine or exponential, over the whole run."""
    warmup: float = 0.1
    """Share of the run in which one-cycle and warmup-cosine climb to the peak."""
    clip_norm: float | None = None
    """Largest global norm of a gradient."""
    accumulate: int = 1
    """Parts in which a batch is computed: the same update in less memory."""
    patience: int | None = None
    """Stop after so many epochs without a better validation accuracy."""
    target_accuracy: float | None = None
    """Stop when the validation accuracy reaches this share."""
    backend: str = "auto"
    """A row of the backend table: auto, cpu, optimized, stepped, mixed, cuda-optimized, ...; or a plugin."""
    precision: str | None = None
    """f32, tf32, bf16 or fp16 (float32 weights in each), or dtypes as in p=f32,c=bf16,o=f32 for weights, products
    and activations; the backend's own unless given."""
    loss_scale: str = "auto"
    """auto (dynamic for fp16, else none), none, dynamic, or a number: the factor that keeps gradients above 0."""
    mixed_precision: bool = False
    """Replace the backend's precision by bf16."""
    async_ops: bool = False
    """Replace the backend's execution by the pipelined one."""
    kernels: str | None = None
    """xla, pallas or interpret, or a kernel of another package; the backend's own unless given."""
    mesh: str | None = None
    """Spread over devices, for example data=4,model=2."""
    seed: int = 0
    """Seed of the weights, the order of samples and the dropout."""

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("batch_size", "epochs", "accumulate"):
            _whole(self, name, 1, 2**31 - 1)
        for name in ("train_samples", "patience"):
            _whole(self, name, 1, 2**31 - 1, optional=True)
        _whole(self, "seed", 0, 2**32 - 1)
        for width in self.hidden:
            if not 1 <= width <= 1_000_000:
                raise ConfigError(
                    f"hidden {width}: widths are whole numbers from 1 to 1000000; "
                    "give --hidden with no width for softmax regression"
                )
        _number(self, "learning_rate", _Range(0, 1e6, above=True))
        _number(self, "weight_decay", _Range(0, 1e6))
        _number(self, "clip_norm", _Range(0, math.inf, above=True), optional=True)
        for name in ("beta1", "beta2"):
            _number(self, name, _Range(0, 1, below=True), optional=True)
        for name in ("dropout", "label_smoothing", "momentum", "warmup"):
            _number(self, name, _Range(0, 1, below=True))
        _number(self, "validation_fraction", _Range(0, 1, below=True), optional=True)
        _number(self, "target_accuracy", _Range(0, 1, above=True), optional=True)
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate {self.accumulate} does not divide batch size {self.batch_size}; "
                "choose two numbers that do"
            )
        if self.mixed_precision and self.precision is not None and self.precision != "bf16":
            raise ConfigError(
                f"--mixed-precision and --precision {self.precision} contradict each other; keep one of them"
            )
        if self.selects and self.validation_fraction == 0:
            raise ConfigError(
                "--patience and --target-accuracy select on held-out data, and --validation-fraction is 0; "
                "leave it out (0.1) or give a share above 0"
            )

    @property
    def selects(self) -> bool:
        """Whether something is decided by held-out accuracy, so that held-out data must exist."""
        return self.patience is not None or self.target_accuracy is not None

    @property
    def held_out_fraction(self) -> float:
        """Share of the training data held out: as given, else 0.1 where a selection needs it, else 0."""
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.1 if self.selects else 0.0


@dataclass(frozen=True)
class RunOptions:
    """How one run is carried out; only `on_divergence` changes what is computed, where a step diverges."""

    config: Path | None = None
    """A .py, .toml or .json file to start from; flags override it."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""
    run_dir: Path | None = None
    """Folder to write the run to (else a new one under runs/)."""
    resume: str | None = None
    """Continue the run in this folder, or auto: the one of --run-dir if it is there, else a new one."""
    checkpoint_every: str = "1 minute"
    """Save every '500 steps', '2 epochs', '10 minutes' or the like, and at the end; or never."""
    keep_latest: int = 2
    """Checkpoints to keep: the latest N."""
    keep_best: int = 1
    """Checkpoints to keep beside: the best M by validation, of those saved at the end of an epoch."""
    on_save_error: str = "stop"
    """What to do when a checkpoint cannot be written: stop, or continue and try again when the next one is due."""
    chunk_steps: int | None = None
    """Steps of one dispatch of a pipelined run (else about 8,192 samples)."""
    read_ahead: int = 2
    """Chunks that a pipelined run reads ahead of the device."""
    log_every: int = 0
    """Write a line of metrics every N steps (0: one an epoch)."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard too, into tensorboard/ of the run's folder."""
    benchmark: bool = False
    """Show where the time went: a tree of spans, and a step taken apart into data, forward, backward, optimizer."""
    benchmark_output: Path | None = None
    """Write the same, the result and the environment to this JSON file."""
    memory_profile: bool = False
    """Show where the memory is: programs, arrays, device and process; in memory.json and memory.pprof too."""
    memory_fraction: float | None = None
    """Share of a GPU's memory that the command may take (0.75)."""
    preallocate: bool | None = None
    """Take that memory at once, or as it is needed (at once)."""
    trace: int | None = None
    """Trace so many steps for Perfetto or XProf, and show the operations that took longest."""
    verify: bool = False
    """Check the backend against the float64 oracle first."""
    tolerance: float | None = None
    """Relative error in norm that --verify accepts in float32 (1e-6)."""
    on_divergence: str = "stop"
    """What to do about a step whose gradients are no numbers: stop at it, or skip its update."""
    debug_nans: bool = False
    """Train a step that diverged again, operation by operation, and name the one that made the first NaN."""
    distributed: str | None = None
    """Join other processes, as host:port,count,rank."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        _whole(self, "log_every", 0, 2**31 - 1)
        _number(self, "tolerance", _Range(0, 1, above=True), optional=True)
        _number(self, "memory_fraction", _Range(0, 1, above=True), optional=True)
        if self.tolerance is not None and not self.verify:
            raise ConfigError("--tolerance is what --verify accepts; add --verify or leave it out")
        _whole(self, "trace", 1, 1_000_000, optional=True)
        _whole(self, "chunk_steps", 1, 1_000_000, optional=True)
        _whole(self, "read_ahead", 1, 1000)
        _whole(self, "keep_latest", 1, 1_000_000)
        _whole(self, "keep_best", 0, 1_000_000)
        _one_of(self, "on_save_error", "stop", "continue")
        _one_of(self, "on_divergence", "stop", "skip")


def _check_types(config: TrainConfig) -> None:
    """A config file can hold anything; say which field has a value of the wrong type."""
    for field in fields(config):
        value = getattr(config, field.name)
        kind = str(field.type)
        if field.name == "hidden":
            good = isinstance(value, tuple) and all(type(width) is int for width in value)
            wanted = "a tuple of whole numbers"
        else:
            base, _, optional = kind.partition(" | ")
            base = base.removeprefix("<class '").removesuffix("'>")
            types: dict[str, tuple[tuple[type, ...], str]] = {
                "str": ((str,), "a string"),
                "int": ((int,), "a whole number"),
                "float": ((int, float), "a number"),
                "bool": ((bool,), "true or false"),
            }
            allowed, wanted = types[base]
            good = isinstance(value, allowed) and (base == "bool" or not isinstance(value, bool))
            if optional:
                good, wanted = good or value is None, f"{wanted} or None"
        if not good:
            raise ConfigError(f"{field.name} is {value!r}: it takes {wanted}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _one_of(config: object, name: str, *words: str) -> None:
    if (value := getattr(config, name)) not in words:
        raise ConfigError(f"{_flag(name)} {value}: it takes {' or '.join(words)}")


def _whole(config: object, name: str, low: int, high: int, *, optional: bool = False) -> None:
    value = getattr(config, name)
    if (value is None and optional) or low <= value <= high:
        return
    raise ConfigError(f"{_flag(name)} {value}: it takes a whole number from {low} to {high}")


@dataclass(frozen=True)
class _Range:
    """Numbers from low to high; `above` and `below` leave the bound itself out. NaN is never within."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is finite and within."""
        from_low = self.low < value if self.above else self.low <= value
        to_high = value < self.high if self.below else value <= self.high
        return from_low and to_high and math.isfinite(value)

    def __str__(self) -> str:
        lower = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        upper = f"to below {self.high:g}" if self.below else f"to {self.high:g}"
        return f"{lower} {upper if math.isfinite(self.high) else 'upwards'}"


def _number(config: object, name: str, allowed: _Range, *, optional: bool = False) -> None:
    value = getattr(config, name)
    if not (value is None and optional) and not allowed.holds(value):
        raise ConfigError(f"{_flag(name)} {value}: it takes a finite number {allowed}")
