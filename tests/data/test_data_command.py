"""The command `data`: list, get and show."""

from dataclasses import replace

import numpy as np
import pytest

from neuroforge_jax.data.__main__ import main
from neuroforge_jax.data.download import ARCHIVES
from neuroforge_jax.data.readers.idx import write_idx


@pytest.fixture(autouse=True)
def data_folder(monkeypatch, tmp_path):
    for name, archive in ARCHIVES.items():
        monkeypatch.setitem(ARCHIVES, name, replace(archive, mirrors=()))
    monkeypatch.setenv("NEUROFORGE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def fashion(data_folder):
    here = data_folder / "fashion-mnist"
    here.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, size in (("train", 40), ("t10k", 20)):
        pixels = rng.integers(0, 256, (size, 28, 28)).astype(np.uint8)
        write_idx(here / f"{part}-images-idx3-ubyte.gz", pixels)
        write_idx(here / f"{part}-labels-idx1-ubyte.gz", (np.arange(size) % 10).astype(np.uint8))
    return here


def row_of(output: str, name: str) -> list[str]:
    return next(line.split() for line in output.splitlines() if line.split()[:1] == [name])


@pytest.mark.parametrize("args", [[], ["list"]])
def test_list_says_what_is_here(fashion, capsys, args):
    assert main(args) == 0
    output = capsys.readouterr().out
    assert row_of(output, "mnist")[1] == "absent"
    assert row_of(output, "fashion-mnist")[1:5] == ["present", "60,000", "+", "10,000"]
    assert row_of(output, "fashion-mnist")[-1] == "MB"
    assert row_of(output, "digits")[1] == "embedded"
    assert str(fashion.parent) in output


def test_list_counts_the_files_of_a_part(fashion, capsys):
    (fashion / "t10k-labels-idx1-ubyte.gz").unlink()
    assert main(["list"]) == 0
    assert "3 of 4 files" in capsys.readouterr().out


def test_list_and_get_find_what_the_system_has_installed(fashion, monkeypatch, tmp_path, capsys):
    installed = tmp_path / "share" / "datasets" / "fashion-mnist"
    installed.parent.mkdir(parents=True)
    fashion.rename(installed)
    monkeypatch.setenv("XDG_DATA_DIRS", f"/nowhere:{tmp_path / 'share'}")
    assert main(["list"]) == 0
    assert row_of(capsys.readouterr().out, "fashion-mnist")[1] == "installed"
    assert main(["get", "fashion-mnist"]) == 0
    assert capsys.readouterr().out == f"fashion-mnist is already in {installed}\n"


def test_get_says_where_a_dataset_is(fashion, capsys):
    assert main(["get", "fashion-mnist"]) == 0
    assert capsys.readouterr().out == f"fashion-mnist is already in {fashion}\n"
    assert main(["get", "digits"]) == 0
    assert "nothing to download" in capsys.readouterr().out


def test_get_that_fails_is_one_line_and_exit_code_3(capsys):
    assert main(["get", "mnist"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: train-images-idx3-ubyte.gz could not be downloaded")
    assert shown.err.count("\n") == 1


def test_get_of_what_is_damaged_is_an_error(fashion, capsys):
    (fashion / "t10k-labels-idx1-ubyte.gz").write_bytes(b"<html>")
    assert main(["get", "fashion-mnist"]) == 3
    assert "web page" in capsys.readouterr().err


def test_an_unknown_name_is_exit_code_2(capsys):
    for command in ("get", "show"):
        assert main([command, "digit"]) == 2
        assert "did you mean 'digits'?" in capsys.readouterr().err


def test_show_draws_pictures_and_counts_the_classes(fashion, capsys, tmp_path):
    output = tmp_path / "sheet.png"
    assert main(["show", "fashion-mnist", "--output", str(output)]) == 0
    assert output.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert "Ankle boot" in shown
    assert row_of(shown, "Trouser") == ["Trouser", "4", "2"]


def test_show_draws_beside_you_unless_told(tmp_path):
    assert main(["show", "digits"]) == 0
    assert (tmp_path / "samples.png").exists()


def test_show_into_a_folder_that_is_not_there_is_exit_code_2(capsys, tmp_path):
    assert main(["show", "digits", "--output", str(tmp_path / "no" / "a.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_show_prints_what_each_column_of_a_table_is(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("size,[b]mark,price\n" + "".join(f"{i},{'xy'[i % 2]},{i / 4}\n" for i in range(10)))
    assert main(["show", str(path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["size", "number", "scaled"] in lines
    assert ["[b]mark", "category", "−1", "or", "1", "x,", "y"] in lines
    assert ["price", "number", "target"] in lines


def test_show_takes_another_target_of_a_table(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("kind,a\n" + "".join(f"{'xy'[i % 2]},{i / 4}\n" for i in range(10)))
    assert main(["show", str(path), "--target", "kind"]) == 0
    assert row_of(capsys.readouterr().out, "x") == ["x", "4", "1"]


def test_show_draws_a_folder_of_colour_pictures_in_their_colours(tmp_path, capsys):
    from PIL import Image

    for name, colour in (("red", (250, 0, 0)), ("blue", (0, 0, 250))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(5):
            Image.new("RGB", (7, 5), colour).save(tmp_path / "pictures" / name / f"{index}.png")
    assert main(["show", "pictures"]) == 0
    assert "10 colour pictures of 2 classes; fixed 80/20 split" in capsys.readouterr().out
    sheet = np.asarray(Image.open(tmp_path / "samples.png").convert("RGB")).reshape(-1, 3)
    shown = {tuple(colour) for colour in np.unique(sheet, axis=0).tolist()}
    assert {(250, 0, 0), (0, 0, 250)} <= shown


def test_show_draws_pictures_that_have_no_classes(tmp_path):
    np.savez(tmp_path / "p.npz", x=np.random.default_rng(0).random((20, 5, 4)), y=np.arange(20) / 3)
    assert main(["show", str(tmp_path / "p.npz"), "--output", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").stat().st_size > 1000


def test_show_survives_a_class_without_training_samples(tmp_path):
    x, y = np.zeros((6, 3, 3), np.uint8), np.array([0, 0, 2, 2, 2, 0])
    np.savez(tmp_path / "p.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert main(["show", str(tmp_path / "p.npz"), "--output", str(tmp_path / "p.png")]) == 0


def test_help_explains_each_command(capsys):
    for command in ("list", "get", "show"):
        with pytest.raises(SystemExit) as left:
            main([command, "--help"])
        assert left.value.code == 0
        assert "--data-dir" in capsys.readouterr().out
