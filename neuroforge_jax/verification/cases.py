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


def standard_cases() -> tuple[Case, ...]:
    """Every activation, loss and normalization for a batch, every optimizer for 20 steps, two larger sizes."""
    base = TrainConfig(hidden=(96, 67), batch_size=67, epochs=7, learning_rate=0.2)
    large = {"columns": 784, "classes": 10, "stored": "uint8", "standard": False, "row": LARGER}

    def case(name: str, *, sizes: Mapping[str, Any] | None = None, **fields: Any) -> Case:
        return Case(name, replace(base, **fields), **(sizes or {}))

    def trained(name: str, sizes: Mapping[str, Any] | None = None, **fields: Any) -> Case:
        return case(name, sizes={"steps": STEPS, "parts": False, **(sizes or {})}, **fields)

    return (
        case("relu"),
        case("gelu, uint8, smoothed", sizes={"stored": "uint8"}, activation="gelu", label_smoothing=0.1),
        case("silu, rms norm", activation="silu", normalization="rms"),
        case("tanh, binary, smoothed", activation="tanh", loss="binary-cross-entropy", label_smoothing=0.2),
        case("sigmoid, mse of numbers", sizes={"classes": 0}, activation="sigmoid", loss="mse"),
        case(
            "elu, layer norm, residual",
            hidden=(61, 96, 96),
            activation="elu",
            normalization="layer",
            residual=True,
        ),
        case(
            "table, robust",
            sizes={"classes": 0, "table": Preprocessor(5, CODES, (1, 3), "robust"), "spread": 7.0},
            activation="silu",
            loss="mse",
        ),
        case(
            "table, quantiles", sizes={"table": Preprocessor(3, CODES, (0,), "quantile")}, activation="gelu"
        ),
        trained(
            "table, levels looked up",
            sizes={
                "table": Preprocessor(4, (*CODES, Codes(97), Codes(80, missing=True)), (2,)),
                "standard": False,
                "row": LARGER,
            },
            activation="tanh",
        ),
        case("leaky relu, accumulated", activation="leaky-relu", batch_size=36, accumulate=4),
        case("identity, mse, smoothed", activation="identity", loss="mse", label_smoothing=0.1),
        case("no hidden layer, binary", hidden=(), loss="binary-cross-entropy"),
        case("gelu, batch of one", activation="gelu", batch_size=1),
        case("tanh, mae", sizes={"classes": 0}, activation="tanh", loss="mae"),
        case("gelu, huber", sizes={"classes": 0}, activation="gelu", loss="huber"),
        case(
            "relu, quantiles",
            sizes={"classes": 0, "numbers": 2},
            loss="quantile",
            quantiles=(0.1, 0.5, 0.9),
        ),
        case("silu, poisson", sizes={"classes": 0, "targets": "counts"}, activation="silu", loss="poisson"),
        case(
            "tanh, several labels, smoothed",
            sizes={"classes": 0, "targets": "labels"},
            activation="tanh",
            loss="binary-cross-entropy",
            label_smoothing=0.1,
        ),
        trained("sgd"),
        # Few samples have a weight gradient of their own in the dense layer.
        trained("sgd, small batches", activation="tanh", batch_size=8),
        trained("sgd, clipped, decayed", activation="gelu", clip_norm=0.5, weight_decay=0.01),
        trained("sgd, accumulated", activation="tanh", batch_size=36, accumulate=4),
        trained("momentum", activation="gelu", optimizer="momentum", learning_rate=0.05),
        trained(
            "nesterov", activation="silu", optimizer="nesterov", learning_rate=0.05, normalization="layer"
        ),
        trained("one-cycle", activation="tanh", optimizer="momentum", schedule="one-cycle"),
        trained("adam", activation="gelu", optimizer="adam", learning_rate=0.002),
        trained(
            "adamw",
            activation="tanh",
            optimizer="adamw",
            learning_rate=0.002,
            weight_decay=0.05,
            beta2=0.99,
            rate_factors="biases=0.5",
        ),
        trained("scaled", activation="gelu", loss_scale="1024", sizes={"row": SCALED}),
        trained(
            "overflowing",
            activation="tanh",
            loss="mse",
            optimizer="adam",
            schedule="cosine",
            learning_rate=0.002,
            loss_scale="dynamic",
            sizes={"row": SCALED, "overflow": True, "classes": 0, "spread": 100.0},
        ),
        # In bfloat16 a sum stops growing at 256 times its term.
        case(
            "sums of 8,192",
            sizes={"columns": 8192, "samples": 257, "standard": False, "row": LARGER, "coherent": True},
            hidden=(),
            batch_size=257,
        ),
        # On a CPU only products of this size are computed in bfloat16 at all.
        *(
            case(f"784-512-256-10 {name}", sizes=large, hidden=(512, 256), activation=name)
            for name in ACTIVATIONS
        ),
        case(
            "784-512-256-10 momentum",
            sizes=large | {"steps": STEPS, "parts": False},
            hidden=(512, 256),
            activation="silu",
            optimizer="momentum",
            learning_rate=0.02,
        ),
    )
