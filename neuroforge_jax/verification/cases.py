"""What is verified: small trainings that together use every activation, loss, normalization and optimizer.

Sizes are odd on purpose: 181 samples in batches of 67 leave a last batch of 47. Parameters and data are drawn
by NumPy from the case's own seed; samples within rounding of a kink of their activation are drawn again.
"""

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset, Scaling, Split
from neuroforge_jax.verification.bounds import Bounds
from neuroforge_jax.verification.descent import Descent, Footstep, train, tree_map
from neuroforge_jax.verification.oracle import ACTIVATIONS, KINKED, Network, Samples, Tree, nearness_to_kink

SAMPLES, STEPS, TRIES = 181, 20, 200

Order = Callable[[int, int, int], np.ndarray]
"""(seed, epoch, samples) → the indices of an epoch; the one thing taken from the program under test."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network and how it is trained, `config`, with the sizes of its data.

    classes: 0 for a regression with 3 outputs. stored: dtype of the inputs. steps: to train; 0 for none.
    standard: whether the float32 tolerance governs. coherent: all terms of every sum have one sign.
    """

    name: str
    config: TrainConfig
    inputs: int = 61
    classes: int = 7
    stored: str = "float32"
    samples: int = SAMPLES
    steps: int = 0
    standard: bool = True
    coherent: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the inputs, the hidden layers and the outputs."""
        return (self.inputs, *self.config.hidden, self.classes or 3)

    def bounds(self, unit: float, *, kinks: bool = False) -> Bounds:
        """The bounds where products have this roundoff."""
        longest = max(*self.widths[:-1], self.config.batch_size)
        return Bounds(unit, len(self.widths) - 1, longest, kinks and self.config.activation in KINKED)


@dataclass(frozen=True, eq=False)
class Problem:
    """A case with its numbers drawn.

    params: float32 values, held in float64. batch: what logits, loss and gradients are computed of; some of
    it padding. avoided: whether no sum of the batch lies within rounding of a kink. path: of the training.
    """

    case: Case
    dataset: Dataset
    params: Tree
    batch: Samples
    avoided: bool
    path: tuple[Footstep, ...] = ()
    path_avoided: bool = True

    @property
    def network(self) -> Network:
        """The network as the oracle takes it."""
        return network_of(self.case.config, self.dataset.scaling)

    @property
    def descent(self) -> Descent:
        """The optimizer as the oracle takes it."""
        return descent_of(self.case.config)


def network_of(config: TrainConfig, scaling: Scaling) -> Network:
    """What the config says of the network, in the oracle's words."""
    return Network(
        config.activation,
        config.normalization,
        config.residual,
        config.loss,
        config.label_smoothing,
        scaling.shift.astype(np.float64),
        scaling.scale.astype(np.float64),
    )


def descent_of(config: TrainConfig) -> Descent:
    """What the config says of the optimizer, in the oracle's words."""
    return Descent(config.optimizer, config.momentum, config.weight_decay, config.clip_norm)


def standard_cases() -> tuple[Case, ...]:
    """Every activation, loss and normalization for a batch, every optimizer for 20 steps, two larger sizes."""
    base = TrainConfig(hidden=(96, 67), batch_size=67, epochs=7, learning_rate=0.2)
    large = {"inputs": 784, "classes": 10, "stored": "uint8", "standard": False}

    def case(name: str, *, sizes: Mapping[str, Any] | None = None, **fields: Any) -> Case:
        return Case(name, replace(base, **fields), **(sizes or {}))

    def trained(name: str, **fields: Any) -> Case:
        return case(name, sizes={"steps": STEPS}, **fields)

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
        case("leaky relu, accumulated", activation="leaky-relu", batch_size=36, accumulate=4),
        case("identity, mse, smoothed", activation="identity", loss="mse", label_smoothing=0.1),
        case("no hidden layer, binary", hidden=(), loss="binary-cross-entropy"),
        case("gelu, batch of one", activation="gelu", batch_size=1),
        trained("sgd"),
        trained("sgd, clipped, decayed", activation="gelu", clip_norm=0.5, weight_decay=0.01),
        trained("sgd, accumulated", activation="tanh", batch_size=36, accumulate=4),
        trained("momentum", activation="gelu", optimizer="momentum", learning_rate=0.05),
        trained(
            "nesterov", activation="silu", optimizer="nesterov", learning_rate=0.05, normalization="layer"
        ),
        trained("one-cycle", activation="tanh", optimizer="momentum", schedule="one-cycle"),
        trained("adam", activation="gelu", optimizer="adam", learning_rate=0.002),
        trained("adamw", activation="tanh", optimizer="adamw", learning_rate=0.002, weight_decay=0.05),
        # In bfloat16 a sum stops growing at 256 times its term.
        case(
            "sums of 8,192",
            sizes={"inputs": 8192, "samples": 257, "standard": False, "coherent": True},
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
            sizes=large | {"steps": STEPS},
            hidden=(512, 256),
            activation="silu",
            optimizer="momentum",
            learning_rate=0.02,
        ),
    )


