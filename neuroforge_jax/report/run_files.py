"""What a run's folder holds, and what is drawn of it: its learning curves and its most confident mistakes.

The page (`run_page.py`) and the PNG files (`pictures.py`) show the same lines and the same mistakes, found here.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.pictures import are_pictures
from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.report.formats import spell_controls
from neuroforge_jax.report.series import Series
from neuroforge_jax.system.files import read_json
from neuroforge_jax.system.provenance import installed_version

PARTS = ("train", "validation", "test")
QUANTITIES = ("loss", "accuracy")


@dataclass(frozen=True)
class RunFiles:
    """What a folder holds. result, model: None for a run that has not ended. memory: where it was profiled.
    predictions: arrays by name. importance: of the columns of a table, where it was measured.
    """

    name: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    result: Mapping[str, Any] | None
    model: Mapping[str, Any] | None
    memory: Mapping[str, Any] | None
    predictions: Mapping[str, np.ndarray]
    importance: Mapping[str, Any] | None = None

    @property
    def config_without_seed(self) -> dict[str, Any]:
        """Runs that have it in common are repetitions of each other."""
        return {name: value for name, value in self.config.items() if name != "seed"}

    def select_curve(self, key: str) -> tuple[list[float], list[float]]:
        """Epochs, and what was measured in them; epochs without it are left out."""
        pairs = [(record["epoch"], record[key]) for record in self.epochs if record.get(key) is not None]
        return [float(epoch) for epoch, _ in pairs], [float(value) for _, value in pairs]


@dataclass(frozen=True)
class Mistake:
    """image [H, W] or [H, W, 3]: as the model got it. caption: true class, predicted one, and its probability."""

    image: np.ndarray
    caption: str


def describe_result(
    config: TrainConfig | None,
    model: FittedModel,
    history: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Any],
    predictions: Mapping[str, np.ndarray],
) -> RunFiles:
    """A run that need not be saved, as its folder would describe it."""
    environment = {"device": figures["device"], "versions": {"jax": installed_version("jax")}}
    plain = {} if config is None else asdict(config)
    described = {
        "classes": model.classes,
        "shape": model.spec.shape,
        "quantiles": list(model.spec.quantiles),
        "target": asdict(model.target),
    }
    return RunFiles(
        figures["dataset"], plain, environment, tuple(history), figures, described, None, predictions
    )


def read_run(folder: Path) -> RunFiles:
    """Raises CheckpointError for a folder that holds no run, or one without an epoch in its log."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: there is no run in this folder; give one that train wrote")
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        epochs = tuple(record for record in records if record["event"] == "epoch")
    except (OSError, ValueError, KeyError, TypeError):
        raise CheckpointError(
            f"{folder}: its metrics.jsonl is missing or damaged; there is nothing to show"
        ) from None
    if not epochs:
        raise CheckpointError(f"{folder}: no epoch of this run has ended; there is nothing to show yet")
    predictions: dict[str, np.ndarray] = {}
    if (folder / "predictions.npz").is_file():
        with np.load(folder / "predictions.npz", allow_pickle=False) as saved:
            predictions = {name: saved[name] for name in saved.files}
    return RunFiles(
        folder.resolve().name,
        read_json(folder / "config.json"),
        read_json(folder / "environment.json"),
        epochs,
        _read_if_there(folder / "result.json"),
        _read_if_there(folder / "model.json"),
        _read_if_there(folder / "memory.json"),
        predictions,
        _read_if_there(folder / "importance.json"),
    )


def _read_if_there(path: Path) -> Mapping[str, Any] | None:
    return read_json(path) if path.is_file() else None


def select_learning_curves(runs: Sequence[RunFiles]) -> dict[str, list[Series]]:
    """The lines of each quantity that was measured. Seeds of one config are one line, their mean, within a band."""
    curves = {
        quantity: [
            line for group in group_by_config(runs) for line in _select_lines(group, quantity, len(runs))
        ]
        for quantity in QUANTITIES
    }
    return {quantity: lines for quantity, lines in curves.items() if lines}


def group_by_config(runs: Sequence[RunFiles]) -> list[list[RunFiles]]:
    """Runs that differ by their seed only, together."""
    groups: list[list[RunFiles]] = []
    for run in runs:
        for group in groups:
            if group[0].config_without_seed == run.config_without_seed:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _select_lines(group: Sequence[RunFiles], quantity: str, runs: int) -> list[Series]:
    """A line for each part of the data. In the chart of a single run, a part always has the same look."""
    lines = []
    name = group[0].name if len(group) == 1 else f"{group[0].name}, {len(group)} seeds"
    for look, part in enumerate(PARTS):
        curves = [run.select_curve(f"{part}_{quantity}") for run in group]
        length = min(len(values) for _, values in curves)
        if not length:
            continue
        values = np.array([values[:length] for _, values in curves])
        lines.append(
            Series(
                part if runs == 1 else f"{name}: {part}",
                curves[0][0][:length],
                values.mean(axis=0).tolist(),
                values.min(axis=0).tolist() if len(group) > 1 else (),
                values.max(axis=0).tolist() if len(group) > 1 else (),
                look if runs == 1 else None,
            )
        )
    return lines


def select_mistakes(run: RunFiles) -> list[Mistake]:
    """The most confident mistakes, the most confident first; none where the samples are no pictures."""
    model, predictions = run.model or {}, run.predictions
    if not are_pictures(model.get("shape", ())) or not len(predictions.get("worst", ())):
        return []
    classes = class_names(model)
    return [
        Mistake(
            image.reshape(model["shape"]),
            spell_controls(
                f"{classes[predictions['labels'][index]]} read as {classes[predictions['predicted'][index]]}, "
                f"{predictions['confidence'][index]:.0%}"
            ),
        )
        for index, image in zip(predictions["worst"], predictions["worst_inputs"], strict=True)
    ]


def class_names(model: Mapping[str, Any] | None) -> list[str]:
    """Of a model.json; format 1 had them at the top. Empty where numbers or labels are predicted."""
    described = model or {}
    target = described.get("target", {"task": "classification", "classes": described.get("classes", ())})
    return list(target["classes"]) if target["task"] == "classification" else []


def count_mistakes(run: RunFiles) -> tuple[int, int]:
    """How many of how many test samples were classified wrongly."""
    labels, predicted = run.predictions["labels"], run.predictions["predicted"]
    return int((labels != predicted).sum()), len(labels)
