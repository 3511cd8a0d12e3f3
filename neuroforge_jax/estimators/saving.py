"""A fitted estimator on disk, without pickle: the folder of a model, and `estimator.json` with all the rest.

    model.json, params.safetensors  what `nf.load` and the commands read: of two classes a network of two outputs
    estimator.json                  parameters, classes with their dtype, attributes

The optimizer's state is not saved: a `partial_fit` after loading goes on from the weights with a new one.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from neuroforge_jax import __version__
from neuroforge_jax.errors import CheckpointError, UserError, join_words
from neuroforge_jax.estimators.classes import Classes
from neuroforge_jax.estimators.network import Network
from neuroforge_jax.estimators.stopping import Curve
from neuroforge_jax.model import io
from neuroforge_jax.system.files import read_json, write_json

FILE = "estimator.json"

FORMAT = 1

KINDS = ("classifier", "regressor")

ATTRIBUTES = (
    "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_", "loss_",
    "best_loss_", "validation_scores_", "best_validation_score_", "_no_improvement_count", "_passes", "_columns",
    "temperature_",
)  # fmt: skip
"""Of a fitted estimator, as far as it has them: plain values, beside its network, classes and curve."""


def check_alone(estimator: Any, call: str) -> None:
    """Raises ValueError for an ensemble, whose networks are many. call: that is for one network."""
    if (members := estimator._network.members) is not None:
        raise ValueError(
            f"{call} is for one network, and this is an ensemble of {members}: take each of members_"
        )


def save_estimator(estimator: Any, network: Network, path: str | Path) -> None:
    """Write the folder. network: as others read it. Warns of parameters that JSON does not hold: they are left out.

    Raises CheckpointError where the folder cannot be written.
    """
    folder = Path(path).expanduser()
    described = _describe(estimator)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).unlink(missing_ok=True)  # until all files are new, this is no estimator
    except OSError as error:
        raise CheckpointError(
            f"{folder} is no folder that can be written ({error.strerror}); give another one"
        ) from None
    io.save(folder, network.model, network.params)
    write_json(folder / FILE, described)


def load_estimator(kind: type, path: str | Path) -> Any:
    """The estimator of a folder. kind: its class. Raises CheckpointError, which says what is missing or damaged."""
    folder = Path(path).expanduser()
    file = folder / FILE
    if folder.is_dir() and not file.exists():
        raise CheckpointError(
            f"{folder} holds no {FILE}: it is not of an estimator; nf.load reads a run's folder"
        )
    described = read_json(file)
    network = Network.of(*io.load(folder))
    found, own = described.get("kind"), _kind(kind())
    if found in KINDS and found != own:
        raise CheckpointError(f"{folder} holds a {found}, and {kind.__name__} is a {own}")
    try:
        if described["format"] != FORMAT:
            raise ValueError(f"format {described['format']} is of a later version")
        estimator = kind(**_decode_each(described["parameters"]))
        estimator._validate_params()
        _restore(estimator, network, described)
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        line = " ".join(repr(error).split())[:200]
        raise CheckpointError(f"{file} does not describe an estimator ({line})") from None
    return estimator


def _describe(estimator: Any) -> dict[str, Any]:
    parameters, left = {}, []
    for name, value in estimator.get_params(deep=False).items():
        try:
            parameters[name] = _encode(value)
        except TypeError:
            left.append(name)
    if left:
        warnings.warn(
            f"JSON does not hold {join_words(left, 'and')} of this estimator: the defaults are saved instead",
            UserWarning,
            stacklevel=4,
        )
    classes = getattr(estimator, "_classes", None)
    history, figures = estimator._run
    attributes = {name: getattr(estimator, name) for name in ATTRIBUTES if hasattr(estimator, name)}
    return {
        "format": FORMAT,
        "version": __version__,
        "kind": _kind(estimator),
        "parameters": parameters,
        "classes": None
        if classes is None
        else {"values": _encode(classes.values), "several": classes.several},
        "dtype": estimator._dtype.name,
        "attributes": _encode_each(attributes),
        "curve": _encode(asdict(estimator._curve)) if hasattr(estimator, "loss_curve_") else None,
        "history": [_encode_each(record) for record in history],
        "figures": _encode_each(figures),
    }


def _restore(estimator: Any, network: Network, described: Mapping[str, Any]) -> None:
    """Make the estimator the one that was described. Raises ValueError where the files do not fit together."""
    outputs = network.spec.mlp.outputs
    if (saved := described["classes"]) is not None:
        classes = Classes(_decode(saved["values"]), bool(saved["several"]))
        if len(classes.values) != outputs:
            raise ValueError(
                f"there are {len(classes.values)} classes, and the network has {outputs} outputs"
            )
        if classes.kind == "binary":
            network = network.with_one_output(replace(classes.target, names=network.target.names))
        estimator._classes, estimator.classes_ = classes, classes.values
    elif is_classifier(estimator):
        raise ValueError("there are no classes")
    for name, value in _decode_each(described["attributes"]).items():
        if name in ATTRIBUTES:
            setattr(estimator, name, value)
    if hasattr(estimator, "temperature_"):
        network = network.with_scaled_outputs(estimator.temperature_)
    schema = network.schema
    columns = None if schema is None else [column for column in schema.columns if column.role != "target"]
    width = network.spec.plan.record if columns is None else len(columns)
    if estimator.n_features_in_ != width:
        raise ValueError(f"n_features_in_ is {estimator.n_features_in_}, and the model takes {width}")
    curve = described["curve"]
    estimator._curve = Curve() if curve is None else Curve(**_decode(curve))
    if curve is not None:
        estimator.loss_curve_ = estimator._curve.losses
    estimator._state, estimator.schema_ = None, schema
    estimator._dtype = np.dtype(described["dtype"])
    history = tuple(map(_decode_each, described["history"]))
    estimator._run = history, _decode_each(described["figures"])
    estimator._set_network(network, estimator._dtype)


def _kind(estimator: Any) -> str:
    return KINDS[not is_classifier(estimator)]


def _encode(value: Any) -> Any:
    """As JSON holds it. Raises TypeError for what is no plain value."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [_encode(each) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode(each) for each in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(key), _encode(each)] for key, each in value.items()]}
    if isinstance(value, np.ndarray) and value.ndim == 1:
        return {"array": [_encode(each) for each in value.tolist()], "dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} is no plain value")


def _encode_each(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _encode(value) for name, value in values.items()}


def _decode_each(saved: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode(value) for name, value in saved.items()}


def _decode(saved: Any) -> Any:
    """The inverse of `_encode`."""
    if isinstance(saved, list):
        return [_decode(each) for each in saved]
    if not isinstance(saved, dict):
        return saved
    if "float" in saved:
        return float(saved["float"])
    if "tuple" in saved:
        return tuple(_decode(saved["tuple"]))
    if "dict" in saved:
        return {_decode(key): _decode(each) for key, each in saved["dict"]}
    return np.array(_decode(saved["array"]), np.dtype(saved["dtype"]))
