"""Fields that have no effect with the others given: what was asked for is done, or it is said that it is not.

A field at its default asks for nothing. Betas of an optimizer that has none, a tolerance without a verification and
the like are errors (`checks.py`, `training/hyper.py`); what is here is harmless, and is told.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise

from neuroforge_jax.config.checks import flag_of
from neuroforge_jax.config.endings import TEXT_TABLES
from neuroforge_jax.config.options import RunOptions
from neuroforge_jax.config.training import TrainConfig


@dataclass(frozen=True)
class Circumstances:
    """What the effect of a field depends on beside the config.

    inputs: numbers in a sample. classes: whether classes are predicted, and not numbers. held_out: whether there
    are validation data. pipelined: whether the samples are read while the device trains. saved: whether the run has
    a folder. scaling: of the numbers among the inputs; None where there are none. task, transform: of the target.
    columns: whether the samples are rows of a table.
    """

    inputs: int
    classes: bool
    held_out: bool = False
    pipelined: bool = False
    saved: bool = False
    scaling: str | None = "standard"
    task: str = "classification"
    transform: str = "none"
    columns: bool = False


def _has_hidden(config: TrainConfig, _: Circumstances) -> bool:
    return bool(config.hidden)


def _has_equal_widths(config: TrainConfig, about: Circumstances) -> bool:
    return any(before == after for before, after in pairwise((about.inputs, *config.hidden)))


def _has_groups(config: TrainConfig, _: Circumstances) -> bool:
    """Whether a group that has a factor of its own exists: of norms there are none without a normalization."""
    groups = {item.partition("=")[0].strip() for item in (config.rate_factors or "").split(",")}
    return groups != {"norms"} or (config.normalization != "none" and bool(config.hidden))


HIDDEN_LAYERS = "there is no hidden layer"

CONFIG: dict[str, tuple[Callable[[TrainConfig, Circumstances], bool], str]] = {
    "activation": (_has_hidden, HIDDEN_LAYERS),
    "normalization": (_has_hidden, HIDDEN_LAYERS),
    "dropout": (_has_hidden, HIDDEN_LAYERS),
    "initializer": (_has_hidden, HIDDEN_LAYERS),
    "residual": (_has_equal_widths, "no layer has as many inputs as outputs"),
    "rate_factors": (_has_groups, "there is no normalization"),
    "target_accuracy": (lambda _, about: about.classes, "the targets are numbers, which have no accuracy"),
    "momentum": (
        lambda config, _: config.optimizer in ("momentum", "nesterov", "muon"),
        "it is for --optimizer momentum, nesterov or muon",
    ),
    "warmup": (
        lambda config, _: config.schedule in ("one-cycle", "warmup-cosine"),
        "it is for --schedule one-cycle or warmup-cosine",
    ),
}
"""Field of a TrainConfig → whether it acts, and why it does not. Those that are not here always act."""


def _reads_text(config: TrainConfig, _: Circumstances) -> bool:
    files = filter(None, (config.dataset, config.test, config.validation))
    return any(file.lower().endswith(TEXT_TABLES) for file in files)


NO_TEXT_FILE = "no text file is read"

DATA: dict[str, tuple[Callable[[TrainConfig, Circumstances], bool], str]] = {
    "task": (lambda config, about: config.task == about.task, "the dataset was made before with another one"),
    "scaling": (
        lambda config, about: config.scaling == about.scaling,
        "there are no numbers among the inputs, or the dataset was made before with another one",
    ),
    "target_transform": (
        lambda config, about: config.target_transform == about.transform,
        "the target is no quantity, or the dataset was made before without it",
    ),
    "delimiter": (_reads_text, NO_TEXT_FILE),
    "encoding": (_reads_text, NO_TEXT_FILE),
    "header": (_reads_text, NO_TEXT_FILE),
    "missing": (
        lambda config, about: about.columns or config.dataset.lower().endswith(".npz"),
        "no table and no .npz file is read",
    ),
}
"""The same of the fields that say what is made of the data; others of them are refused where they cannot act."""

OPTIONS: dict[str, tuple[Callable[[RunOptions, Circumstances], bool], str]] = {
    "chunk_steps": (lambda _, about: about.pipelined, "it is for --async-ops or --backend async"),
    "read_ahead": (lambda _, about: about.pipelined, "it is for --async-ops or --backend async"),
    "checkpoint_every": (lambda _, about: about.saved, "the run has no folder"),
    "keep_latest": (
        lambda options, about: about.saved and options.checkpoint_every != "never",
        "no checkpoint is written",
    ),
    "on_save_error": (
        lambda options, about: about.saved and options.checkpoint_every != "never",
        "no checkpoint is written",
    ),
    "keep_best": (
        lambda options, about: about.saved and options.checkpoint_every != "never" and about.held_out,
        "there are no validation data to tell the best by, or no checkpoint is written",
    ),
    "log_every": (lambda _, about: about.saved, "the run has no folder"),
}
"""Field of RunOptions → whether it acts, and why it does not. Those that are not here always act."""


def find_idle_fields(config: TrainConfig, options: RunOptions, about: Circumstances) -> dict[str, str]:
    """The fields that ask for something and have no effect → why."""
    idle = {
        name: why
        for name, (acts, why) in (CONFIG | DATA).items()
        if _asks(config, name) and not acts(config, about)
    }
    idle |= {
        name: why
        for name, (acts, why) in OPTIONS.items()
        if _asks(options, name) and not acts(options, about)
    }
    return idle


def describe_idle_fields(config: TrainConfig, options: RunOptions, about: Circumstances) -> str:
    """One line that names them; empty where there are none."""
    reasons: dict[str, list[str]] = {}
    for name, why in find_idle_fields(config, options, about).items():
        reasons.setdefault(why, []).append(flag_of(name))
    return "; ".join(f"{', '.join(flags)} without effect: {why}" for why, flags in reasons.items())


def _asks(config: TrainConfig | RunOptions, name: str) -> bool:
    """Whether a field is not at its default."""
    defaults = {field.name: field.default for field in fields(config)}
    return bool(getattr(config, name) != defaults[name])
