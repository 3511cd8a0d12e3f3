"""The console: plain where it is piped, never in the way."""

import dataclasses
import io
import os
import sys
from pathlib import Path

import pytest

import neuroforge_jax as nf
from neuroforge_jax.callbacks.console import Console, _epoch_line
from neuroforge_jax.system import memory
from tests.conftest import SMALL_CONFIG, make_blobs

EPOCH = {
    "event": "epoch",
    "epoch": 3,
    "train_loss": 0.5,
    "train_accuracy": 0.75,
    "test_loss": 0.25,
    "test_accuracy": 0.875,
    "samples_per_second": 1234.5,
}
NAMED = dataclasses.replace(make_blobs(), name="[bold]blobs[/bold]", origin="8×8")


def shown(monkeypatch, encoding="utf-8", refreshes=False):
    """What a run prints, and what it returns. refreshes: the bar with every segment, however fast they are."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="replace", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    console, after = Console(), nf.Callback()
    if refreshes:
        after.segment = lambda *_: console._bar.refresh()
    result = nf.fit(SMALL_CONFIG, NAMED, callbacks=[console, after])
    console.note("saved")
    console.close()
    return raw.getvalue().decode(encoding), result


def epoch_line(monkeypatch, record):
    raw = io.StringIO()
    monkeypatch.setattr(sys, "stdout", raw)
    Console().epoch(None, record)
    return raw.getvalue()


def test_a_pipe_gets_plain_lines(monkeypatch):
    text, result = shown(monkeypatch)
    assert "\x1b" not in text
    assert "[bold]blobs[/bold]: 8×8" in text  # names are text, not markup
    # A line for each epoch, and none for what happens within one.
    header, *epochs, _ = text.split("\nepoch ")
    assert "6 × " not in header
    assert len(epochs) + 1 == len(result.history)
    assert all("\n" not in line for line in epochs)
    assert f"{result.test_accuracy:.2%}" in text
    assert text.endswith("saved\n")


def test_an_epoch_is_a_line_with_loss_and_accuracy_of_each_part(monkeypatch):
    said = "epoch   3   train 0.5000  75.00%   test 0.2500  87.50%       1,234 samples/s\n"
    assert epoch_line(monkeypatch, EPOCH) == said


@pytest.mark.parametrize(
    ("value", "said"), [(51234.567, "rmse 51,235"), (0.98765, "rmse 0.9877"), (-2.5, "rmse -2.5000")]
)
def test_what_is_monitored_stands_beside_with_the_digits_that_tell(value, said):
    record = {"epoch": 3, "validation_loss": 0.25, "validation_rmse": value, "samples_per_second": 1.0}
    assert f"validation 0.2500 {said}   " in _epoch_line(record, "rmse")


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    text, result = shown(monkeypatch, refreshes=True)
    assert "\x1b[" in text
    assert "samples/s" in text
    assert f"epoch 1/{SMALL_CONFIG.epochs}  loss " in text
    assert text.rindex("left") < text.rindex(f"{result.test_accuracy:.2%}")


@pytest.mark.parametrize("encoding", ["ascii", "latin1"])
def test_an_ascii_terminal_gets_something_readable(encoding, monkeypatch):
    text, result = shown(monkeypatch, encoding)
    assert f"{result.test_accuracy:.2%}" in text


def test_a_regression_has_no_accuracy_to_show(monkeypatch):
    said = epoch_line(monkeypatch, {**EPOCH, "train_accuracy": None, "test_accuracy": None})
    assert "epoch   3   train 0.5000   test 0.2500" in said


def test_bytes_are_told_in_the_unit_of_a_person():
    assert [memory.text(size) for size in (12, 1500, 99_950_000, 5_300_000_000)] == [
        "12 B",
        "1.5 kB",
        "100.0 MB",
        "5.3 GB",
    ]


class CloseAfter(nf.Callback):
    """Takes the console's file away once the first epoch is over."""

    def __init__(self, close):
        self._close = close

    def epoch(self, trainer, record):
        if record["epoch"] == 1:
            self._close()


def terminal_that_is_closed():
    """A terminal as a window or a connection is one, and what closes it."""
    ours, theirs = os.openpty()
    return os.fdopen(theirs, "w"), lambda: os.close(ours)


def pipe_without_a_reader():
    ours, theirs = os.pipe()
    return os.fdopen(theirs, "w"), lambda: os.close(ours)


def file_that_is_closed():
    file = io.StringIO()
    return file, file.close


def disk_that_is_full():
    return Path("/dev/full").open("w"), lambda: None


@pytest.mark.parametrize(
    "make", [terminal_that_is_closed, pipe_without_a_reader, file_that_is_closed, disk_that_is_full]
)
def test_a_run_goes_on_in_silence_where_its_console_is_gone(make, monkeypatch):
    stream, close = make()
    monkeypatch.setattr(sys, "stdout", stream)
    result = nf.fit(SMALL_CONFIG, NAMED, callbacks=[Console(), CloseAfter(close)])
    assert len(result.history) == SMALL_CONFIG.epochs
    stream.close()  # as the interpreter does at its end: what was not written has gone nowhere


def test_what_a_strict_terminal_cannot_show_is_replaced_and_the_rest_is_shown(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(
        sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True)
    )
    Console().note("8×8 pictures")
    assert raw.getvalue() == b"8?8 pictures\n"
