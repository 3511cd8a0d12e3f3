"""Datasets by name: the data folder, its checks, what `auto` does, and what the names mean."""

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data import datasets, load_dataset
from neuroforge_jax.data.download import ARCHIVES, DownloadError
from neuroforge_jax.data.readers.idx import write_idx
from neuroforge_jax.errors import ConfigError, DataError

REAL = os.environ.get("NEUROFORGE_DATA_DIR")
SIZES = {"train": 30, "t10k": 10}


@pytest.fixture(autouse=True)
def nowhere_to_download_from(monkeypatch, tmp_path):
    """No mirror at all, and a data folder of the test's own."""
    for name, archive in ARCHIVES.items():
        monkeypatch.setitem(ARCHIVES, name, replace(archive, mirrors=()))
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", str(tmp_path / "data"))


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {}
    for part, size in SIZES.items():
        made[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        made[f"{part}-labels-idx1-ubyte"] = rng.integers(0, 10, size).astype(np.uint8)
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A small MNIST in the data folder, of which the table holds the digests."""
    here = tmp_path / "data" / "mnist"
    here.mkdir(parents=True)
    files = []
    for file in ARCHIVES["mnist"].files:
        raw = write_idx(tmp_path / "raw", arrays()[file.name.removesuffix(".gz")]).read_bytes()
        write_idx(here / file.name, arrays()[file.name.removesuffix(".gz")])
        files.append(replace(file, payload_sha256=hashlib.sha256(raw).hexdigest()))
    monkeypatch.setitem(ARCHIVES, "mnist", replace(ARCHIVES["mnist"], files=tuple(files)))
    return here


@pytest.fixture
def fashion(tmp_path) -> Path:
    here = tmp_path / "data" / "fashion-mnist"
    here.mkdir(parents=True)
    for name, array in arrays().items():
        write_idx(here / f"{name}.gz", array)
    return here


def complaint(name: str, kind: type = DataError, **options) -> str:
    with pytest.raises(kind) as caught:
        load_dataset(name, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mnist_comes_from_the_data_folder(folder):
    data = load_dataset("mnist")
    assert (data.name, data.shape, data.classes) == ("mnist", (28, 28), tuple("0123456789"))
    np.testing.assert_array_equal(data.train.inputs, arrays()["train-images-idx3-ubyte"].reshape(30, 784))
    np.testing.assert_array_equal(data.test.targets, arrays()["t10k-labels-idx1-ubyte"])
    assert data.train.inputs.dtype == np.uint8
    assert data.origin == "from the data folder"


def test_the_data_folder_can_be_given_and_be_relative(folder, monkeypatch):
    monkeypatch.chdir(folder.parent.parent)
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", "elsewhere")
    assert len(load_dataset("mnist", data_dir=Path("data")).train) == 30
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", "data")
    assert len(load_dataset("mnist").train) == 30


def test_without_a_word_the_users_cache_folder_is_meant(monkeypatch):
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", "")
    assert "neuroforge-jax" in str(datasets.data_folder())


@pytest.mark.parametrize("spelling", ["{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}.idx{}-ubyte.gz"])
def test_other_spellings_are_found(folder, spelling):
    for name, array in arrays().items():
        stem, rank = name.removesuffix("-ubyte").split("-idx")
        (folder / f"{name}.gz").unlink()
        write_idx(folder / spelling.format(stem, rank), array)
    assert len(load_dataset("mnist").train) == 30


@pytest.mark.parametrize("name", ["mnist", "auto"])
def test_a_corrupt_file_is_an_error_and_never_a_fallback(folder, name):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    write_idx(path, (arrays()["t10k-labels-idx1-ubyte"] + 1) % 10)
    message = complaint(name)
    assert message.startswith(f"{path}: ")
    assert "not the published" in message


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x1f\x8b\x08"])
def test_a_file_that_is_no_idx_file_is_named(folder, content):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    assert complaint("auto").startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("name", "array", "fact"),
    [
        ("train-images-idx3-ubyte", np.zeros((30, 28, 27), np.uint8), "pictures are uint8 (N, 28, 28)"),
        ("train-images-idx3-ubyte", np.zeros((30, 28, 28), np.int8), "holds int8"),
        ("train-labels-idx1-ubyte", np.zeros((30, 1), np.uint8), "labels are uint8 (N,)"),
        ("train-labels-idx1-ubyte", np.zeros(30, np.float32), "holds float32"),
        ("t10k-labels-idx1-ubyte", np.zeros(9, np.uint8), "holds 9 labels"),
        ("t10k-labels-idx1-ubyte", np.full(10, 10, np.uint8), "the label 10; labels are from 0 to 9"),
    ],
)
def test_the_wrong_array_in_a_file_is_named(fashion, name, array, fact):
    path = write_idx(fashion / f"{name}.gz", array)
    message = complaint("fashion-mnist")
    assert message.startswith(f"{path}: ")
    assert fact in message


def test_fashion_mnist_has_names_for_its_classes(fashion):
    data = load_dataset("fashion-mnist")
    assert data.classes[9] == "Ankle boot"
    assert len(data.classes) == 10


def test_auto_takes_mnist_where_it_is(folder):
    assert load_dataset().name == "mnist"


def test_auto_says_why_it_falls_back_to_digits():
    data = load_dataset("auto")
    assert data.name == "digits"
    assert data.origin == (
        "MNIST could not be downloaded (no mirror answered); training on scikit-learn's digits instead"
    )


def test_what_is_missing_alone_is_downloaded(folder, monkeypatch):
    asked = []

    def pretend(files, mirrors, into):
        asked.extend(file.name for file in files)
        for name in asked:
            write_idx(into / name, arrays()[name.removesuffix(".gz")])

    monkeypatch.setattr(datasets, "download", pretend)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert load_dataset("auto").origin == "downloaded and checked"
    assert asked == ["t10k-labels-idx1-ubyte.gz"]
    assert load_dataset("auto").origin == "from the data folder"


def test_absent_mnist_is_an_error_where_it_was_asked_for(tmp_path):
    message = complaint("mnist")
    assert "could not be downloaded" in message
    assert f"into {tmp_path / 'data' / 'mnist'} by hand" in message


def test_digits_are_split_by_class_and_always_alike():
    data = load_dataset("digits")
    assert (len(data.train), len(data.test), data.shape) == (1437, 360, (8, 8))
    assert data.train.inputs.dtype == np.uint8
    assert data.train.inputs.max() == 16
    counts = np.bincount(data.test.targets)
    assert counts.min() >= 34
    assert counts.max() <= 37
    digest = hashlib.sha256(data.test.inputs.tobytes() + data.test.targets.tobytes()).hexdigest()
    assert digest[:12] == "d27cf17e76de"


def test_breast_cancer_is_a_table_with_named_columns():
    data = load_dataset("breast-cancer")
    assert (len(data.train), len(data.test), data.inputs) == (455, 114, 30)
    assert data.classes == ("malignant", "benign")
    assert data.names[0] == "mean radius"
    assert data.train.inputs.dtype == np.float32


def test_a_path_is_read_as_a_table(tmp_path):
    csv, npz = tmp_path / "a.CSV", tmp_path / "b.npz"
    csv.write_text("kind,x\n" + "a,1\nb,2\n" * 10)
    np.savez(npz, x=np.ones((10, 2)), y=np.arange(10) % 2)
    assert load_dataset(str(csv), target="kind").classes == ("a", "b")
    assert load_dataset(str(npz)).name == "b.npz"
    assert "No such file" in complaint(str(tmp_path / "absent.csv"))


def test_an_unknown_name_lists_the_known_ones():
    message = complaint("mnits", ConfigError)
    assert "known are auto, mnist, fashion-mnist, digits, breast-cancer; did you mean 'mnist'?" in message
    assert ".csv .tsv .txt" in message


def test_loading_in_a_thread_gives_the_dataset_or_its_error_when_asked():
    load = datasets.begin_loading(DataConfig("digits"))
    assert load().identity() == load_dataset("digits").identity()
    wrong = datasets.begin_loading(DataConfig("nothing"))
    with pytest.raises(ConfigError, match="unknown dataset 'nothing'"):
        wrong()


@pytest.mark.parametrize("name", ["auto", "mnist"])
def test_what_must_be_downloaded_is_loaded_by_whoever_waits(name, tmp_path, monkeypatch):
    """So that a Ctrl-C, which is raised in the main thread, ends the download and removes what it wrote."""
    threads = []

    def download(files, mirrors, folder):
        threads.append(threading.current_thread())
        raise DownloadError("no", "no mirror answered")

    monkeypatch.setattr(datasets, "download", download)
    load = datasets.begin_loading(DataConfig(name), data_dir=tmp_path)
    assert threads == []
    if name == "auto":
        assert load().name == "digits"
    else:
        with pytest.raises(DataError):
            load()
    assert threads == [threading.current_thread()]


def test_importing_the_room_imports_nothing_heavy():
    heavy = (
        "jax",
        "sklearn",
        "scipy",
        "pooch",
        "rich",
        "requests",
        "PIL",
        "matplotlib",
        "platformdirs",
        "pyarrow",
    )
    code = f"import sys, neuroforge_jax.data; print(sorted({set(heavy)} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.skipif(REAL is None, reason="NEUROFORGE_DATA_DIR is not set")
def test_the_real_mnist_passes_its_checks():
    data = load_dataset("mnist", data_dir=Path(str(REAL)))
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert data.train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert not data.train.inputs.flags.owndata  # the payload itself, not a copy


def test_what_the_system_has_installed_is_found_after_the_data_folder(fashion, tmp_path, monkeypatch):
    own = load_dataset("fashion-mnist")
    assert own.origin == "from the data folder"
    installed = tmp_path / "share" / "datasets" / "fashion-mnist"
    installed.parent.mkdir(parents=True)
    fashion.rename(installed)
    with pytest.raises(DownloadError):
        load_dataset("fashion-mnist")
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path / "share"))
    found = load_dataset("fashion-mnist")
    assert found.origin == "as the system has it installed"
    np.testing.assert_array_equal(found.train.inputs, own.train.inputs)
    fashion.mkdir(exist_ok=True)
    (fashion / "train-labels-idx1-ubyte.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="train-labels"):  # the user's own file comes first, and is told
        load_dataset("fashion-mnist")


def test_without_a_word_the_system_s_folders_are_the_standard_ones(monkeypatch):
    monkeypatch.delenv("XDG_DATA_DIRS")
    assert Path("/usr/share/datasets") in datasets.installed_folders()


@pytest.mark.parametrize("content", ["nothing", "a folder", "a text"])
def test_a_folder_without_arrays_and_pictures_is_told_what_it_needs(content, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    if content == "a folder":
        (folder / "cats").mkdir()
    elif content == "a text":
        (folder / "readme.txt").write_text("x")
    with pytest.raises(
        DataError, match=r"neither pictures \(.png, .jpg, .jpeg\) in a folder for each class, nor arrays"
    ):
        load_dataset(str(folder))
