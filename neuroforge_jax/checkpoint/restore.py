"""From a saved step to a state that trains on: what may have changed since, and what may not."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import jax
import jax.numpy as jnp

from neuroforge_jax.checkpoint.files import SavedStep
from neuroforge_jax.checkpoint.regions import Leaf
from neuroforge_jax.checkpoint.writer import named_leaves, snapshot
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.precision.loss_scale import LossScale
from neuroforge_jax.training.hyper import Hyper
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.progress import TrainProgress
from neuroforge_jax.training.state import TrainState

CallbackStates = dict[str, tuple[dict[str, Any], Any]]
"""Name of a callback → plain values, and a tree of arrays or None."""

FIXED = (
    "target", "train_samples", "held_out_fraction", "hidden", "activation", "normalization", "residual", "loss",
    "quantiles", "batch_size", "shuffle", "deterministic_shards", "optimizer", "seed",
)  # fmt: skip
"""What a run cannot change on its way. All else may that leaves the optimizer the same arrays, and takes effect
from the next step on: epochs, learning rate, momentum, dropout, smoothing, patience, backend, mesh, precision."""

SHOWN = 6
OWN = ("state",)
"""Names that no callback can have for what it saves."""

ADAPTS = ("loss_scale/", "hyper/")
"""Arrays of the state that may be missing in the save, or in the state that goes on from it."""


def restore(
    saved: SavedStep,
    config: TrainConfig,
    identity: Mapping[str, Any],
    state: TrainState,
    placement: Placement,
) -> tuple[TrainState, TrainProgress, CallbackStates]:
    """What a saved step holds, for a training of this config on data of this identity.

    state: the one before the first step, whose place the saved one takes, wherever the training lay that saved it.
    placement: of this training, for the weights that callbacks have saved. Raises CheckpointError for a config or
    data that the step is not of, with every difference of an array, or for arrays that are damaged.
    """
    like = named_leaves(state)
    kept = {
        name.removeprefix("state/"): leaf for name, leaf in saved.leaves.items() if name.startswith("state/")
    }
    if differences := list(_differences(kept, like)):
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise CheckpointError(
            f"{saved.path} is not of this config: {'; '.join(differences[:SHOWN])}{more}; leave out the flags that "
            "change the network or its optimizer, or train anew in another --run-dir"
        )
    _check_config(saved, config)
    _check_data(saved, identity)
    changed = _changed_values(saved, state)
    read = {name: leaf for name, leaf in like.items() if name in kept and name not in changed}
    arrays = saved.arrays(
        {
            **{f"state/{name}": _place_of(leaf) for name, leaf in read.items()},
            **_lay_out_others(saved, placement),
        }
    )
    # A scale that the run did not have begins anew, and one that it no longer has is left behind.
    values = [arrays[f"state/{name}"] if name in read else leaf for name, leaf in like.items()]
    trees = _trees({name: array for name, array in arrays.items() if not name.startswith("state/")})
    placed = jax.tree.unflatten(jax.tree.structure(state), values)
    # Copied by a program: a device may compute on the host's own memory, which must not be given away.
    (state, _), (trees, _) = snapshot(placed), snapshot(trees)
    plain = saved.progress.get("callbacks") or _callbacks_of_version_0_1(saved.progress)
    callbacks = {name: (values, trees.get(name)) for name, values in plain.items()}
    return state, TrainProgress.from_json(saved.progress), callbacks


def _place_of(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _lay_out_others(saved: SavedStep, placement: Placement) -> dict[str, jax.ShapeDtypeStruct]:
    """Where the arrays of callbacks are to lie over a mesh; on one device the host has them first."""
    if placement.mesh is None:
        return {}
    leaves = {name: leaf for name, leaf in saved.leaves.items() if not name.startswith("state/")}
    like = {name: jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(leaf.dtype)) for name, leaf in leaves.items()}
    return named_leaves(placement.lay_out(_trees(like), many=False))


def describe_config(config: TrainConfig) -> dict[str, Any]:
    """The config as it is saved with a step."""
    return {**asdict(config), "held_out_fraction": config.held_out_fraction}


def describe_hyper(hyper: Hyper) -> dict[str, float]:
    """The values that a config asks for, as plain numbers."""
    return {name: float(value) for name, value in named_leaves(hyper).items()}


def _changed_values(saved: SavedStep, state: TrainState) -> set[str]:
    """Of the hyper-parameters and the loss scale, what the config now asks otherwise than when the step was saved.

    The others are as they were in the state, where a callback may have changed them.
    """
    now, then = describe_hyper(state.hyper), saved.progress.get("hyper", {})
    changed = {f"hyper/{name}" for name, value in now.items() if then.get(name) != value}
    settings = describe_loss_scale(state.loss_scale)
    if settings and saved.progress.get("loss_scale", settings) != settings:
        changed |= {name for name in named_leaves(state) if name.startswith("loss_scale/")}
    return changed


def describe_loss_scale(scale: LossScale | None) -> dict[str, float]:
    """How the scale changes: with other settings it begins anew. Empty where there is none."""
    names = ("growth", "backoff", "interval", "floor", "ceiling")
    return {} if scale is None else {name: float(getattr(scale, name)) for name in names}


def _callbacks_of_version_0_1(progress: Mapping[str, Any]) -> dict[str, Any]:
    return {"best": progress["best"] or {}, "metrics": {"bytes": progress["metrics_bytes"]}}


def _differences(saved: Mapping[str, Leaf], like: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*saved, *like)):
        if name.startswith(ADAPTS):
            continue
        wanted = Leaf(like[name].dtype.name, tuple(like[name].shape)) if name in like else None
        if wanted is None:
            yield f"{name} is {saved[name]} there and not in this config"
        elif name not in saved:
            yield f"{name} is {wanted} in this config and not there"
        elif (saved[name].dtype, saved[name].shape) != (wanted.dtype, wanted.shape):
            yield f"{name} is {saved[name]} there and {wanted} in this config"


def _check_config(saved: SavedStep, config: TrainConfig) -> None:
    # An older version has fewer fields, and did what the others say by default.
    before, now = {**describe_config(TrainConfig()), **saved.progress["config"]}, describe_config(config)
    for name in FIXED:
        was, is_ = before[name], now[name]
        if _plain(was, is_) != _plain(is_, was):
            flag = "--" + ("validation-fraction" if name == "held_out_fraction" else name.replace("_", "-"))
            raise CheckpointError(
                f"{saved.path} was trained with {flag} {was}, and {is_} is asked for; a run cannot change that on "
                "its way: leave it out, or train anew in another --run-dir"
            )
    if config.epochs < saved.progress["epoch"]:
        raise CheckpointError(
            f"{saved.path} has {saved.progress['epoch']} epochs behind it, and --epochs {config.epochs} is asked "
            "for; ask for as many or more"
        )


def _plain(value: Any, other: Any) -> Any:
    """As JSON has it; version 0.2 had one target or none where there are as many as one likes."""
    if isinstance(other, list | tuple) and (value is None or isinstance(value, str)):
        return [] if value is None else [value]
    return list(value) if isinstance(value, tuple) else value


def _check_data(saved: SavedStep, identity: Mapping[str, Any]) -> None:
    before = saved.progress["data"]
    if before["sha256"] != identity["sha256"]:
        was, now = (
            f"{data['name']} ({data['samples']:,} samples of {data['inputs']} numbers)"
            for data in (before, identity)
        )
        found = "other samples of the same name" if was == now else now
        raise CheckpointError(
            f"{saved.path} was trained on {was}, and the data are {found}; give it the data that it was trained on"
        )


def _trees(named: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by their paths → dictionaries in each other."""
    trees: dict[str, Any] = {}
    for name, array in named.items():
        *folders, leaf = name.split("/")
        inner = trees
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[leaf] = array
    return trees
