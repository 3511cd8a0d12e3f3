"""A model on disk: `model.json` says what it is, `params.safetensors` holds its numbers."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.types import Column
from neuroforge_jax.errors import CheckpointError, UserError
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.nn.mlp import MLP, abstract_params
from neuroforge_jax.precision.policy import policy
from neuroforge_jax.system.files import read_bytes, read_json, write_bytes, write_json
from neuroforge_jax.typing import Params


def save(folder: Path, model: FittedModel, params: Params) -> None:
    """The model and its parameters, for `load`."""
    described = {
        "format": 1,
        "mlp": asdict(model.mlp),
        "precision": str(model.policy),
        "loss": model.spec.loss,
        "scaling": {
            "shift": np.asarray(model.fitted.shift).tolist(),
            "scale": np.asarray(model.fitted.scale).tolist(),
        },
        "shape": model.spec.shape,
        "classes": model.classes,
        "columns": [asdict(column) for column in model.spec.columns],
    }
    tensors = {
        f"{layer}/{leaf}": np.asarray(value)
        for layer, leaves in params.items()
        for leaf, value in leaves.items()
    }
    write_json(folder / "model.json", described)
    write_bytes(folder / "params.safetensors", save_tensors(tensors))


def load(path: str | Path) -> tuple[FittedModel, Params]:
    """Load the model and the float32 parameters of a saved run, for `evaluate` and `predict`.

    path: the run's folder. Raises CheckpointError, which names the file that is missing or damaged.
    """
    folder = Path(path)
    described = read_json(folder / "model.json")
    try:
        with np.errstate(over="raise"):  # a number that float32 does not hold
            model = _model(described)
    except (KeyError, TypeError, ValueError, ArithmeticError, UserError) as error:
        raise CheckpointError(f"{folder / 'model.json'} does not describe a model ({error!r})") from None
    file = folder / "params.safetensors"
    try:
        tensors = load_tensors(read_bytes(file))
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is damaged ({error}); train again, or restore it from a copy"
        ) from None
    params: dict[str, dict[str, np.ndarray]] = {}
    for layer, leaves in abstract_params(model.mlp).items():
        for leaf, wanted in leaves.items():
            name = f"{layer}/{leaf}"
            found = tensors.pop(name, None)
            if found is None or found.shape != wanted.shape or found.dtype != np.dtype(wanted.dtype):
                seen = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise CheckpointError(
                    f"{file}: {name} is {seen}, and model.json says {np.dtype(wanted.dtype)} {wanted.shape}"
                )
            params.setdefault(layer, {})[leaf] = found
    if tensors:
        raise CheckpointError(f"{file} holds {', '.join(sorted(tensors))}, which model.json does not know")
    return model, jax.device_put(params)


def _model(described: dict[str, Any]) -> FittedModel:
    if described["format"] != 1:
        raise ValueError(f"format {described['format']} is of a later version")
    mlp = described["mlp"]
    spec = Model(
        # Version 0.1 wrote how much dropout there was.
        mlp=MLP(**{**mlp, "hidden": tuple(mlp["hidden"]), "dropout": bool(mlp["dropout"])}),
        policy=policy(described["precision"]),
        loss=described["loss"],
        shape=tuple(described["shape"]),
        classes=tuple(described["classes"]),
        columns=tuple(Column(item["name"], tuple(item["categories"])) for item in described["columns"]),
    )
    scaling = described["scaling"]
    return FittedModel(spec, Fitted(*(np.asarray(scaling[name], np.float32) for name in Fitted._fields)))