def draw(case: Case, unit: float, order: Order, rates: Sequence[float] = ()) -> Problem:
    """The numbers of a case for products of this roundoff; `rates` are the learning rates of its steps."""
    for attempt in range(TRIES):
        problem = _draw_batch(case, case.bounds(unit).margin, attempt)
        if not case.steps:
            return problem
        problem = walk(problem, order, rates)
        if problem.path_avoided or unit > 2.0**-20:
            # With a short dtype some sum of some step is always near a kink: the bound knows.
            return problem
    raise RuntimeError(
        f"{case.name}: no draw of {TRIES} keeps away from the kinks of {case.config.activation}"
    )


def walk(problem: Problem, order: Order, rates: Sequence[float]) -> Problem:
    """The problem with the oracle's path through its training."""
    case, network = problem.case, problem.network
    margin = 4 * case.bounds(2.0**-24).margin  # parameters drift too
    batches = list(itertools.islice(_batches(case, problem.dataset.train, order), case.steps))
    path = train(network, problem.descent, problem.params, batches, rates)
    before = [problem.params, *(footstep.params for footstep in path[:-1])]
    nearest = min(
        nearness_to_kink(network, params, batch.inputs).min()
        for params, batch in zip(before, batches, strict=True)
    )
    return replace(problem, path=tuple(path), path_avoided=bool(nearest > margin))


def _batches(case: Case, train_split: Split, order: Order) -> Iterator[Samples]:
    samples, size = len(train_split), case.config.batch_size
    for epoch in itertools.count():
        indices = order(case.config.seed, epoch, samples)
        for first in range(0, samples, size):
            chosen = train_split[indices[first : first + size]]
            yield Samples(chosen.inputs, chosen.targets, np.ones(len(chosen)))


def _draw_batch(case: Case, margin: float, attempt: int) -> Problem:
    """Parameters, and samples that lie further than the margin from a kink, where enough can be found."""
    rng = np.random.default_rng([zlib.crc32(case.name.encode()), attempt])
    params = _draw_params(case, rng)
    scaling = Scaling(np.float32(0.0), np.float32(1.0))
    if case.stored == "uint8":
        scaling = Scaling(np.float32(110.25), np.float32(1 / 73))
    network = network_of(case.config, scaling)
    inputs, avoided = _draw_inputs_far_from_kinks(case, network, params, margin, rng)
    split = Split(inputs, _draw_targets(case, rng))
    names = tuple(f"class {index}" for index in range(case.classes))
    dataset = Dataset(case.name, split, split, names, (case.inputs,), scaling)
    size = case.config.batch_size
    weights = rng.uniform(0.5, 1.5, size).astype(np.float32)
    weights[size - size // 9 :] = 0
    batch = Samples(split.inputs[:size], split.targets[:size], weights.astype(np.float64))
    return Problem(case, dataset, params, batch, avoided)


def _draw_inputs_far_from_kinks(
    case: Case, network: Network, params: Tree, margin: float, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Inputs, and whether all of them could be drawn so that no sum lies within the margin of a kink."""
    kept: list[np.ndarray] = []
    for _ in range(TRIES):
        drawn = _draw_inputs(case, rng, case.samples)
        far = drawn[nearness_to_kink(network, params, drawn) > margin]
        if len(far) == 0:  # a wide net in a short dtype: no sample is free of them
            return drawn, False
        kept.append(far)
        if sum(map(len, kept)) >= case.samples:
            return np.concatenate(kept)[: case.samples], True
    return drawn, False


def _draw_inputs(case: Case, rng: np.random.Generator, count: int) -> np.ndarray:
    if case.stored == "uint8":
        return rng.integers(0, 256, (count, case.inputs), dtype=np.uint8)
    if case.coherent:
        return rng.uniform(0.5, 1.5, (count, case.inputs)).astype(np.float32)
    return rng.normal(size=(count, case.inputs)).astype(np.float32)


def _draw_targets(case: Case, rng: np.random.Generator) -> np.ndarray:
    if not case.classes:
        return rng.normal(size=(case.samples, 3)).astype(np.float32)
    if case.coherent:
        return np.zeros(case.samples, np.int32)
    # Skewed: with equal shares the output's bias gradient would be a difference of equals.
    share = np.arange(1, case.classes + 1) / np.arange(1, case.classes + 1).sum()
    return rng.choice(case.classes, case.samples, p=share).astype(np.int32)


def _draw_params(case: Case, rng: np.random.Generator) -> Tree:
    """No leaf is zero, so that none can be left out unnoticed."""
    tree: Tree = {}
    last = len(case.widths) - 2
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(case.widths)):
        kernel = rng.normal(size=(fan_in, fan_out)) * (1.0 if index == last else 1.4) / np.sqrt(fan_in)
        if case.coherent:
            kernel = rng.uniform(0.5, 1.5, (fan_in, fan_out)) / fan_in
        leaves = {"kernel": kernel, "bias": 0.1 * rng.normal(size=fan_out)}
        if index != last and case.config.normalization != "none":
            leaves["scale"] = 1 + 0.1 * rng.normal(size=fan_out)
            if case.config.normalization == "layer":
                leaves["shift"] = 0.1 * rng.normal(size=fan_out)
        tree["output" if index == last else f"layer{index}"] = leaves
    return tree_map(lambda leaf: leaf.astype(np.float32).astype(np.float64), tree)
