"""The schema of a table that passes by once: kinds by the first look, all else by all rows.

What kind a column is follows from some thousand rows from all over the data, by the rule of every table
(`data/columns.py`); of a table that is no larger these are all rows. What is learnt of it (levels, origins, missing
values, that it is constant, a key or a count of the rows) follows from all rows. A text column that is read as
numbers or times by the first look and holds something else later counts as missing there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.cells import read_yes_no
from neuroforge_jax.data.columns import forced_kind, kind_of_texts, read_column, read_like, tell_infinite
from neuroforge_jax.data.preprocess import Fitted, origin_of
from neuroforge_jax.data.readers.missing import Marks, mark_missing, tell_missing
from neuroforge_jax.data.schema import CYCLES, DAY, Column, Schema
from neuroforge_jax.data.schema_inference import ROLES, choose_levels
from neuroforge_jax.data.shards.counting import MOST_TEXTS, Distinct, RowCounter
from neuroforge_jax.data.shards.decoding import read_weights
from neuroforge_jax.data.shards.statistics import NumberStatistics, Slots, fit_numbers
from neuroforge_jax.data.shards.target_statistics import TargetStatistics
from neuroforge_jax.data.shards.units import Place
from neuroforge_jax.data.table import Table
from neuroforge_jax.data.targets import Target
from neuroforge_jax.data.values import Values, names_of, sort_key
from neuroforge_jax.errors import DataError

TEXTUAL = ("category", "yes/no", "text", "key")


@dataclass(eq=False)
class _Learnt:
    """What is known of a column so far. like: how its cells are read. at: of its numbers in the matrix of all."""

    like: Column
    at: int | None = None
    texts: Distinct | None = None
    rows: RowCounter | None = None
    missing: int = 0
    infinite: int = 0
    levels_of_time: np.ndarray | None = None


class TableStatistics:
    """Learns from blocks of a table, given in their order; `schema` and `fit` then tell."""

    def __init__(
        self, config: DataConfig, look: Table, targets: tuple[str, ...], *, inputs_elsewhere: bool = False
    ) -> None:
        """look: rows from all over the data, by which columns get their kinds. inputs_elsewhere: the columns are
        targets and weights alone.
        """
        self.config, self.targets, self.inputs_elsewhere = config, targets, inputs_elsewhere
        self.rows = self.without_target = 0
        self.marked = Counter[str]()
        self._notes = look.notes
        marked, _ = mark_missing(look, config.missing, config.keys)
        self._columns: dict[str, _Learnt] = {}
        self._width = 0
        for name in look.columns:
            self._columns[name] = self._begin(name, read_column(marked, name, forced_kind(config, name)))
        self.numbers = NumberStatistics(self._width)
        self.target = TargetStatistics(targets, config.target_transform)

    def _begin(self, name: str, values: Values) -> _Learnt:
        if values.numbers is None:
            kind = "category" if values.kind in TEXTUAL else values.kind
            return _Learnt(Column(name, kind), texts=Distinct(MOST_TEXTS))
        kind = "time" if values.kind == "time" else "number"
        said = values.said if "infinite" not in values.said else ""
        like = Column(name, kind, said=said, written_as_digits=values.written_as_digits)
        learnt = _Learnt(like, self._width, rows=RowCounter() if values.kind != "time" else None)
        self._width += 1 + 2 * len(CYCLES) * (kind == "time")
        if kind == "time":
            learnt.levels_of_time = np.array([[np.inf, -np.inf]] * len(CYCLES))
        return learnt

    def add(self, table: Table, place: Place) -> int:
        """Take the next rows into account; gives how many of them have a target."""
        table, marked = mark_missing(table, self.config.missing, self.config.keys)
        self.marked.update(marked)
        columns = {name: self._read(learnt, table) for name, learnt in self._columns.items()}
        without = np.any([columns[name].missing for name in self.targets], axis=0)
        if without.any():
            columns = {name: values[~without] for name, values in columns.items()}
        weights = None
        if (name := self.config.sample_weight) is not None:
            weights = read_weights(columns[name], name, place)
        self.target.add({name: columns[name] for name in self.targets}, weights)
        rows = int((~without).sum())
        matrix = np.empty((rows, self._width))
        for name, values in columns.items():
            self._learn(self._columns[name], values, matrix)
        self.numbers.add(matrix)
        self.rows += rows
        self.without_target += int(without.sum())
        return rows

    def _read(self, learnt: _Learnt, table: Table) -> Values:
        column = table.columns[learnt.like.name]
        if pa.types.is_floating(column.type):
            learnt.infinite += pc.sum(pc.is_inf(column)).as_py() or 0
        values = read_like(learnt.like, table)
        if learnt.rows is not None and values.numbers is not None:
            learnt.rows.add(values.numbers)
        return values

    def _learn(self, learnt: _Learnt, values: Values, matrix: np.ndarray) -> None:
        learnt.missing += int(values.missing.sum())
        if learnt.texts is not None:
            learnt.texts.add_values(values, None)
            return
        assert learnt.at is not None
        assert values.numbers is not None
        matrix[:, learnt.at] = values.numbers
        if learnt.levels_of_time is None:
            return
        for at, (name, period) in enumerate(CYCLES.items()):
            angle = 2 * np.pi * (values.numbers / period % 1)
            first = learnt.at + 1 + 2 * at
            matrix[:, first], matrix[:, first + 1] = np.sin(angle), np.cos(angle)
            within = values.numbers % period
            within = within if name == "hour" else np.floor(within / DAY)
            low, high = learnt.levels_of_time[at]
            learnt.levels_of_time[at] = (
                np.fmin.reduce(within, initial=low),
                np.fmax.reduce(within, initial=high),
            )

    def schema(self, target: Target, where: str) -> Schema:
        """The schema of all rows. Raises DataError where no input is left, unless inputs lie elsewhere."""
        columns = tuple(self._describe(learnt) for learnt in self._columns.values())
        schema = Schema(columns, target, Marks(self.config.missing, self.config.decimal or ".").plain)
        if not schema.inputs and not self.inputs_elsewhere:
            left = names_of(schema.by_role("left out")) or "there is the target alone"
            raise DataError(
                f"{where}: no column is left to predict from ({left}); a target and an input are needed"
            )
        return schema

    def _describe(self, learnt: _Learnt) -> Column:
        name, config = learnt.like.name, self.config
        roles = {getattr(config, flag): role for flag, role in ROLES.items()} | dict.fromkeys(
            self.targets, "target"
        )
        role = "left out" if name in config.drop else roles.get(name, "input")
        said = ", ".join(filter(None, (learnt.like.said, tell_infinite(learnt.infinite))))
        column = replace(
            learnt.like,
            kind=self._kind(learnt),
            role=role,
            missing=learnt.missing / max(1, self.rows),
            said=said,
        )
        if role == "left out":
            return replace(column, said="--drop")
        if role not in ("input", "id") and learnt.at is not None:
            return replace(column, kind=learnt.like.kind)
        if role != "input":
            return column
        forced = name in {*config.categorical, *config.numeric, *config.time}
        if (reason := self._useless(column, learnt)) and (not forced or reason == "empty"):
            return replace(column, role="left out", said=reason)
        return self._complete(column, learnt)

    def _kind(self, learnt: _Learnt) -> str:
        if learnt.texts is None:
            return "key" if learnt.rows is not None and learnt.rows.counts else learnt.like.kind
        texts = _texts_of(learnt.texts)
        if len(texts) <= 2 and read_yes_no(texts) is not None:
            return "yes/no"
        return kind_of_texts(texts, learnt.texts.full_at or learnt.texts.rows)

    def _useless(self, column: Column, learnt: _Learnt) -> str:
        """See `schema_inference`."""
        if learnt.missing == self.rows:
            return "empty"
        if learnt.texts is not None:
            if not learnt.missing and len(learnt.texts.counts) == 1:
                return "one value only"
            count = f"{len(learnt.texts.counts):,}" if learnt.texts.are_few else f"more than {MOST_TEXTS:,}"
            says = {"key": f"a key: {count} different texts", "text": f"free text: {count} different ones"}
            return says.get(column.kind, "")
        low, high = (ends[learnt.at] for ends in self.numbers.extremes)
        if not learnt.missing and low == high:
            return "one value only"
        return "counts the rows" if column.kind == "key" else ""

    def _complete(self, column: Column, learnt: _Learnt) -> Column:
        """An input, with what its rows say."""
        if learnt.texts is not None:
            texts = _texts_of(learnt.texts)
            counts = np.array([learnt.texts.counts[text] for text in texts], np.int64)
            levels, rest = choose_levels(column.kind, texts, counts, self.rows)
            kind = "yes/no" if column.kind == "yes/no" else "category"
            if learnt.texts.more and not rest:
                levels, rest = (*levels, "(other)"), True
            return replace(column, kind=kind, levels=levels, rest=rest)
        assert learnt.at is not None
        sketch = self.numbers.sketches[learnt.at]
        low, median, high = sketch.quantiles([0.05, 0.5, 0.95]).tolist()
        width = sketch.greatest - sketch.least
        if learnt.levels_of_time is None:
            return replace(column, kind="number", origin=origin_of(low, median, high, width))
        cycles = tuple(
            name
            for (name, period), (first, last) in zip(CYCLES.items(), learnt.levels_of_time, strict=True)
            if width >= 2 * period and first < last
        )
        return replace(column, origin=float(np.round(median)), cycles=cycles)

    def fit(self, schema: Schema, scaling: str) -> Fitted:
        """What is learnt for a plan of this scaling."""
        at, origins = [], []
        for column in schema.inputs:
            first = self._columns[column.name].at
            if first is None:
                continue
            at.append(first)
            origins.append(column.origin)
            for name in column.cycles:
                place = first + 1 + 2 * list(CYCLES).index(name)
                at += [place, place + 1]
                origins += [0.0, 0.0]
        fitted = fit_numbers(schema.plan(scaling), self.numbers, Slots(at, np.array(origins)))
        return self.target.fit(fitted, schema.target)

    def notes(self, where: str) -> list[str]:
        """What was met on the way."""
        told = list(self._notes)
        if self.config.missing:
            found = f", in {names_of(sorted(+self.marked))}" if self.marked else ""
            told.append(tell_missing(self.config.missing, self.marked.total(), found))
        if self.without_target:
            rows = "1 row is" if self.without_target == 1 else f"{self.without_target:,} rows are"
            told.append(f"{rows} left out of {where}, without a target")
        return told


def _texts_of(distinct: Distinct) -> Sequence[str]:
    """In the order in which a table has them."""
    return sorted(map(str, distinct.counts), key=sort_key)


def last_column(names: Sequence[str], config: DataConfig, where: str) -> str:
    """The target, where none is named."""
    others = {*config.drop, *(getattr(config, flag) for flag in ROLES)}
    left = [name for name in names if name not in others]
    if not left:
        raise DataError(f"{where}: no column is left to predict; name one with --target")
    return left[-1]
