"""Files that are whole or not there, and what is no file."""

import json
import os
import threading

import pytest

from neuroforge_jax.errors import CheckpointError, ConfigError
from neuroforge_jax.system import files
from neuroforge_jax.system.files import write_json

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("failure", [CheckpointError, ConfigError])
def test_what_cannot_be_written_leaves_what_was_there(failure, tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    write_json(path, {"old": 1})

    def fill_the_disk(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fill_the_disk)
    with pytest.raises(failure, match=r"r.json could not be written \(No space left on device\); make room"):
        write_json(path, {"new": 2}, failure)
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    """To rename a file over /dev/null would be its end."""
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(10)
    assert json.loads(read[0]) == {"a": 1}
    assert pipe.is_fifo()
