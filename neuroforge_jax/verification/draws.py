"""The numbers of a case, drawn by NumPy from its own seed, and the oracle's path through its training.

Samples that lie within rounding of a kink of their activation are drawn again: there either derivative is
right, and two correct programs may differ.
"""

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.data.targets import Target, choose_loss
from neuroforge_jax.data.types import Dataset, Split, fit
from neuroforge_jax.verification.bounds import UNIT
from neuroforge_jax.verification.cases import STEPS, Case
from neuroforge_jax.verification.descent import Descent, Footstep, train, tree_map
from neuroforge_jax.verification.oracle import KINKED_LOSSES, Network, Samples, Tree, nearness_to_kink

TRIES = 200

Order = Callable[[int, int, int], np.ndarray]
"""(seed, epoch, samples) → the indices of an epoch; taken from the program under test as it is."""

Rates = Callable[[Case], Sequence[float]]
"""The learning rates of a case's steps; a schedule is the program's too."""


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
        return network_of(self.case.config, self.dataset)

    @property
    def descent(self) -> Descent:
        """The optimizer as the oracle takes it."""
        return descent_of(self.case.config)


def network_of(config: TrainConfig, dataset: Dataset) -> Network:
    """What the config says of the network for this dataset, in the oracle's words."""
    return Network(
        config.activation,
        config.normalization,
        config.residual,
        choose_loss(config.loss, dataset.target.task),
        config.label_smoothing,
        dataset.plan,
        dataset.fitted,
        config.quantiles if config.loss == "quantile" else (),
    )


def descent_of(config: TrainConfig) -> Descent:
    """What the config says of the optimizer, in the oracle's words."""
    betas = (
        0.9 if config.beta1 is None else config.beta1,
        0.999 if config.beta2 is None else config.beta2,
    )
    pairs = [item.split("=") for item in (config.rate_factors or "").split(",") if item]
    factors = {group.strip(): float(factor) for group, factor in pairs}
    return Descent(
        config.optimizer,
        config.momentum,
        config.weight_decay,
        config.clip_norm,
        betas,
        factors,
        1e-8 if config.epsilon is None else config.epsilon,
    )


def draw(case: Case, unit: float, order: Order, rates: Rates) -> Problem:
    """The numbers of a case for products of this roundoff."""
    for attempt in range(TRIES):
        problem = _draw_batch(case, case.bounds(unit).margin, attempt)
        if not case.steps:
            return problem
        problem = walk(problem, unit, order, rates(case))
        if problem.path_avoided or unit > UNIT["float32"]:
            # With a short dtype some sum of some step is always near a kink: the bound knows.
            return problem
    raise RuntimeError(
        f"{case.name}: no draw of {TRIES} keeps away from the kinks of {case.config.activation} and "
        f"{case.config.loss}"
    )


def walk(problem: Problem, unit: float, order: Order, rates: Sequence[float]) -> Problem:
    """The problem with the oracle's path through its training."""
    case, network = problem.case, problem.network
    margin = 4 * case.bounds(UNIT["float32"]).margin  # parameters drift too
    batches = list(itertools.islice(_batches(case, problem.dataset.train, order), case.steps))
    skipped = (2 if unit == UNIT["float16"] else 1) if case.overflow else 0
    path = train(network, problem.descent, problem.params, batches, rates, skipped)
    before = [problem.params, *(footstep.params for footstep in path[:-1])]
    nearest = min(
        nearness_to_kink(network, params, batch.inputs, batch.targets).min()
        for params, batch in zip(before, batches, strict=True)
    )
    return replace(problem, path=tuple(path), path_avoided=bool(nearest > margin))


def _batches(case: Case, train_split: Split, order: Order) -> Iterator[Samples]:
    samples, size = len(train_split), case.config.batch_size
    for epoch in itertools.count():
        indices = order(case.config.seed, epoch, samples) if case.config.shuffle else np.arange(samples)
        for first in range(0, samples, size):
            chosen = train_split[indices[first : first + size]]
            mask = np.ones(len(chosen))
            weights = mask if chosen.weights is None else chosen.weights.astype(np.float64)
            yield Samples(np.asarray(chosen.inputs), chosen.targets, mask, weights)


def _draw_batch(case: Case, margin: float, attempt: int) -> Problem:
    """Parameters, and samples that lie further than the margin from a kink, where enough can be found."""
    rng = np.random.default_rng([zlib.crc32(case.name.encode()), attempt])
    params = _draw_params(case, rng)
    dataset = _draw_dataset(case, rng)
    network = network_of(case.config, dataset)
    split, avoided = _draw_samples_far_from_kinks(case, network, params, margin, rng)
    dataset = replace(dataset, train=split, test=split)
    return Problem(case, dataset, params, _padded_batch(case, split, rng), avoided)


