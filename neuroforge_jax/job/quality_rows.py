"""How good a model is, in the words of the header and the final table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from neuroforge_jax.data.types import Dataset

Rows = Sequence[tuple[str, str]]
"""Lines of a header or a final table: a label and its text."""

MAJORITY, MAJORITY_OF_TWO = 1 / 2, 2 / 3
"""Share of the largest class above which the header says that accuracy tells little; of two classes one has half in
any case."""


def show_number(value: float) -> str:
    """Four digits, or all that stand before the point: 0.03394, 20,849, 1.414e+19."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


class Score(NamedTuple):
    """A figure of result.json, as the final table shows it."""

    key: str
    label: str
    show: Callable[[float], str]


SHOWN_SCORES = {
    "by class": (
        Score("test_balanced_accuracy", "balanced accuracy", "{:.2%}".format),
        Score("test_roc_auc", "ROC AUC", "{:.4f}".format),
    ),
    "by label": (
        Score("test_label_accuracy", "accuracy", "{:.2%}".format),
        Score("test_label_roc_auc", "ROC AUC", "{:.4f}".format),
    ),
    "test error": (
        Score("test_pinball", "pinball", show_number),
        Score("test_rmse", "RMSE", show_number),
        Score("test_mae", "MAE", show_number),
        Score("test_r2", "R²", lambda r2: f"{r2:.4f}" if abs(r2) < 1000 else f"{r2:.4g}"),
    ),
}
"""Rows of the final table below the accuracy or the loss; of each row, what is known."""


def describe_majority(dataset: Dataset) -> str:
    """That one class is most of the training data, so that accuracy tells little; "" where none is."""
    if not dataset.classes:
        return ""
    counts = dataset.count_classes(by_weight=True)
    share = counts.max() / counts.sum()
    if share <= (MAJORITY if len(counts) > 2 else MAJORITY_OF_TWO):
        return ""
    weighed = "" if dataset.train.weights is None else ", by their weights,"
    return (
        f"{share:.1%} of the training samples{weighed} are of class {dataset.classes[counts.argmax()]}, which is "
        "the accuracy of always saying it; balanced accuracy and ROC AUC tell more"
    )


def quality_rows(figures: Mapping[str, Any]) -> Rows:
    """How good the model is, and which epoch's it is."""
    accuracy, epoch = figures["test_accuracy"], figures["best_epoch"]
    rows = _test_rows(figures)
    if figures["best_validation_loss"] is not None:
        rows += _selection_rows(figures)
    elif accuracy is not None:
        best = figures["best_test_accuracy_of_an_epoch"]
        rows.append(("best epoch", f"{best:.2%} in epoch {epoch}; the weights of the last epoch are kept"))
    elif not rows and figures["train_loss"] is not None:
        rows.append(("training loss", f"{figures['train_loss']:.4g}   nothing was held out to test on"))
    return rows


def _selection_rows(figures: Mapping[str, Any]) -> Rows:
    """Which epoch's weights are kept, why, and how good they are; of a metric on the test data too."""
    accuracy, last = figures["best_validation_accuracy"], figures["last_epoch_accuracy"]
    # Version 0.2 did not say: it was the accuracy, or the loss of a regression.
    by = figures.get("selected_by") or ("loss" if accuracy is None else "accuracy")
    key = by.replace("-", "_")
    numbers = [f"loss {figures['best_validation_loss']:.4g}"]
    numbers += [] if accuracy is None else [f"{accuracy:.2%}"]
    rows = []
    if by not in ("loss", "accuracy") and f"best_validation_{key}" in figures:
        numbers.insert(0, f"{by} {show_number(figures[f'best_validation_{key}'])}")
        tested = figures.get(f"test_{key}")
        shown = {score.key for scores in SHOWN_SCORES.values() for score in scores if score.key in figures}
        rows += [] if tested is None or f"test_{key}" in shown else [(f"test {by}", show_number(tested))]
    after = "" if last is None else f"; the last epoch had {last:.2%}"
    epoch = f"in epoch {figures['best_epoch']} (selected by {by}), whose weights are kept"
    return [*rows, ("best validation", f"{', '.join(numbers)} {epoch}{after}")]


def _test_rows(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The test data's scores, as far as there are: those of classes beside the share of the largest one, those of
    numbers in the data's units.
    """
    rows = []
    loss = "" if figures["test_loss"] is None else f"loss {figures['test_loss']:.4f}"
    if (accuracy := figures["test_accuracy"]) is not None:
        majority = figures.get("test_majority_share")
        beside = "" if majority is None else f" (the largest class has {majority:.2%})"
        rows.append(("test accuracy", f"{accuracy:.2%}{beside}   {loss}"))
    elif figures["test_loss"] is not None:
        rows.append(("test loss", f"{figures['test_loss']:.4g}"))
    for heading, scores in SHOWN_SCORES.items():
        known = [score for score in scores if figures.get(score.key) is not None]
        if known:
            texts = (f"{score.label} {score.show(figures[score.key])}" for score in known)
            rows.append((heading, "   ".join(texts)))
    return rows
