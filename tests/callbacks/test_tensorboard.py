"""What TensorBoard would read: the event files, record by record."""

import struct
import time

import pytest

import neuroforge_jax as nf
from neuroforge_jax.callbacks import tensorboard
from neuroforge_jax.callbacks.tensorboard import TensorBoard
from neuroforge_jax.errors import ConfigError
from tests.conftest import make_blobs


def scalars(folder):
    """(tag, step) → value, and the steps from which on earlier events are void."""
    from tensorboardX.proto.event_pb2 import Event

    found, begins = {}, []
    for file in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16
            if event.HasField("session_log"):
                begins.append(event.step)
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    return found, begins


def test_the_metrics_of_a_run_are_there_by_their_steps(tmp_path):
    config = nf.TrainConfig(hidden=(8,), batch_size=32, epochs=3, backend="optimized")
    result = nf.fit(config, make_blobs(), callbacks=[TensorBoard(tmp_path / "tb", log_every=5)])
    found, _ = scalars(tmp_path / "tb")
    for record in result.history:
        assert found["train/loss", record["step"]] == pytest.approx(record["train_loss"])
        assert found["test/accuracy", record["step"]] == pytest.approx(record["test_accuracy"])
        assert found["run/samples_per_second", record["step"]] > 0
    assert [step for tag, step in found if tag == "step/loss"] == [5, 10, 15, 20]


def test_a_run_that_goes_on_makes_void_what_was_written_after_its_checkpoint(tmp_path):
    for first in (1, 3):
        time.sleep(1.1)  # its files are named by the second
        callback = TensorBoard(tmp_path)
        for epoch in (first, first + 1):
            callback.write({"event": "epoch", "epoch": epoch, "step": 7 * epoch, "train_loss": 0.5})
        callback.close()
    assert scalars(tmp_path)[1] == [7, 21]


def test_a_callback_that_heard_nothing_leaves_nothing(tmp_path):
    TensorBoard(tmp_path / "tb").close()
    assert not (tmp_path / "tb").exists()


def test_without_its_package_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="--tensorboard needs tensorboardX: python -m pip install"):
        TensorBoard(tmp_path)
