"""The schema of training rows: which columns are inputs, which say nothing, and what is learnt of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.preprocess import choose_origin
from neuroforge_jax.data.schema import CYCLES, DAY, Column, Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.values import Values, names_of
from neuroforge_jax.errors import ConfigError, DataError, unknown

MAX_LEVELS = 100
"""Levels of a category that have an input of their own."""

RARE = 5
"""Rows that a level must have for one, where there are enough rows; fewer share the level of the rest."""

REST = "(other)"

ROLES = {
    "id": "id",
    "group": "group",
    "time_split": "order",
    "sample_weight": "weight",
}
"""Flag → what the column that it names is for."""


def check_names(config: DataConfig, names: Sequence[str], where: str) -> None:
    """Every column that a flag names is there. Raises ConfigError."""
    for field in ("drop", "categorical", "numeric", "time", "target"):
        for name in getattr(config, field):
            _check_name(field, name, names, where)
    for field in ROLES:
        if (name := getattr(config, field)) is not None:
            _check_name(field, name, names, where)


def _check_name(field: str, name: str, names: Sequence[str], where: str) -> None:
    if name not in names:
        shown = list(names) if len(names) <= 30 else [*names[:15], "…", *names[-5:]]
        flag = "--" + field.replace("_", "-")
        kind = "target column" if field == "target" else f"column of {flag}"
        raise ConfigError(f"{where}: {unknown(kind, name, shown)}")


def infer_schema(columns: Mapping[str, Values], config: DataConfig, target: Target, where: str) -> Schema:
    """The schema of training rows. Raises DataError where no input is left."""
    roles = {getattr(config, flag): role for flag, role in ROLES.items() if getattr(config, flag) is not None}
    forced = {*config.categorical, *config.numeric, *config.time}
    if config.time_split in forced:  # an input as well
        del roles[config.time_split]
    roles |= dict.fromkeys(target.names, "target")
    described = []
    for name, values in columns.items():
        if name in config.drop:
            described.append(Column(name, values.kind, "left out", said="--drop"))
        elif name in roles:
            described.append(_describe(name, values, roles[name]))
        elif (reason := _useless(values)) and (name not in forced or values.missing.all()):
            described.append(replace(_describe(name, values, "left out"), said=reason))
        else:
            described.append(_learn(name, values))
    schema = Schema(tuple(described), target, config.missing)
    if not schema.inputs:
        left = schema.by_role("left out")
        raise DataError(
            f"{where}: no column is left to predict from ({names_of(left) or 'there is the target alone'}); "
            "a target and an input are needed"
        )
    return schema


def _describe(name: str, values: Values, role: str) -> Column:
    missing = float(values.missing.mean()) if len(values) else 0.0
    # Of a target, a weight or an order, numbers that count the rows are numbers.
    counts = values.numbers is not None and values.kind == "key" and role not in ("id", "left out")
    return Column(
        name,
        "number" if counts else values.kind,
        role,
        missing=missing,
        said=values.said,
        written_as_digits=values.written_as_digits,
    )


def _useless(values: Values) -> str:
    """Why there is nothing to learn from a column; "" where there may be."""
    missing = values.missing
    if missing.all():
        return "empty"
    known = values.known_codes if values.numbers is None else values.numbers
    if not missing.any() and known.min() == known.max():
        return "one value only"
    if values.kind == "key":
        if values.numbers is not None:
            return "counts the rows"
        return f"a key: {values.distinct():,} different texts"
    if values.kind == "text":
        return f"free text: {values.distinct():,} different ones"
    return ""


def _learn(name: str, values: Values) -> Column:
    """An input, with what its training rows say."""
    column = _describe(name, values, "input")
    if values.numbers is None:
        counts = np.bincount(values.known_codes[values.known_codes >= 0], minlength=len(values.texts))
        levels, rest = choose_levels(values.kind, values.texts, counts, len(values))
        kind = "yes/no" if values.kind == "yes/no" else "category"
        return replace(column, kind=kind, levels=levels, rest=rest)
    if values.kind == "time":
        return replace(
            column, origin=float(np.nanmedian(values.numbers).round()), cycles=_choose_cycles(values.numbers)
        )
    return replace(column, kind="number", origin=choose_origin(values.numbers))


def choose_levels(
    kind: str, texts: Sequence[str], counts: np.ndarray, rows: int
) -> tuple[tuple[str, ...], bool]:
    """The levels that have an input, and whether the last of them stands for the rest. counts: rows of each text,
    of `rows` in all.
    """
    if kind == "yes/no":
        from neuroforge_jax.data.cells import read_yes_no

        pair = read_yes_no([text for text, count in zip(texts, counts, strict=True) if count])
        if pair is not None:
            return pair, False
    occurring = np.nonzero(counts)[0]
    often = occurring[counts[occurring] >= min(RARE, -(-rows // 50))]
    if len(often) > MAX_LEVELS:
        often = np.sort(often[np.argsort(-counts[often], kind="stable")][:MAX_LEVELS])
    levels = tuple(texts[code] for code in often)
    return (levels, False) if len(often) == len(occurring) else ((*levels, REST), True)


def _choose_cycles(seconds: Float64[np.ndarray, " N"]) -> tuple[str, ...]:
    """What repeats at least twice in the rows, and differs between them."""
    there = seconds[~np.isnan(seconds)]
    found = []
    for name, period in CYCLES.items():
        within = there % period if name == "hour" else np.floor(there % period / DAY)
        if np.ptp(there) >= 2 * period and len(np.unique(within)) > 1:
            found.append(name)
    return tuple(found)
