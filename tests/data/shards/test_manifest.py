"""Which files are shards: what a folder and its manifest say, and what is refused by name."""

import json

import pytest

from neuroforge_jax.data.shards.manifest import (
    Manifest,
    Shard,
    check_digest,
    digest_of,
    find_shards,
    holds_shards,
)
from neuroforge_jax.errors import DataError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())


def write(folder, change=lambda saved: None, name="manifest.json"):
    """A manifest of what lies there, changed."""
    found = find_shards(folder)
    saved = found.to_json()
    for file in (file for part in saved["parts"].values() for shard in part for file in shard["files"]):
        file["sha256"] = digest_of(folder / file["name"])
    for shard in (shard for part in saved["parts"].values() for shard in part):
        shard["rows"] = 5
    change(saved)
    (folder / name).write_text(json.dumps(saved))
    return folder / name


def names(manifest: Manifest, part="train"):
    return [tuple(file.name for file in shard.files) for shard in manifest.parts[part]]


def test_files_in_a_folder_are_shards_by_their_names(tmp_path):
    make(tmp_path, "b.parquet", "a.parquet", "notes.txt", ".hidden.parquet")
    assert names(find_shards(tmp_path)) == [("a.parquet",), ("b.parquet",)]
    assert holds_shards(tmp_path)


def test_folders_within_are_the_parts_and_arrays_are_pairs(tmp_path):
    make(
        tmp_path,
        "train/x-1.npy",
        "train/y-1.npy",
        "train/x-0.npy",
        "train/y-0.npy",
        "test/x.npy",
        "test/y.npy",
    )
    found = find_shards(tmp_path)
    assert names(found) == [("train/x-0.npy", "train/y-0.npy"), ("train/x-1.npy", "train/y-1.npy")]
    assert names(found, "test") == [("test/x.npy", "test/y.npy")]
    assert found.kind == "npy"
    assert holds_shards(tmp_path)


@pytest.mark.parametrize(
    "there",
    [["x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"], ["cat/1.png"], ["train/cat/1.png"], []],
)
def test_other_folders_hold_no_shards(tmp_path, there):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    assert not holds_shards(tmp_path)


def test_a_manifest_says_the_same_again(tmp_path):
    make(tmp_path, "train/a.parquet", "test/b.parquet")
    path = write(tmp_path)
    found = find_shards(tmp_path)
    assert found.listed
    assert found == find_shards(path)
    assert names(found) == [("train/a.parquet",)]
    assert found.parts["train"][0].rows == 5
    assert found.to_json() == json.loads(path.read_text())
    assert isinstance(found.parts["test"][0], Shard)


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ([], "holds no shards to train on"),
        (["test/a.parquet"], "holds no shards to train on"),
        (["a.parquet", "x.npy", "y.npy"], r"two kinds, such as 'x\.npy', 'a\.parquet'"),
        (["x-1.npy"], r"'x-1\.npy' is no part of a pair, and 'y-1\.npy' is not there"),
        (["x-1.npy", "y-1.npy", "z.npy"], r"'z\.npy' is no part of a pair; inputs and targets"),
        (["train/a.parquet", "b.parquet"], r"'b\.parquet' lies beside the folder train/"),
    ],
)
def test_a_folder_that_holds_no_shards_or_doubtful_ones_says_so(tmp_path, there, sentence):
    make(tmp_path, *there)
    with pytest.raises(DataError, match=sentence):
        find_shards(tmp_path)


def name_of(name):
    def change(saved):
        saved["parts"]["train"][0]["files"][0]["name"] = name

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (name_of("../a.parquet"), r"'\.\./a\.parquet' leaves the manifest's folder"),
        (name_of("/etc/passwd"), r"'/etc/passwd' leaves the manifest's folder"),
        (name_of("link/a.parquet"), "leaves the manifest's folder"),
        (name_of("c.parquet"), r"the shard 'c\.parquet' is not there"),
        (name_of("b.parquet"), r"lists 'b\.parquet' twice"),
        (name_of("inner/b.parquet"), r"lists .* twice"),
        (name_of("a\0.parquet"), "manifest"),
        (name_of(7), "lacks what a manifest says"),
        (lambda saved: saved["parts"]["train"].pop(), r"'b\.parquet' lies in the folder and is not in the"),
        (lambda saved: saved["parts"].clear(), "no shards of the part train"),
        (lambda saved: saved.update(kind="csv"), "kind 'csv'"),
        (lambda saved: saved.update(version=2), "version 2, and 1 is read"),
        (lambda saved: saved.update(format="x"), "is no manifest of shards"),
        (lambda saved: saved["parts"].update(other=[]), "part 'other'"),
        (lambda saved: saved["parts"]["train"][0].update(rows=-1), "-1 is no number of rows"),
        (lambda saved: saved["parts"]["train"][0]["files"][0].update(bytes=1), "has 9 bytes, and the manifest"),
        (lambda saved: saved["parts"].update(train={"a": 1}), "lacks what a manifest says"),
    ],
)  # fmt: skip
def test_a_manifest_that_does_not_agree_with_its_folder_is_refused(tmp_path, change, sentence):
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    make(folder, "a.parquet", "b.parquet")
    outside.mkdir()
    make(outside, "a.parquet")
    (folder / "link").symlink_to(outside)
    (folder / "inner").symlink_to(folder)
    write(folder, change)
    with pytest.raises(DataError, match=sentence):
        find_shards(folder)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match=r"manifest\.json: is no JSON"):
        find_shards(tmp_path)
    with pytest.raises(DataError, match=r"other\.json: cannot be read"):
        find_shards(tmp_path / "other.json")


def test_contents_that_changed_are_found_by_their_digest(tmp_path):
    make(tmp_path, "a.parquet")
    write(tmp_path)
    found = find_shards(tmp_path)
    (file,) = found.parts["train"][0].files
    check_digest(found, file)
    (tmp_path / "a.parquet").write_bytes(b"b.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: this shard has another SHA-256"):
        check_digest(found, file)
