"""The body of `predict` and `evaluate`: rows in, answers out, and how right they are where that is known."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, TextIO

import numpy as np
import tyro

from neuroforge_jax.backends.compilation_cache import keep_programs
from neuroforge_jax.commands.prediction_inputs import choose_names, read_pieces
from neuroforge_jax.commands.prediction_outputs import (
    are_answers,
    describe_outputs,
    explain_names,
    open_writer,
)
from neuroforge_jax.commands.prediction_pieces import ROWS, Notes, Piece, Reading
from neuroforge_jax.config import DataConfig
from neuroforge_jax.config.checks import check_choice, convert_fields
from neuroforge_jax.data.values import names_of
from neuroforge_jax.errors import ConfigError, DataError
from neuroforge_jax.job.predictor import Predictor
from neuroforge_jax.model.answers import score_outputs
from neuroforge_jax.model.io import load
from neuroforge_jax.model.model import FittedModel


@dataclass(frozen=True)
class PredictOptions:
    """What is predicted, and where the answers go."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """The folder of a run: finished, stopped or still running (its last save)."""
    inputs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT…")]
    """Tables, .npy or .npz files, pictures or folders of them, or - for a table from standard input."""
    output: Path | None = None
    """File for the answers: .csv, .jsonl or .parquet (else CSV to standard output)."""
    format: str | None = None
    """csv, jsonl or parquet (by the ending of --output unless given)."""
    id: str | None = None
    """Column that is passed through to the answers, to tell the rows by (that of the training unless given)."""
    delimiter: str | None = None
    """What separates the cells of a text table (found in its first megabyte unless given)."""
    decimal: str | None = None
    """The decimal mark of a text table: . or , (found in its first megabyte unless given)."""
    encoding: str | None = None
    """The encoding of a text table (found in its first megabyte unless given)."""
    header: str = "auto"
    """auto, yes or no: whether the first row of a text table holds the names of the columns."""
    missing: tuple[str, ...] = ()
    """Numbers, by their value, and texts that mean a missing value, besides empty cells, NA, N/A, NaN, null, None
    and ?."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.format is not None:
            check_choice(self, "format", "csv", "jsonl", "parquet")

    def file_format(self, model: FittedModel, row_id: str | None) -> DataConfig:
        """How tables are read, and what means a missing value in arrays too.

        row_id: the column that names the rows.
        """
        return DataConfig(
            id=row_id,
            delimiter=self.delimiter,
            decimal=self.decimal,
            encoding=self.encoding,
            header=self.header,
            missing=(*model.marks, *self.missing),
        )


@dataclass(eq=False)
class Scored:
    """The rows so far: how many, and how many without a finite answer; of those that are scored what is right, what
    the network said, and weights.
    """

    rows: int = 0
    unanswered: int = 0
    targets: list[np.ndarray] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)

    def add(self, piece: Piece, outputs: np.ndarray) -> None:
        """Keep what metrics need."""
        self.rows += len(outputs)
        answered = are_answers(outputs)
        self.unanswered += int((~answered).sum())
        if piece.targets is not None:
            numbers = piece.targets.ndim == 2
            there = ~np.isnan(piece.targets).any(axis=1) if numbers else piece.targets >= 0
            weights = np.ones(len(there)) if piece.weights is None else piece.weights
            there &= answered & (weights > 0)
            self.targets.append(piece.targets[there])
            self.outputs.append(outputs[there])
            self.weights.append(weights[there])

    @property
    def known(self) -> int:
        """Rows that are scored: they say what is right, and count."""
        return sum(map(len, self.targets))

    def scores(self, model: FittedModel) -> dict[str, float]:
        """Every metric of the rows that are scored; none where none is."""
        if not self.known:
            return {}
        targets, outputs, weights = map(np.concatenate, (self.targets, self.outputs, self.weights))
        return score_outputs(model, targets, outputs, weights)


def run_predictions(options: PredictOptions, *, metrics_first: bool) -> None:
    """Predict every row of every input, and print what the answers are worth where the inputs say what is right.

    metrics_first: print metrics to standard output, and answers to a file alone. Raises CheckpointError, DataError
    and ConfigError.
    """
    if not options.inputs:
        raise ConfigError(f"nothing to predict: give tables, arrays or pictures behind {options.model}")
    model, params = load(options.model)
    row_names, notes = choose_names(model, options.inputs, options.id), Notes(_tell)
    reading = Reading(model, options.file_format(model, row_names.id), row_names, notes)
    predict = Predictor.build(model, params, ROWS)
    answers_wanted = options.output is not None or not metrics_first
    scored = Scored()
    with ExitStack() as stack:
        write = stack.enter_context(open_writer(options.output, options.format)) if answers_wanted else None
        stack.enter_context(keep_programs(predict.device, predict.options, _ignore))
        for piece in read_pieces(reading, options.inputs):
            outputs = predict(piece.inputs)
            if write is not None and (len(outputs) or not scored.rows):
                answers = describe_outputs(model, outputs, piece.names)
                notes.add(explain_names(answers, row_names.id))
                write(answers)
            scored.add(piece, outputs)
    notes.tell_counts()
    if scored.unanswered:
        rows = "1 row has" if scored.unanswered == 1 else f"{scored.unanswered:,} rows have"
        notes.add(f"{rows} no answer, and no score: numbers so large that those of the network are infinite")
    if metrics_first and not scored.known:
        names = names_of(model.target.names) or "a target"
        raise DataError(f"{' '.join(options.inputs)}: no row says what is right ({names}); use predict")
    _print_scores(scored, model, options.output, sys.stdout if metrics_first else sys.stderr)


def _print_scores(scored: Scored, model: FittedModel, output: Path | None, file: TextIO) -> None:
    """Metrics, in the units of the data, and how many rows they are of."""
    scores = scored.scores(model)
    wide = max(map(len, scores), default=0)
    for name, value in scores.items():
        print(f"{name:<{wide}}  {value:.5g}", file=file)
    rows = f"{scored.rows:,} row{'s' if scored.rows != 1 else ''}"
    known = f", {scored.known:,} of them scored" if scores and scored.known < scored.rows else ""
    print(f"{rows}{known}{'' if output is None else f'; predictions in {output}'}", file=file)


def _tell(note: str) -> None:
    print(f"note: {' '.join(note.split())}", file=sys.stderr)


def _ignore(text: str) -> None:
    """Where programs are kept is of no interest to who asks for predictions."""


def parse_options(args: Sequence[str], prog: str, description: str) -> PredictOptions:
    """The options that a command line gives."""
    return tyro.cli(PredictOptions, args=args, prog=prog, description=description)
