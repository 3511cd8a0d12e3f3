"""Arrays from files: what an .npz or a folder means, and what is wrong with it."""

import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.readers.arrays import load_folder, load_npz
from neuroforge_jax.data.readers.idx import map_idx, write_idx
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke


def complaint(load, path) -> str:
    with pytest.raises(DataError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


X, Y = np.arange(60.0).reshape(20, 3), np.arange(20) % 4


def test_an_npz_with_four_arrays_keeps_its_split(tmp_path):
    data = load_npz(save(tmp_path / "table.npz", x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4], more=Y))
    np.testing.assert_array_equal(data.train.inputs, X)
    assert (len(data.test), data.classes) == (4, ("0", "1", "2", "3"))


def test_a_mark_of_missing_values_is_found_in_the_inputs_of_an_npz(tmp_path):
    path = save(tmp_path / "table.npz", x=np.where(X == 30, -999, X).astype(np.int16), y=Y)
    data = load_dataset(str(path), missing="-999.0")
    rows = np.concatenate([data.train.inputs, data.test.inputs])
    assert np.isnan(rows).sum() == 1
    assert set(rows[~np.isnan(rows)]) == set(X.ravel()) - {30}
    assert data.notes == ("--missing -999.0: 1 cell counts as missing",)
    assert load_dataset(str(path), missing="5000").notes == ("--missing 5000: no cell is one of them",)


@pytest.mark.parametrize("part", ["x_train", "x_test"])
def test_a_mark_in_one_part_makes_numbers_of_the_bytes_of_all(tmp_path, part):
    """One in the test samples alone was a NaN to a network of pictures, and so was the test loss."""
    x = np.arange(60, dtype=np.uint8).reshape(20, 3)
    given = {"x_train": x, "x_test": x, part: np.where(x == 30, 255, x)}
    data = load_dataset(str(save(tmp_path / "t.npz", y_train=Y, y_test=Y, **given)), missing="255")
    assert (data.plan.pixels, data.train.inputs.dtype, data.test.inputs.dtype) == (False, "f4", "f4")
    assert np.isnan(data.train.inputs).sum() + np.isnan(data.test.inputs).sum() == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_mark_is_compared_in_the_dtype_of_the_numbers(tmp_path, dtype):
    """−99.9 and 1e20 of float32, such as netCDF's fills, are not those of float64: none was found."""
    marks = ["-99.9", "1e20"][: 1 if dtype == np.float16 else 2]
    x = np.linspace(0, 1, 40, dtype=dtype)
    x[::8], x[1::8] = -99.9, float(marks[-1])
    columns = {"x": x, "y": ["a", "b"] * 20}
    save(tmp_path / "t.npz", x=x, y=columns["y"])
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    for source in (str(tmp_path / "t.npz"), str(tmp_path / "t.parquet"), pd.DataFrame(columns)):
        data = load_dataset(source, missing=marks)
        assert ": 10 cells count as missing" in data.notes[0]


def test_a_nan_of_any_bits_is_a_missing_number(tmp_path):
    """NumPy warns where it computes with a signalling one."""
    x = X.astype(np.float32)
    x.view(np.uint32)[3, 1] = 0x7F800001
    data = load_dataset(str(save(tmp_path / "table.npz", x_train=x, y_train=Y, x_test=x, y_test=Y)))
    assert np.isnan(data.train.inputs).sum() == 1
    assert np.isfinite(data.fitted.shift).all()


def test_an_npz_with_two_arrays_is_split(tmp_path):
    data = load_npz(save(tmp_path / "table.npz", x=X.reshape(20, 3, 1), y=Y))
    assert (len(data.train), len(data.test), data.shape) == (16, 4, (3, 1))
    assert sorted(data.test.targets) == [0, 1, 2, 3]
    assert load_npz(save(tmp_path / "table.npz", x=X, y=Y / 2)).classes == ()


