"""A model on disk: `model.json` says what it is, `params.safetensors` holds its numbers."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from neuroforge_jax.data.pictures import PictureStyle
from neuroforge_jax.data.preprocess import Codes, Fitted, Preprocessor
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.errors import CheckpointError, UserError
from neuroforge_jax.model.model import FittedModel, Model
from neuroforge_jax.nn.mlp import MLP, abstract_params
from neuroforge_jax.precision.policy import policy
from neuroforge_jax.system.files import read_bytes, read_json, restore_tuples, write_bytes, write_json
from neuroforge_jax.typing import Params

FITTED = "fitted/"
"""What was learnt from the data before training, among the tensors."""


def save(folder: Path, model: FittedModel, params: Params) -> None:
    """The model and its parameters, for `load`."""
    described = {
        "format": 2,
        "mlp": asdict(model.mlp),
        "precision": str(model.policy),
        "loss": model.spec.loss,
        "quantiles": model.spec.quantiles,
        "plan": asdict(model.spec.plan),
        "shape": model.spec.shape,
        "classes": model.classes,
        "target": asdict(model.target),
        "schema": None if model.schema is None else model.schema.to_json(),
        "style": None if (style := model.measure_style()) is None else asdict(style),
        "missing": model.missing,
        "origins": None if model.origins is None else model.origins.tolist(),
    }
    tensors = {
        f"{layer}/{leaf}": np.asarray(value)
        for layer, leaves in params.items()
        for leaf, value in leaves.items()
    }
    fitted = {
        f"{FITTED}{name}": np.asarray(value)
        for name, value in model.fitted._asdict().items()
        if value is not None
    }
    write_json(folder / "model.json", described)
    write_bytes(folder / "params.safetensors", save_tensors(tensors | fitted))


def load(path: str | Path) -> tuple[FittedModel, Params]:
    """Load the model and the float32 parameters of a saved run, for `evaluate` and `predict`.

    path: the run's folder. Raises CheckpointError, which names the file that is missing or damaged.
    """
    folder = Path(path)
    described = read_json(folder / "model.json")
    file = folder / "params.safetensors"
    try:
        tensors = load_tensors(read_bytes(file))
    except SafetensorError as error:
        raise CheckpointError(
            f"{file} is damaged ({error}); train again, or restore it from a copy"
        ) from None
    fitted = {name: tensors.pop(name) for name in list(tensors) if name.startswith(FITTED)}
    try:
        with np.errstate(over="raise"):  # a number that float32 does not hold
            model = _model(described, {name.removeprefix(FITTED): value for name, value in fitted.items()})
    except (KeyError, TypeError, ValueError, ArithmeticError, UserError) as error:
        raise CheckpointError(f"{folder / 'model.json'} does not describe a model ({error!r})") from None
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


def _model(described: dict[str, Any], fitted: dict[str, np.ndarray]) -> FittedModel:
    if described["format"] not in (1, 2):
        raise ValueError(f"format {described['format']} is of a later version")
    mlp = described["mlp"]
    # Version 0.1 wrote how much dropout there was.
    network = MLP(**{**mlp, "hidden": tuple(mlp["hidden"]), "dropout": bool(mlp["dropout"])})
    if described["format"] == 1:
        plan, learnt, target = _first_format(described, network)
    else:
        plan = _plan(described["plan"])
        learnt, target = Fitted(**fitted), Target(**restore_tuples(described["target"]))
    _check_fitted(plan, learnt, network)
    spec = Model(
        mlp=network,
        policy=policy(described["precision"]),
        loss=described["loss"],
        plan=plan,
        shape=tuple(described["shape"]),
        classes=target.classes if target.task == "classification" else (),
        quantiles=tuple(described.get("quantiles", ())),  # a model of version 0.2 has none
    )
    schema, origins, style = (described.get(name) for name in ("schema", "origins", "style"))
    known = None if style is None else PictureStyle(**restore_tuples(style))
    return FittedModel(
        spec,
        learnt,
        target,
        None if schema is None else Schema.from_json(schema),
        None if origins is None else np.asarray(origins, np.float64),
        tuple(described.get("missing", ())),
        lambda: known,
    )


def _plan(saved: dict[str, Any]) -> Preprocessor:
    codes = tuple(Codes(**code) for code in saved["codes"])
    return Preprocessor(**{**saved, "codes": codes, "indicators": tuple(saved["indicators"])})


def _first_format(described: dict[str, Any], network: MLP) -> tuple[Preprocessor, Fitted, Target]:
    """Of version 0.2, whose rows had ones and zeros for categories, and nothing missing."""
    scaling = described["scaling"]
    shift, scale = (np.asarray(scaling[name], np.float32) for name in ("shift", "scale"))
    classes = tuple(described["classes"])
    pixels = shift.ndim == 0
    fitted = Fitted(shift, scale, None if pixels else shift)
    target = Target("classification", classes=classes) if classes else Target("regression")
    return Preprocessor(network.inputs, pixels=pixels), fitted, target


def _check_fitted(plan: Preprocessor, fitted: Fitted, network: MLP) -> None:
    """Raises ValueError for what cannot be of one model."""
    if plan.width != network.inputs:
        raise ValueError(f"the plan makes {plan.width} inputs, and the network takes {network.inputs}")
    wanted = () if plan.pixels and fitted.fill is None else (plan.numbers,)
    for name in ("shift", "scale"):
        if getattr(fitted, name).shape != wanted:
            raise ValueError(f"fitted {name} is {getattr(fitted, name).shape}, and the plan says {wanted}")
