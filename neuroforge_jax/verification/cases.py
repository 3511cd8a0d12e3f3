"""What is verified: small trainings that together use every activation, loss, normalization and optimizer.

Sizes are odd on purpose: 181 samples in batches of 67 leave a last batch of 47.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.preprocess import Codes, Preprocessor
from neuroforge_jax.verification.bounds import Bounds
from neuroforge_jax.verification.oracle import ACTIVATIONS, KINKED, KINKED_LOSSES

SAMPLES, STEPS = 181, 20

LARGER, SCALED = "larger sums and nets", "loss scaling"

OVERFLOW, BACKOFF = 2.0**127, 2.0**-60
"""A loss scale with which gradients above 2 overflow float32 and bfloat16, and how much of it is left after that:
2⁶⁷, which overflows float16 alone, and then 2⁷, which overflows nothing."""


CODES = (Codes(3), Codes(2), Codes(4, missing=True), Codes(2, missing=True))
"""Categories of each kind."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network and how it is trained, `config`, with the sizes of its data.

    classes: 0 for a regression, with `numbers` outputs. stored: dtype of the inputs. parts: whether logits, loss
    and gradients of a batch are compared. steps: to train; 0 for none. standard: whether the float32 tolerance
    governs. row: of the table, instead of those of what is compared. coherent: all terms have one sign.
    overflow: whether the loss scale begins at OVERFLOW. spread: of the targets of a regression. targets: what its
    numbers are: `numbers`, `counts`, or `labels` of 0 or 1. columns: numbers of a row; table: the plan of one that
    has more than numbers, whose targets are scaled too.
    """

    name: str
    config: TrainConfig
    columns: int = 61
    classes: int = 7
    numbers: int = 3
    stored: str = "float32"
    samples: int = SAMPLES
    parts: bool = True
    steps: int = 0
    standard: bool = True
    row: str | None = None
    coherent: bool = False
    overflow: bool = False
    spread: float = 1.0
    targets: str = "numbers"
    table: Preprocessor | None = None

    @property
    def plan(self) -> Preprocessor:
        """What becomes of a row before the first layer."""
        return self.table or Preprocessor(self.columns, pixels=self.stored == "uint8")

    @property
    def inputs(self) -> int:
        """Of the network."""
        return self.plan.width

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the inputs, the hidden layers and the outputs."""
        config = self.config
        per_number = len(config.quantiles) if config.loss == "quantile" else 1
        return (self.inputs, *config.hidden, self.classes or self.numbers * per_number)

    def bounds(self, unit: float, *, kinks: bool = False) -> Bounds:
        """The bounds where products have this roundoff."""
        config, longest = self.config, max(*self.widths[:-1], self.config.batch_size)
        of_layers = len(config.hidden) if kinks and config.activation in KINKED else 0
        return Bounds(unit, len(self.widths) - 1, longest, of_layers, kinks and config.loss in KINKED_LOSSES)


BASE = TrainConfig(hidden=(96, 67), batch_size=67, epochs=7, learning_rate=0.2)


def standard_cases() -> tuple[Case, ...]:
    """Every activation, loss and normalization for a batch, every optimizer for 20 steps, tables, larger sizes."""
    return (*_batches_of_classes(), *_batches_of_numbers(), *_tables(), *_trainings(), *_larger())


def _case(name: str, *, sizes: Mapping[str, Any] | None = None, **fields: Any) -> Case:
    """One that compares a batch. sizes: fields of the case; fields: of its config."""
    return Case(name, replace(BASE, **fields), **(sizes or {}))


def _training(name: str, *, sizes: Mapping[str, Any] | None = None, **fields: Any) -> Case:
    """One that compares what some steps come to."""
    return _case(name, sizes={"steps": STEPS, "parts": False, **(sizes or {})}, **fields)


def _batches_of_classes() -> tuple[Case, ...]:
    return (
        _case("relu"),
        _case("gelu, uint8, smoothed", sizes={"stored": "uint8"}, activation="gelu", label_smoothing=0.1),
        _case("silu, rms norm", activation="silu", normalization="rms"),
        _case("tanh, binary, smoothed", activation="tanh", loss="binary-cross-entropy", label_smoothing=0.2),
        _case("leaky relu, accumulated", activation="leaky-relu", batch_size=36, accumulate=4),
        _case("identity, mse, smoothed", activation="identity", loss="mse", label_smoothing=0.1),
        _case("no hidden layer, binary", hidden=(), loss="binary-cross-entropy"),
        _case("gelu, batch of one", activation="gelu", batch_size=1),
        _case(
            "elu, layer norm, residual",
            hidden=(61, 96, 96),
            activation="elu",
            normalization="layer",
            residual=True,
        ),
    )


