"""A saved step on disk: whole or not there, and never believed."""

import itertools
import json
import logging
import shutil

import ml_dtypes
import numpy as np
import pytest

from neuroforge_jax.checkpoint import arrays, files
from neuroforge_jax.checkpoint.files import DamagedError
from neuroforge_jax.checkpoint.regions import Leaf
from neuroforge_jax.errors import CheckpointError
from tests.system.store import together

pytestmark = pytest.mark.smoke

ARRAYS = {
    "state/params/layer0/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "state/step": np.asarray(7, np.int32),
    "state/key_data": np.asarray([1, 2], np.uint32),
    "best/output/bias": np.asarray([0.5, -1.5], ml_dtypes.bfloat16),
}
PROGRESS = {"step": 7, "score": None, "history": [{"event": "epoch", "train_loss": 0.1}]}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with steps 7 and 14."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    for step in (7, 14):
        files.write(folder, step, ARRAYS, PROGRESS | {"step": step})
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path / "checkpoints")


def content_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_what_was_written_is_read_back_bit_for_bit(folder):
    saved, damaged = files.newest(folder)
    assert damaged == []
    assert saved.progress["step"] == 14
    arrays = saved.arrays()
    assert set(arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
        assert saved.leaves[name] == Leaf.of(array)


def test_nothing_but_whole_steps_has_a_number_for_a_name(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["14", "7"]
    assert files.steps(folder) == [14, 7]
    (folder / ".saving-21").mkdir()
    (folder / "notes.txt").write_text("a user's own")
    assert files.steps(folder) == [14, 7]
    assert files.steps(folder / "nowhere") == []


def test_any_bit_that_is_flipped_is_found(folder):
    """In the arrays, in orbax's own files, in the progress, in the manifest that names them all."""
    rng = np.random.default_rng(0)
    step = folder / "14"
    paths = [path for path in content_of(step) if path.stat().st_size]
    sizes = np.asarray([path.stat().st_size for path in paths])
    seen = set()
    for count in range(400):
        # Every file is hit, the small ones too.
        path = (
            paths[count % len(paths)] if count < 200 else paths[rng.choice(len(paths), p=sizes / sizes.sum())]
        )
        content = bytearray(path.read_bytes())
        at, bit = int(rng.integers(len(content))), int(rng.integers(8))
        content[at] ^= 1 << bit
        path.write_bytes(content)
        with pytest.raises(DamagedError, match=path.name):
            files.read(step)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        seen.add(path.name)
    assert files.read(step).progress["step"] == 14
    assert len(seen) == len({path.name for path in paths})


def test_a_flip_is_found_in_the_array_too_where_the_files_are_believed(folder, monkeypatch):
    """What orbax hands out is compared once more: its own reading raises nothing for a wrong number."""
    saved = files.read(folder / "14")
    arrays = dict(ARRAYS)
    arrays["state/step"] = np.asarray(8, np.int32)
    files.write(folder, 21, arrays, PROGRESS)
    shutil.rmtree(folder / "14" / "arrays")
    (folder / "21" / "arrays").rename(folder / "14" / "arrays")
    with pytest.raises(DamagedError, match="the array state/step is not what was written"):
        saved.arrays()


@pytest.mark.parametrize("damage", ["flip", "truncated", "missing", "unreadable", "empty"])
def test_a_damaged_step_is_named_put_aside_and_the_one_before_it_used(folder, damage):
    victim = next(
        path for path in content_of(folder / "14") if path.stat().st_size > 100 and "d" in path.parts
    )
    content = bytearray(victim.read_bytes())
    if damage == "missing":
        victim.unlink()
    elif damage == "unreadable":
        victim.unlink()
        victim.mkdir()
    else:
        content[len(content) // 2] ^= 4
        victim.write_bytes({"flip": content, "truncated": content[:-1], "empty": b""}[damage])
    saved, damaged = files.newest(folder)
    assert saved.progress["step"] == 7
    assert len(damaged) == 1
    assert victim.name in damaged[0]
    assert sorted(path.name for path in folder.iterdir()) == [".damaged-14", "7"]
    assert files.newest(folder)[1] == []


def test_where_every_step_is_damaged_nothing_is_begun_anew(folder):
    for step in (7, 14):
        (folder / str(step) / "progress.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no checkpoint of .* can be used: .*14.*7") as caught:
        files.newest(folder)
    assert caught.value.exit_code == 4
    assert files.steps(folder) == [14, 7]


def test_where_there_is_no_step_there_is_nothing_to_complain_of(tmp_path):
    assert files.newest(tmp_path / "checkpoints") == (None, [])


def test_a_step_of_a_later_format_is_refused_not_passed_over(folder):
    import hashlib

    manifest = folder / "14" / "manifest"
    content = manifest.read_text().partition("\n")[2].replace('"format": 2', '"format": 3')
    manifest.write_text(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}")
    with pytest.raises(CheckpointError, match="has format 3, and this version reads none above 2") as caught:
        files.newest(folder)
    assert not isinstance(caught.value, DamagedError)


def test_a_write_that_fails_leaves_the_others_and_no_remains(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_manifest", full)
    with pytest.raises(
        CheckpointError, match=r"step 21 could not be written to .* \(No space left on device\)"
    ):
        files.write(folder, 21, ARRAYS, PROGRESS)
    assert sorted(path.name for path in folder.iterdir()) == ["14", "7"]


def test_where_one_process_cannot_write_its_part_all_are_told_and_there_is_no_step(tmp_path, monkeypatch):
    calls, save = itertools.count(), files.save_arrays

    def second_fails(folder, arrays):
        if next(calls):
            raise OSError(28, "No space left on device")
        save(folder, arrays)

    monkeypatch.setattr(files, "save_arrays", second_fails)
    ended = together(lambda peers: files.write(tmp_path, 21, ARRAYS, PROGRESS, peers))
    assert all(isinstance(error, CheckpointError) for error in ended)
    assert sorted("on process" in str(error) for error in ended) == [False, True]
    assert all("No space left on device)" in str(error) for error in ended)
    assert list(tmp_path.iterdir()) == []


def test_writing_a_step_again_replaces_it(folder):
    files.write(folder, 14, ARRAYS, PROGRESS | {"step": 14, "again": True})
    assert files.newest(folder)[0].progress["again"] is True
    assert sorted(path.name for path in folder.iterdir()) == ["14", "7"]


def test_what_killed_processes_left_is_cleaned_and_nothing_else(folder):
    for name in (".saving-21", ".removed-3"):
        (folder / name / "arrays").mkdir(parents=True)
    (folder / ".damaged-5").mkdir()
    files.clean(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".damaged-5", "14", "7"]


def test_saved_metadata_names_nothing_that_could_be_imported(folder):
    """Neither classes of the optimizer's state nor of ours; orbax's own file names its own handler, which it looks
    up in a table.
    """
    import re

    for path in content_of(folder / "14"):
        text = path.read_bytes().decode("latin1")
        modules = set(
            re.findall(r"\b(?:neuroforge_jax|optax|flax|jax|numpy|builtins|os|orbax)(?:\.\w+)+", text)
        )
        handlers = {
            name for name in modules if path.name == "_CHECKPOINT_METADATA" and name.startswith("orbax.")
        }
        assert modules - handlers - {"orbax.checkpoint"} == set(), path


def test_a_saved_step_does_not_say_where_it_was_written(folder, written):
    for path in content_of(folder):
        assert str(written).encode() not in path.read_bytes(), path
        assert b"/tmp" not in path.read_bytes(), path


def test_scores_are_read_from_the_steps_that_have_one(folder):
    assert files.scores(folder) == {}
    progress = folder / "7" / "progress.json"
    progress.write_text(json.dumps(PROGRESS | {"score": 0.5}))
    (folder / "14" / "progress.json").write_text("no JSON")
    assert files.scores(folder) == {7: 0.5}


def test_what_a_task_of_orbax_raises_after_a_failed_save_is_not_printed_and_what_others_raise_is(caplog):
    """Once in a hundred full disks asyncio printed a traceback below the sentence about it."""
    arrays._orbax()

    def record_of(path):
        try:
            exec(compile("1 / 0", path, "exec"))
        except ZeroDivisionError as error:
            logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=error)
        return [record.name for record in caplog.records]

    assert record_of("/env/orbax/checkpoint/handlers.py") == []
    assert record_of("/home/me/training.py") == ["asyncio"]
