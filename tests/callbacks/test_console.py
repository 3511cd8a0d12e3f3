"""The console: plain where it is piped, never in the way."""

import io
import sys

from neuroforge_jax.callbacks.base import Progress
from neuroforge_jax.callbacks.console import Console
from neuroforge_jax.system import memory

EPOCH = {
    "event": "epoch",
    "epoch": 3,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "test_loss": 0.25,
    "test_accuracy": 0.875,
    "samples_per_second": 1234.5,
}
PROGRESS = Progress(step=3, steps=9, epoch=1, epochs=3, loss=0.5, accuracy=None, samples_per_second=10.0)


def shown(monkeypatch, encoding="utf-8"):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="replace", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    console = Console()
    console.header([("data", "[bold]digits[/bold]: 8×8"), ("", "more")])
    console.progress(PROGRESS)
    console.record(EPOCH)
    console.record({"event": "step", "step": 1, "loss": 0.1})
    console.result([("test accuracy", "87.50%")])
    console.note("saved")
    console.close()
    return raw.getvalue().decode(encoding)


def test_a_pipe_gets_plain_lines(monkeypatch):
    text = shown(monkeypatch)
    assert "\x1b" not in text
    assert "epoch   3   train 0.5000  75.00%   test 0.2500  87.50%       1,234 samples/s" in text
    assert "[bold]digits[/bold]: 8×8" in text  # names are text, not markup
    assert "step" not in text


def test_an_ascii_terminal_gets_something_readable(monkeypatch):
    assert "87.50%" in shown(monkeypatch, "ascii")


def test_a_regression_has_no_accuracy_to_show(monkeypatch):
    raw = io.StringIO()
    monkeypatch.setattr(sys, "stdout", raw)
    Console().record({**EPOCH, "train_accuracy": None, "test_accuracy": None})
    assert "epoch   3   train 0.5000   test 0.2500" in raw.getvalue()


def test_bytes_are_told_in_the_unit_of_a_person():
    assert [memory.text(size) for size in (12, 1500, 99_950_000, 5_300_000_000)] == [
        "12 B",
        "1.5 kB",
        "100.0 MB",
        "5.3 GB",
    ]