def _batches_of_numbers() -> tuple[Case, ...]:
    def case(name: str, *, sizes: Mapping[str, Any] | None = None, **fields: Any) -> Case:
        return _case(name, sizes={"classes": 0, **(sizes or {})}, **fields)

    return (
        case("sigmoid, mse of numbers", activation="sigmoid", loss="mse"),
        case("tanh, mae", activation="tanh", loss="mae"),
        case("gelu, huber", activation="gelu", loss="huber"),
        case("relu, quantiles", sizes={"numbers": 2}, loss="quantile", quantiles=(0.1, 0.5, 0.9)),
        case("silu, poisson", sizes={"targets": "counts"}, activation="silu", loss="poisson"),
        case(
            "tanh, several labels, smoothed",
            sizes={"targets": "labels"},
            activation="tanh",
            loss="binary-cross-entropy",
            label_smoothing=0.1,
        ),
    )


def _tables() -> tuple[Case, ...]:
    robust = Preprocessor(5, CODES, (1, 3), "robust")
    quantile = Preprocessor(3, CODES, (0,), "quantile")
    looked_up = Preprocessor(4, (*CODES, Codes(97), Codes(80, missing=True)), (2,))
    return (
        _case(
            "table, robust",
            sizes={"classes": 0, "table": robust, "spread": 7.0},
            activation="silu",
            loss="mse",
        ),
        _case("table, quantiles", sizes={"table": quantile}, activation="gelu"),
        _training(
            "table, levels looked up",
            sizes={"table": looked_up, "standard": False, "row": LARGER},
            activation="tanh",
        ),
    )


def _trainings() -> tuple[Case, ...]:
    return (
        _training("sgd"),
        # Few samples have a weight gradient of their own in the dense layer.
        _training("sgd, small batches", activation="tanh", batch_size=8),
        _training("sgd, clipped, decayed", activation="gelu", clip_norm=0.5, weight_decay=0.01),
        _training("sgd, accumulated", activation="tanh", batch_size=36, accumulate=4),
        _training("sgd, stored order", activation="tanh", shuffle=False),
        _training("momentum", activation="gelu", optimizer="momentum", learning_rate=0.05),
        _training(
            "nesterov", activation="silu", optimizer="nesterov", learning_rate=0.05, normalization="layer"
        ),
        _training("one-cycle", activation="tanh", optimizer="momentum", schedule="one-cycle"),
        _training("adam", activation="gelu", optimizer="adam", learning_rate=0.002),
        _training(
            "adamw",
            activation="tanh",
            optimizer="adamw",
            learning_rate=0.002,
            weight_decay=0.05,
            beta2=0.99,
            epsilon=0.01,
            rate_factors="biases=0.5",
        ),
        _training("scaled", activation="gelu", loss_scale="1024", sizes={"row": SCALED}),
        _training(
            "overflowing",
            activation="tanh",
            loss="mse",
            optimizer="adam",
            schedule="cosine",
            learning_rate=0.002,
            loss_scale="dynamic",
            sizes={"row": SCALED, "overflow": True, "classes": 0, "spread": 100.0},
        ),
    )


def _larger() -> tuple[Case, ...]:
    large = {"columns": 784, "classes": 10, "stored": "uint8", "standard": False, "row": LARGER}
    # In bfloat16 a sum stops growing at 256 times its term.
    sums = {"columns": 8192, "samples": 257, "standard": False, "row": LARGER, "coherent": True}
    # On a CPU only products of the size of the others are computed in bfloat16 at all.
    return (
        _case("sums of 8,192", sizes=sums, hidden=(), batch_size=257),
        *(
            _case(f"784-512-256-10 {name}", sizes=large, hidden=(512, 256), activation=name)
            for name in ACTIVATIONS
        ),
        _training(
            "784-512-256-10 momentum",
            sizes=large,
            hidden=(512, 256),
            activation="silu",
            optimizer="momentum",
            learning_rate=0.02,
        ),
    )
