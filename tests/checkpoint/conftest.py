"""A run that was cut, to be gone on with by several tests."""

import shutil

import pytest

from tests.checkpoint.interruption import CONFIG, interrupted
from tests.conftest import make_blobs


@pytest.fixture(scope="module")
def run_of_18_steps(tmp_path_factory):
    """The folder of a run of CONFIG that ended abruptly, and the last step that was saved."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    return folder, interrupted(CONFIG, make_blobs(), folder, 18)


@pytest.fixture
def cut_at_18(run_of_18_steps, tmp_path):
    """A copy of that folder, to go on in, at tmp_path / "run"; the last step that was saved."""
    folder, last = run_of_18_steps
    shutil.copytree(folder, tmp_path / "run")
    return last