def _draw_dataset(case: Case, rng: np.random.Generator) -> Dataset:
    """What is fitted to the data; its samples are drawn once the network is known."""
    names = tuple(f"class {index}" for index in range(case.classes))
    target = Target("classification" if names else "regression", classes=names)
    split = Split(np.zeros((0, case.plan.record), np.float32), np.zeros(0, np.int32))
    if case.table is None:
        shift, scale = (110.25, 1 / 73) if case.stored == "uint8" else (0.0, 1.0)
        fitted = Fitted(np.asarray(shift, np.float32), np.asarray(scale, np.float32))
    else:
        rows = Split(_draw_inputs(case, rng, case.samples), _draw_targets(case, rng))
        fitted = fit(case.plan, target, rows)
    return Dataset(case.name, split, split, target, (case.plan.record,), case.plan, fitted)


def problem_of(config: TrainConfig, dataset: Dataset, unit: float, order: Order, rates: Rates) -> Problem:
    """A config's own network and optimizer on its own data, for 20 steps; its parameters are drawn.

    Three batches of the training data are used, the last of them smaller where there are enough samples.
    Dropout is off.
    """
    samples = min(len(dataset.train), 3 * config.batch_size - config.batch_size // 3)
    case = Case(
        "config",
        replace(config, dropout=0.0, epochs=-(-STEPS * config.batch_size // samples)),
        table=dataset.plan,
        classes=len(dataset.classes),
        numbers=dataset.outputs,
        samples=samples,
        steps=STEPS,
        standard=False,
    )
    rng = np.random.default_rng(config.seed)
    params = _draw_params(case, rng)
    candidates = dataset.weighted_train[: 20 * samples]
    network = network_of(config, dataset)
    nearness = nearness_to_kink(network, params, np.asarray(candidates.inputs), candidates.targets)
    far = np.nonzero(nearness > case.bounds(unit).margin)[0]
    avoided = len(far) >= samples
    train_split = candidates[far[:samples]] if avoided else candidates[:samples]
    dataset = replace(dataset, train=train_split, class_weights=None)
    problem = Problem(case, dataset, params, _padded_batch(case, train_split, rng), avoided)
    return walk(problem, unit, order, rates(case))


def _padded_batch(case: Case, split: Split, rng: np.random.Generator) -> Samples:
    """The first samples, with weights that differ, the last ninth of them padding."""
    size = case.config.batch_size
    weights = rng.uniform(0.5, 1.5, size).astype(np.float32)
    mask = (np.arange(size) < size - size // 9).astype(np.float64)
    return Samples(split.inputs[:size], split.targets[:size], mask, weights.astype(np.float64))


def _draw_samples_far_from_kinks(
    case: Case, network: Network, params: Tree, margin: float, rng: np.random.Generator
) -> tuple[Split, bool]:
    """Samples, and whether all of them could be drawn so that no sum lies within the margin of a kink.

    Targets are drawn behind the inputs, but where the loss has a kink at them.
    """
    together = network.loss in KINKED_LOSSES
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(TRIES):
        inputs = _draw_inputs(case, rng, case.samples)
        targets = _draw_targets(case, rng) if together else np.zeros(case.samples, np.int32)
        far = nearness_to_kink(network, params, inputs, targets) > margin
        if not far.any():  # a wide net in a short dtype: no sample is free of them
            break
        kept.append((inputs[far], targets[far]))
        if sum(len(chosen) for chosen, _ in kept) >= case.samples:
            inputs, targets = (np.concatenate(parts)[: case.samples] for parts in zip(*kept, strict=True))
            return Split(inputs, targets if together else _draw_targets(case, rng)), True
    return Split(inputs, targets if together else _draw_targets(case, rng)), False


def _draw_inputs(case: Case, rng: np.random.Generator, count: int) -> np.ndarray:
    if case.table is not None:
        return _draw_records(case.table, rng, count)
    if case.stored == "uint8":
        return rng.integers(0, 256, (count, case.inputs), dtype=np.uint8)
    if case.coherent:
        return rng.uniform(0.5, 1.5, (count, case.inputs)).astype(np.float32)
    return rng.normal(size=(count, case.inputs)).astype(np.float32)


def _draw_records(plan: Preprocessor, rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers, some of them missing, and codes of every level."""
    numbers = rng.normal(3, 2, (count, plan.numbers)).astype(np.float32)
    for at in plan.indicators:
        numbers[rng.random(count) < 0.2, at] = np.nan
    codes = [rng.integers(0, code.levels + 1, count).astype(np.float32) for code in plan.codes]
    return np.column_stack([numbers, *codes])


def _draw_targets(case: Case, rng: np.random.Generator) -> np.ndarray:
    if not case.classes:
        size = case.samples, case.numbers
        if case.targets == "counts":
            return rng.poisson(2.0, size).astype(np.float32)
        if case.targets == "labels":
            return rng.integers(0, 2, size).astype(np.float32)
        return case.spread * rng.normal(size=size).astype(np.float32)
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
