"""What defines a training."""

import math
from dataclasses import dataclass
from itertools import pairwise

from neuroforge_jax.config.checks import Range, check_number, check_whole
from neuroforge_jax.config.data import DataConfig
from neuroforge_jax.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig(DataConfig):
    """What defines the training: two runs with equal configs, data and device are the same bits."""

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
    loss: str = "auto"
    """auto (cross-entropy for classes, mse for numbers, binary-cross-entropy for several labels); mse, mae,
    huber or quantile for numbers; poisson for counts; cross-entropy, mse or binary-cross-entropy for
    classes."""
    quantiles: tuple[float, ...] = (0.5,)
    """Quantiles that --loss quantile predicts of each number, from low to high."""
    label_smoothing: float = 0.0
    """Share of the target probability spread evenly over all classes."""
    batch_size: int = 8
    """Samples of one optimizer step."""
    shuffle: bool = True
    """Another order of the samples in every epoch; without, the order in which they are stored."""
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
    epsilon: float | None = None
    """Smallest divisor of adam and adamw (1e-8)."""
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
    monitor: str = "loss"
    """What the best epoch is selected by, on validation data: loss, accuracy, balanced-accuracy, macro-f1,
    log-loss, roc-auc, average-precision, brier, calibration-error; of numbers rmse, mae, r2 or pinball (of --loss
    quantile); of labels label-accuracy, label-macro-f1 or label-roc-auc."""
    patience: int | None = None
    """Stop after so many epochs in which what is monitored was not better than ever."""
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
    """Spread over devices: data=4 divides each batch, model=2 the hidden layers, data=2,model=2 both; auto
    divides the batch over all devices."""
    deterministic_shards: int | None = None
    """Divide each batch into so many shards, a power of two, and sum their gradients in one order: the same
    bits on any number of devices that divides it."""
    seed: int = 0
    """Seed of the weights, the order of samples and the dropout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "epochs", "accumulate"):
            check_whole(self, name, 1, 2**31 - 1)
        for name in ("train_samples", "patience"):
            check_whole(self, name, 1, 2**31 - 1, optional=True)
        check_whole(self, "seed", 0, 2**32 - 1)
        self._check_shards()
        for width in self.hidden:
            if not 1 <= width <= 1_000_000:
                raise ConfigError(
                    f"hidden {width}: widths are whole numbers from 1 to 1000000; "
                    "give --hidden with no width for softmax regression"
                )
        check_number(self, "learning_rate", Range(0, 1e6, above=True))
        check_number(self, "weight_decay", Range(0, 1e6))
        check_number(self, "clip_norm", Range(0, math.inf, above=True), optional=True)
        for name in ("beta1", "beta2"):
            check_number(self, name, Range(0, 1, below=True), optional=True)
        check_number(self, "epsilon", Range(1e-30, 1e6), optional=True)
        for name in ("dropout", "label_smoothing", "momentum", "warmup"):
            check_number(self, name, Range(0, 1, below=True))
        check_number(self, "validation_fraction", Range(0, 1, below=True), optional=True)
        check_number(self, "target_accuracy", Range(0, 1, above=True), optional=True)
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate {self.accumulate} does not divide batch size {self.batch_size}; "
                "choose two numbers that do"
            )
        if self.mixed_precision and self.precision is not None and self.precision != "bf16":
            raise ConfigError(
                f"--mixed-precision and --precision {self.precision} contradict each other; keep one of them"
            )
        self._check_quantiles()
        if self.selects and self.validation_fraction == 0:
            raise ConfigError(
                "--patience and --target-accuracy select on held-out data, and --validation-fraction is 0; "
                "leave it out (0.1) or give a share above 0"
            )

    def _check_shards(self) -> None:
        check_whole(self, "deterministic_shards", 1, 1024, optional=True)
        shards = self.deterministic_shards
        if shards is None:
            return
        if shards & (shards - 1) or shards > self.batch_size:
            raise ConfigError(
                f"--deterministic-shards {shards}: it takes a power of two, and no more than the samples of a "
                f"batch ({self.batch_size})"
            )
        if self.accumulate > 1:
            raise ConfigError(
                f"--deterministic-shards {shards} computes a batch in parts already; leave --accumulate out"
            )

    def _check_quantiles(self) -> None:
        within = bool(self.quantiles) and all(map(Range(0, 1, above=True, below=True).holds, self.quantiles))
        if not within or any(high <= low for low, high in pairwise(self.quantiles)):
            raise ConfigError(
                f"--quantiles {' '.join(map(str, self.quantiles))}: it takes numbers between 0 and 1, from low to "
                "high, as in 0.1 0.5 0.9"
            )
        if self.quantiles != (0.5,) and self.loss != "quantile":
            raise ConfigError(
                f"--quantiles are of --loss quantile, and the loss is {self.loss}; change one of them"
            )

    @property
    def selects(self) -> bool:
        """Whether something is decided by held-out data, so that there must be some."""
        return self.patience is not None or self.target_accuracy is not None

    @property
    def held_out_fraction(self) -> float:
        """Share of the training data held out: as given, else 0.1 where a selection needs it, else 0."""
        if self.validation_fraction is not None:
            return self.validation_fraction
        return 0.1 if self.selects else 0.0