@pytest.mark.parametrize(
    ("arrays", "fact"),
    [
        ({"x": X, "labels": Y}, "holds 'labels', 'x'; it needs"),
        ({}, "holds nothing"),
        ({"x": X, "y": np.array([{}] * 20)}, "Python objects"),
        ({"x": X, "y": Y[:3]}, "20 samples in x and 3 labels"),
        ({"x": np.float64(3), "y": Y}, "x is no array of samples"),
        ({"x": np.zeros((20, 0)), "y": Y}, "at least one input"),
        ({"x": X.astype(complex), "y": Y}, "complex"),
        ({"x": X + np.inf, "y": Y}, "finite"),
        ({"x": X, "y": np.zeros(20, int)}, "1 different value"),
        ({"x": X, "y": Y.astype(complex)}, "numbers, texts or booleans"),
    ],
)
def test_what_is_wrong_in_an_npz_is_named(tmp_path, arrays, fact):
    assert fact in complaint(load_npz, save(tmp_path / "table.npz", **arrays))


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "array", "member", "huge"])
def test_a_damaged_npz_is_named(tmp_path, damage):
    path = save(tmp_path / "table.npz", x=X, y=Y)
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    if damage in ("array", "member", "huge"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("y.npy", "text")
            header = "{'descr': '<f8', 'fortran_order': False, 'shape': (%d,)}" % 2**50  # noqa: UP031
            huge = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode()
            archive.writestr("x.npy" if damage != "member" else "x", huge if damage == "huge" else "text")
    else:
        start = path.read_bytes()
        damaged = {"empty": b"", "text": b"hello", "cut": start[:-30], "flipped": bytes(content)}
        path.write_bytes(damaged[damage])
    complaint(load_npz, path)


def test_an_npz_that_is_not_there_is_named(tmp_path):
    assert "No such file" in complaint(load_npz, tmp_path / "table.npz")


PIXELS = np.arange(20 * 12, dtype=np.uint8).reshape(20, 3, 4)


def folder_of(path, **arrays):
    path.mkdir()
    for key, array in {
        "x_train": PIXELS,
        "y_train": Y,
        "x_test": PIXELS[:6],
        "y_test": Y[:6],
        **arrays,
    }.items():
        np.save(path / f"{key}.npy", array)
    return path


def is_mapped(array: np.ndarray) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_folder_of_arrays_is_mapped_and_not_read(tmp_path, dtype):
    folder = folder_of(tmp_path / "large", x_train=PIXELS.astype(dtype))
    data = load_dataset(str(folder))
    assert (data.name, data.shape, data.classes) == ("large", (3, 4), ("0", "1", "2", "3"))
    assert is_mapped(data.train.inputs)
    np.testing.assert_array_equal(data.train.inputs, PIXELS.reshape(20, 12))
    np.testing.assert_array_equal(data.test.targets, Y[:6])


def test_a_folder_may_hold_idx_files(tmp_path):
    folder = folder_of(tmp_path / "large")
    for key, array in {"x_train": PIXELS, "y_train": Y.astype(np.uint8)}.items():
        (folder / f"{key}.npy").unlink()
        write_idx(folder / f"{key}.idx", array)
    data = load_folder(folder)
    assert is_mapped(data.train.inputs)
    np.testing.assert_array_equal(data.train.inputs, PIXELS.reshape(20, 12))
    np.testing.assert_array_equal(data.train.targets, Y)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_a_mapped_idx_file_is_what_was_written(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    np.testing.assert_array_equal(map_idx(write_idx(tmp_path / "a.idx", array)), array)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0\0\x08\1\0\0\0\5abc", b"\0\0\x08\1\0\0\0\2abc"])
def test_an_idx_file_of_another_size_is_not_mapped(tmp_path, content):
    path = tmp_path / "x_train.idx"
    path.write_bytes(content)
    complaint(map_idx, path)


WRONG_FILES = {
    "text": (b"hello", "is no .npy file"),
    "cut": (b"\x93NUMPY\1\0", "is no .npy file, or a damaged one"),
    "quote": (b"\x93NUMPY\1\0\x10\0{'descr': '<f4, }\n", "is no .npy file, or a damaged one"),
}


@pytest.mark.parametrize(("content", "fact"), list(WRONG_FILES.values()), ids=list(WRONG_FILES))
def test_what_is_wrong_in_a_folder_is_named(tmp_path, content, fact):
    folder = folder_of(tmp_path / "large")
    (folder / "x_train.npy").write_bytes(content)
    with pytest.raises(DataError, match=fact) as caught:
        load_folder(folder)
    assert "x_train.npy" in str(caught.value)


def test_an_array_that_is_not_all_there_is_named(tmp_path):
    folder = folder_of(tmp_path / "large")
    path = folder / "x_train.npy"
    path.write_bytes(path.read_bytes()[:-5])
    assert "damaged" in complaint(lambda path: load_folder(path.parent), path)


def test_python_objects_in_a_folder_are_never_read(tmp_path):
    folder = folder_of(tmp_path / "large", x_train=np.array([{}] * 20))
    with pytest.raises(DataError, match="holds Python objects, which are never read"):
        load_folder(folder)


def test_an_array_that_cannot_be_opened_is_named_with_the_systems_reason(tmp_path):
    folder = folder_of(tmp_path / "large")
    (folder / "x_train.npy").unlink()
    (folder / "x_train.npy").mkdir()
    with pytest.raises(DataError, match=r"x_train\.npy: cannot be read \(Is a directory\)$"):
        load_folder(folder)


def test_of_many_arrays_that_are_none_of_those_needed_twenty_are_named(tmp_path):
    said = complaint(load_npz, save(tmp_path / "many.npz", **{f"a{at:02}": Y for at in range(30)}))
    assert "'a19'; it needs x_train" in said


def test_labels_of_an_npz_are_split_class_by_class(tmp_path):
    labels = np.repeat([0, 1], [5, 45])
    data = load_npz(save(tmp_path / "table.npz", x=np.arange(100.0).reshape(50, 2), y=labels))
    assert np.bincount(data.test.targets).tolist() == [1, 9]


def test_a_missing_array_is_named_with_what_is_needed(tmp_path):
    folder = folder_of(tmp_path / "large")
    (folder / "y_test.npy").unlink()
    assert "has no y_test.npy and no y_test.idx; it needs x_train y_train" in complaint(load_folder, folder)


def test_a_number_that_is_none_is_found_far_into_a_file(tmp_path):
    x = np.zeros((10_000, 3), np.float32)
    x[9_000, 1] = np.inf
    folder = folder_of(
        tmp_path / "large", x_train=x, y_train=np.arange(10_000) % 2, x_test=x[:5], y_test=Y[:5]
    )
    with pytest.raises(DataError, match="training sample 9000, input 1 is inf"):
        load_folder(folder)


@pytest.mark.parametrize("kind", ["table.npz", "x_train.npy"])
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, monkeypatch, kind):
    def load_and_touch(file, **options):
        with (tmp_path / kind).open("ab") as other:
            other.write(b"x")
        return load(file, **options)

    save(tmp_path / "table.npz", x=X, y=Y)
    np.save(tmp_path / "x_train.npy", X)
    for name in ("y_train", "x_test", "y_test"):
        np.save(tmp_path / name, Y)
    load = np.load
    monkeypatch.setattr(np, "load", load_and_touch)
    read, path = (load_npz, tmp_path / kind) if kind == "table.npz" else (load_folder, tmp_path)
    assert f"{kind}: changed while it was read; try again" in complaint(read, path)
