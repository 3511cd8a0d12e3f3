"""A dataset from shards of arrays: pairs of files, inputs and targets."""

from collections.abc import Sequence

import numpy as np

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.array_sets import choose_origins, store_inputs, target_columns
from neuroforge_jax.data.preprocess import Preprocessor
from neuroforge_jax.data.shards.arrays import ArrayBlocks, ArrayFile
from neuroforge_jax.data.shards.dataset import ShardedDataset, fit_pixels, show
from neuroforge_jax.data.shards.decoding import ArrayDecoder
from neuroforge_jax.data.shards.manifest import Manifest, Shard
from neuroforge_jax.data.shards.parts import Pass, check_rows, describe, digest, name_of, read_part
from neuroforge_jax.data.shards.selection import Selection
from neuroforge_jax.data.shards.statistics import NumberStatistics, Slots, fit_numbers
from neuroforge_jax.data.shards.target_statistics import TargetStatistics
from neuroforge_jax.data.shards.units import SelectedUnits, spread_evenly
from neuroforge_jax.data.target_choice import MAX_CLASSES
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.values import Values
from neuroforge_jax.errors import DataError

Pairs = Sequence[tuple[ArrayFile, ArrayFile]]

LOOK_UNITS = 16


def load_arrays(manifest: Manifest, config: DataConfig) -> ShardedDataset:
    """See `shards.load.load_shards`."""
    files = open_pairs(manifest)
    blocks = ArrayBlocks(files["train"])
    x = files["train"][0][0]
    shape = x.shape[1:] or (1,)
    width, is_bytes = int(np.prod(shape)), x.dtype == np.uint8
    origins = choose_origins(_look(blocks))
    plan = Preprocessor(
        width, scaling="standard" if config.scaling == "auto" else config.scaling, pixels=is_bytes
    )
    numbers, statistics = _learn(manifest, files["train"], origins, plan)
    target = _choose_target(statistics, str(manifest.folder), config.task, files["train"][0][1])
    decoder = ArrayDecoder(target, width, is_bytes, origins)
    units = SelectedUnits(blocks, decoder, Selection(), blocks.rows)
    train = show(units)
    others = {
        part: read_part(_pass(manifest, part, found), ArrayBlocks(found), decoder)
        for part, found in files.items()
        if part != "train"
    }
    if is_bytes:
        plan, fitted = Preprocessor(width, pixels=True), fit_pixels(train)
    else:
        fitted = fit_numbers(plan, numbers, Slots(list(range(width)), np.zeros(width)))
    origin, notes = describe(manifest, f"{width:,} inputs to {target.label}", blocks.rows, others)
    dataset = ShardedDataset(
        name_of(manifest),
        train,
        others.get("test"),
        target,
        shape,
        plan,
        statistics.fit(fitted, target),
        origins=origins,
        origin=origin,
        notes=(*notes, *([target.said] if target.said else [])),
        validation=others.get("validation"),
        units=units,
        digest=digest(
            manifest, [[f"{file.dtype.str}{file.shape}" for file in pair] for pair in files["train"]]
        ),
        class_sums=statistics.class_sums(target),
    )
    return dataset.with_scaling(config.scaling)


def open_pairs(manifest: Manifest) -> dict[str, Pairs]:
    """The files of each part, of one kind and with some rows. Raises DataError."""
    files: dict[str, Pairs] = {
        part: [_open_pair(manifest, shard) for shard in shards] for part, shards in manifest.parts.items()
    }
    first = files["train"][0]
    for part, pairs in files.items():
        for pair in pairs:
            for file, like in zip(pair, first, strict=True):
                if (file.dtype, file.shape[1:]) != (like.dtype, like.shape[1:]):
                    raise DataError(
                        f"{file.path}: this shard holds {file.dtype} {_row(file)}, and {like.path.name} "
                        f"{like.dtype} {_row(like)}; shards have one schema"
                    )
            if pair[0].shape[0] != pair[1].shape[0]:
                raise DataError(
                    f"{pair[0].path}: this shard has {pair[0].shape[0]:,} samples, and {pair[1].path.name} "
                    f"{pair[1].shape[0]:,}; their numbers must be equal"
                )
        check_rows(manifest, part, [x.shape[0] for x, _ in pairs])
    return files


def _open_pair(manifest: Manifest, shard: Shard) -> tuple[ArrayFile, ArrayFile]:
    x, y = (ArrayFile.open(manifest.path(file)) for file in shard.files)
    return x, y


def _row(file: ArrayFile) -> str:
    return f"[N{''.join(f', {axis}' for axis in file.shape[1:])}]"


def _pass(manifest: Manifest, part: str, files: Pairs) -> Pass:
    units = [len(ArrayBlocks([pair]).rows) for pair in files]
    return Pass(manifest, part, units)


def _look(blocks: ArrayBlocks) -> np.ndarray:
    """Inputs from all over the data."""
    chosen = spread_evenly(blocks.rows, LOOK_UNITS)
    return np.concatenate([next(blocks.read(unit))[1][0] for unit in chosen])


def _learn(
    manifest: Manifest, files: Pairs, origins: np.ndarray | None, plan: Preprocessor
) -> tuple[NumberStatistics, TargetStatistics]:
    """One pass over the training rows; of pixels, over the targets."""
    blocks, check = ArrayBlocks(files), _pass(manifest, "train", files)
    numbers = NumberStatistics(0 if plan.pixels else plan.numbers)
    targets: TargetStatistics | None = None
    for unit in range(len(blocks.rows)):
        check.check(unit)
        for place, (x, y) in blocks.read(unit):
            where = f"{place.shard} from row {place.row + 1:,} on"
            columns: dict[str, Values] = target_columns(where, "training", y)
            targets = targets or TargetStatistics(tuple(columns))
            targets.add(columns, None)
            if not plan.pixels:
                numbers.add(np.asarray(store_inputs(where, "training", x, origins)))
    assert targets is not None
    return numbers, targets


def _choose_target(statistics: TargetStatistics, where: str, task: str, y: ArrayFile) -> Target:
    """By the rule of arrays: up to 1,000 whole numbers are classes."""
    of_whole = y.dtype.kind in "iu" and int(np.prod(y.shape[1:])) == 1
    if task == "auto" and of_whole and statistics.distinct <= MAX_CLASSES:
        return statistics.choose(where, "classification")
    return statistics.choose(where, task)
