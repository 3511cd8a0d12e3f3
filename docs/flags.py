"""The tables of flags in docs/configuration.md, from the fields of the two configs: `python docs/flags.py`.

The sentence under a field in `neuroforge_jax/config/` is its help; here it becomes a row. tests/docs fails where
the page is out of date.
"""

import ast
import inspect
import re
from dataclasses import dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from neuroforge_jax.config import RunOptions, TrainConfig

PAGE = Path(__file__).with_name("configuration.md")
BEGIN, END = "<!-- flags: written by docs/flags.py -->\n", "<!-- end of flags -->"

GROUPS = {
    "Data": ("dataset", "test", "validation", "train_samples", "validation_fraction"),
    "Tables": (
        *("target", "task", "drop", "categorical", "numeric", "time", "id", "group", "time_split"),
        *("sample_weight", "class_weight", "target_transform", "scaling"),
    ),
    "Text files": ("delimiter", "decimal", "encoding", "header", "missing"),
    "Network": (
        *("hidden", "activation", "normalization", "dropout", "residual", "initializer", "loss"),
        *("quantiles", "label_smoothing"),
    ),
    "Optimization": (
        *("batch_size", "shuffle", "epochs", "optimizer", "learning_rate", "momentum", "beta1", "beta2"),
        *("epsilon", "weight_decay", "rate_factors", "schedule"),
        *("warmup", "clip_norm", "accumulate", "monitor", "patience", "target_accuracy", "seed"),
    ),
    "Backend": ("backend", "precision", "loss_scale", "mixed_precision", "async_ops", "kernels"),
    "Files and checkpoints": (
        *("config", "data_dir", "run_dir", "resume", "checkpoint_every", "keep_latest", "keep_best"),
        *("on_save_error", "log_every", "tensorboard"),
    ),
    "Streaming": ("chunk_steps", "read_ahead"),
    "Checks and profiles": (
        *("verify", "tolerance", "on_divergence", "debug_nans", "benchmark", "benchmark_output"),
        *("memory_profile", "trace", "debug"),
    ),
    "Devices": ("memory_fraction", "preallocate", "mesh", "deterministic_shards", "distributed"),
}
"""Every field once, in the order of a reader's interest."""

VALUES = {
    "str": "TEXT",
    "int": "N",
    "float": "X",
    "Path": "PATH",
    "tuple[int, ...]": "N …",
    "tuple[float, ...]": "X …",
    "tuple[str, ...]": "TEXT …",
}


@dataclass(frozen=True)
class Field:
    """A field as its source has it: the text of its type, the sentence under it, and its default."""

    kind: str
    sentence: str
    default: object


def read_fields(kind: type[Any]) -> dict[str, Field]:
    """Every field of a config by its name, those that it inherits too."""
    defaults = {field.name: field.default for field in fields(kind)}
    classes = [ancestor for ancestor in reversed(kind.__mro__) if is_dataclass(ancestor)]
    body = [line for ancestor in classes for line in ast.parse(inspect.getsource(ancestor)).body[0].body]
    found = {}
    for line, below in pairwise(body):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            assert isinstance(below, ast.Expr), f"{line.target.id} has no sentence under it"
            sentence = " ".join(str(ast.literal_eval(below.value)).split())
            found[line.target.id] = Field(ast.unparse(line.annotation), sentence, defaults[line.target.id])
    return found


def row(name: str, field: Field) -> str:
    """A row of a table: the flag, its sentence, its default."""
    flag, base = "--" + name.replace("_", "-"), field.kind.removesuffix(" | None")
    usage = f"`{flag}`, `--no-{flag[2:]}`" if base == "bool" else f"`{flag} {VALUES[base]}`"
    # Outside of code two hyphens would become a dash.
    meaning = re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", field.sentence.replace("|", "\\|"))
    value = field.default
    if isinstance(value, bool):
        value = "on" if value else "off"
    shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
    return f"| {usage} | {meaning} | {'' if shown is None else f'`{shown}`'} |"


def tables() -> str:
    """One Markdown table for each group. Raises ValueError where a field is in no group, or in two."""
    known = read_fields(TrainConfig) | read_fields(RunOptions)
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(known):
        raise ValueError(f"GROUPS and the fields differ in {sorted(set(grouped) ^ set(known))}")
    lines = []
    for group, names in GROUPS.items():
        lines += [f"### {group}", "", "| flag | meaning | default |", "|---|---|---|"]
        lines += [*(row(name, known[name]) for name in names), ""]
    return "\n".join(lines)


def render(page: str) -> str:
    """The page with its tables as they should be."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
