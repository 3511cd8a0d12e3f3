"""`predict` and `evaluate` on inputs as people have them, with networks that need not have learnt anything."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

import neuroforge_jax as nf
from neuroforge_jax import errors
from neuroforge_jax.backends.compiler import EXCESS_PRECISION
from neuroforge_jax.commands import prediction, prediction_tables
from neuroforge_jax.evaluate import main as evaluate
from neuroforge_jax.job import predictor
from neuroforge_jax.job.assessment import assess
from neuroforge_jax.model.io import save
from neuroforge_jax.predict import main as predict
from tests.conftest import make_blobs

FIRST_ID = 9007199254740993  # float64 does not hold it
HEADER = "id;age;city;rooms;when;price;y"


def table_rows(rows=60, seed=0):
    """Ids beyond float64, decimal commas, days before months, prices beyond float32."""
    rng = np.random.default_rng(seed)
    for at in range(rows):
        age = f"{rng.normal(40, 10):.1f}".replace(".", ",")
        when = f"{rng.integers(1, 29):02}/{rng.integers(1, 13):02}/2024" if at else "31/01/2024"
        price = f"{1e9 + rng.normal(0, 50):.2f}".replace(".", ",")
        yield [str(FIRST_ID + at), age, "abc"[at % 3], str(at % 4 + 1), when, price, ("old", "young")[at % 2]]


def write_table(path, rows, header=HEADER):
    path.write_text("\n".join([header, *(";".join(row) for row in rows)]) + "\n")
    return str(path)


def save_model(folder, dataset, **fields):
    config = nf.TrainConfig(hidden=(8,), batch_size=16, backend="optimized", **fields)
    model, state = nf.init(config, dataset)
    folder.mkdir()
    save(folder, model, state.params)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of models by what they predict, and the table that they were made for."""
    folder = tmp_path_factory.mktemp("models")
    table = write_table(folder / "t.csv", table_rows())

    def load(*target, **fields):
        return nf.load_dataset(table, target=target, **fields)

    pictures = np.zeros((40, 8, 8), np.uint8)
    pictures[np.arange(40), 2:6, 3:5] = 16
    pictures[::2, 2, 3:6] = 16
    digits = nf.Dataset.from_arrays(
        pictures[:30], np.arange(30) % 2, pictures[30:], np.arange(10) % 2, classes=["even", "odd"], name="d"
    )
    return {
        "table": table,
        "classes": save_model(
            folder / "classes", load("y", id="id", categorical=("rooms",), drop=("price",))
        ),
        "price": save_model(folder / "price", load("price", drop=("id", "y"))),
        "quantiles": save_model(
            folder / "quantiles", load("price", drop=("id", "y")), loss="quantile", quantiles=(0.1, 0.9)
        ),
        "pictures": save_model(folder / "pictures", digits),
        "arrays": save_model(folder / "arrays", make_blobs(inputs=3)),
    }


@pytest.fixture
def ask(capsys):
    """Run a command; its exit code, the rows that it printed and the lines of standard error."""

    def run(command, *args):
        capsys.readouterr()
        code = command(list(map(str, args)))
        out, err = capsys.readouterr()
        return code, list(csv.DictReader(io.StringIO(out))), err.splitlines()

    return run


def save_columns(folder, target, **columns):
    """A model of a table of these columns and a number beside them."""
    number = {"x": np.random.default_rng(0).normal(size=40)}
    fields = {name: columns.pop(name) for name in ("id", "sample_weight") if name in columns}
    return save_model(folder, nf.load_dataset(pa.table(number | columns), target=target, **fields))


def error_of(told):
    code, rows, lines = told
    assert rows == []
    assert all(line.startswith("note: ") for line in lines[:-1]), lines
    return code, lines[-1]


def test_a_table_is_read_as_in_training_whatever_its_order_and_what_else_it_holds(models, ask, tmp_path):
    _, expected, _ = ask(predict, models["classes"], models["table"])
    rows = [dict(zip(HEADER.split(";"), row, strict=True)) for row in table_rows()]
    names = ["note", "when", "rooms", "city", "age", "id"]
    mixed = [
        ["x", row["when"], f"{row['rooms']}.0", row["city"], row["age"].replace(",", "."), row["id"]]
        for row in rows
    ]
    path = tmp_path / "mixed.csv"
    path.write_text("\n".join(",".join(row) for row in [names, *mixed]))
    code, found, said = ask(predict, models["classes"], path)
    assert code == 0
    assert found == expected
    assert [row["id"] for row in found] == [str(FIRST_ID + at) for at in range(60)]
    assert said == [f"note: {path}: columns that the model does not know are ignored: 'note'", "60 rows"]


def test_a_row_says_the_same_alone_and_in_any_piece(models, ask, tmp_path, monkeypatch):
    """An `05/02` alone could be of May, and a piece with a text among its numbers is read as texts."""
    rows = list(table_rows())
    rows[7][1], rows[7][3] = "none yet", "many"
    path = write_table(tmp_path / "all.csv", rows)
    _, together, said = ask(predict, models["classes"], path)
    assert "note: 'age': cells that are no numbers count as missing: 1 ('none yet')" in said
    assert "note: 'rooms': cells that training did not have count as missing: 1 ('many')" in said
    monkeypatch.setattr(prediction_tables, "ROWS", 7)
    _, pieces, said_again = ask(predict, models["classes"], path)
    assert [row["id"] for row in pieces] == [row["id"] for row in together]
    assert said_again == said
    alone = [
        ask(predict, models["classes"], write_table(tmp_path / "one.csv", [row]))[1][0] for row in rows[5:9]
    ]
    for row, other, single in zip(together[5:9], pieces[5:9], alone, strict=True):
        assert float(other["probability of old"]) == pytest.approx(float(row["probability of old"]), abs=1e-6)
        assert float(single["probability of old"]) == pytest.approx(
            float(row["probability of old"]), abs=1e-6
        )


def test_a_file_is_read_in_pieces_and_written_before_the_next_is_read(models, tmp_path, monkeypatch):
    """Memory does not grow with the file: no more than two pieces are there at once."""
    path = write_table(tmp_path / "t.csv", table_rows(50))
    events = []
    monkeypatch.setattr(prediction_tables, "ROWS", 10)
    pieces, describe = prediction.read_pieces, prediction.describe_outputs

    def read(reading, sources):
        for piece in pieces(reading, sources):
            events.append(f"read {len(piece.inputs)}")
            yield piece

    monkeypatch.setattr(prediction, "read_pieces", read)
    monkeypatch.setattr(
        prediction, "describe_outputs", lambda *args: events.append("written") or describe(*args)
    )
    assert predict([models["classes"], path, "--output", str(tmp_path / "out.csv")]) == 0
    assert events == ["read 10", "written"] * 5


def test_every_format_gives_the_same_rows(models, ask, tmp_path, monkeypatch):
    _, expected, _ = ask(predict, models["classes"], models["table"])
    rows = list(table_rows())
    columns = dict(zip(HEADER.split(";"), map(list, zip(*rows, strict=True)), strict=True))
    columns["id"] = pa.array(map(int, columns["id"]))
    columns["age"] = [float(age.replace(",", ".")) for age in columns["age"]]
    columns["rooms"] = [float(rooms) for rooms in columns["rooms"]]
    del columns["price"]
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert ask(predict, models["classes"], tmp_path / "t.parquet")[1] == expected
    content = io.TextIOWrapper(io.BytesIO(Path(models["table"]).read_bytes()))
    monkeypatch.setattr(sys, "stdin", content)
    assert ask(predict, models["classes"], "-")[1] == expected
    monkeypatch.undo()
    frame = nf.load(models["classes"])
    assert nf.predict_proba(*frame, pa.table(columns))[:, 0] == pytest.approx(
        [float(row["probability of old"]) for row in expected], abs=1e-6
    )


def test_jsonl_and_parquet_hold_what_csv_does(models, ask, tmp_path):
    _, expected, _ = ask(predict, models["classes"], models["table"])
    for name in ("out.jsonl", "out.parquet"):
        code, printed, _ = ask(predict, models["classes"], models["table"], "--output", tmp_path / name)
        assert (code, printed) == (0, [])
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    columnar = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert lines == columnar
    assert [{name: str(value) for name, value in line.items()} for line in lines] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.parquet"]


def test_quantities_are_in_the_units_of_the_file_with_all_digits_that_are_known(models, ask):
    """float32 holds 1,000,000,000 ± 50 to the next 64; what is predicted is the deviation from the mean."""
    _, rows, said = ask(predict, models["price"], models["table"])
    model, params = nf.load(models["price"])
    table = dict(zip(HEADER.split(";"), zip(*table_rows(), strict=True), strict=True))
    frame = {
        "age": [float(age.replace(",", ".")) for age in table["age"]],
        "city": table["city"],
        "rooms": list(map(float, table["rooms"])),
        "when": table["when"],
    }
    exact = nf.predict(model, params, frame)[:, 0]
    printed = np.array([float(row["predicted price"]) for row in rows])
    assert np.abs(printed - exact).max() < 1e-4
    assert len(set(printed)) > 50
    assert list(rows[0]) == ["row", "predicted price"]
    rmse = float(next(line.split()[1] for line in said if line.startswith("rmse")))
    right = [float(price.replace(",", ".")) for price in table["price"]]
    assert rmse == pytest.approx(np.sqrt(np.mean((exact - right) ** 2)), rel=1e-3)
    _, rows, _ = ask(predict, models["quantiles"], models["table"])
    assert list(rows[0]) == ["row", "predicted price, quantile 0.1", "predicted price, quantile 0.9"]


def test_a_label_is_predicted_where_it_is_more_probable_than_not(ask, tmp_path):
    """Of labels learnt with mse, every output above 0 was said to be true."""
    rng = np.random.default_rng(0)
    frame = {"x": rng.normal(size=40), "a": [0, 1] * 20, "b": [0, 0, 1, 1] * 10}
    model = save_model(tmp_path / "model", nf.load_dataset(frame, target=("a", "b")), loss="mse")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x,a,b", *(f"{x},{a},{b}" for x, a, b in zip(*frame.values(), strict=True))]))
    _, rows, said = ask(predict, model, path)
    labels = np.array([[int(row[f"predicted {name}"]) for name in "ab"] for row in rows])
    shares = np.array([[float(row[f"probability of {name}"]) for name in "ab"] for row in rows])
    np.testing.assert_array_equal(labels, shares > 0.5)
    assert ((shares > 0.01) & (shares < 0.5)).any()
    right = np.mean(labels == np.stack([frame["a"], frame["b"]], axis=1))
    assert f"label-accuracy  {right:.5g}" in said


def test_columns_of_which_one_is_true_are_scored_as_the_class_that_they_say(ask, tmp_path):
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 60)
    frame = {"x": rng.normal(size=60), **{name: (kinds == at) * 1 for at, name in enumerate("abc")}}
    model = save_model(tmp_path / "model", nf.load_dataset(frame, target=("a", "b", "c")))
    rows = [",".join(map(str, row)) for row in zip(*frame.values(), strict=True)]
    rows[3], rows[4] = "0.5,1,1,0", "0.5,,0,1"
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["x,a,b,c", *rows]))
    _, answers, said = ask(predict, model, path)
    assert said[-1] == "60 rows, 58 of them scored"
    assert "note: 'a, b, c': cells that are no class of the model are not scored: 1 ('2 of them')" in said
    scored = [at for at in range(60) if at not in (3, 4)]
    right = np.mean([answers[at]["predicted"] == "abc"[kinds[at]] for at in scored])
    assert next(line for line in said if line.startswith("accuracy")).split()[1] == f"{right:.5g}"
    np.savez(tmp_path / "hot.npz", x=frame["x"][:, None], y=np.eye(3)[kinds])
    assert ask(predict, model, tmp_path / "hot.npz")[2][-1] == "60 rows"
    path.write_text("x,a,c\n1,0,1\n")
    assert f"note: {path} has no target 'b': its rows are not scored" in ask(predict, model, path)[2]


def test_only_rows_with_a_known_class_are_scored(models, ask, tmp_path):
    rows = list(table_rows())
    rows[0][6], rows[1][6], rows[2][6] = "", "ancient", "OLD."
    path = write_table(tmp_path / "t.csv", rows)
    code, predictions, said = ask(predict, models["classes"], path)
    assert (code, len(predictions)) == (0, 60)
    assert "note: 'y': cells that are no class of the model are not scored: 1 ('ancient')" in said
    assert "note: 'OLD.' is read as 'old'" in said
    assert said[-1] == "60 rows, 58 of them scored"
    right = [row[6].lower().strip(".") for row in rows]
    share = np.mean(
        [p["predicted"] == y for p, y in zip(predictions, right, strict=True) if y in ("old", "young")]
    )
    accuracy = next(float(line.split()[1]) for line in said if line.startswith("accuracy"))
    assert accuracy == pytest.approx(share, abs=1e-4)


def test_rows_are_scored_by_their_weights_as_those_of_a_run_are(models, ask, tmp_path):
    """They were counted alike, and `evaluate` said of a run's own test file what the run had not."""
    rng = np.random.default_rng(0)
    table = {"x": rng.normal(size=60), "w": rng.integers(0, 4, 60) / 2, "y": ["old", "young"] * 30}
    parquet.write_table(pa.table(table), path := tmp_path / "t.parquet")
    data = nf.load_dataset(str(path), test=str(path), target="y", sample_weight="w")
    folder = save_model(tmp_path / "model", data)
    scores = assess(*nf.load(folder), data.test).scores
    _, rows, said = ask(predict, folder, path)
    printed = dict(line.rsplit(maxsplit=1) for line in said if line.split()[0] in scores)
    assert {name: float(value) for name, value in printed.items()} == pytest.approx(scores, rel=1e-4)
    assert "note: rows are scored by their weights in 'w'" in said
    weighed = np.count_nonzero(table["w"])
    assert said[-1] == f"60 rows, {weighed} of them scored"
    right = np.array([row["predicted"] for row in rows]) == table["y"]
    assert float(printed["accuracy"]) == pytest.approx(np.average(right, weights=table["w"]), rel=1e-4)
    parquet.write_table(pa.table(table | {"w": [None, "heavy", *["1"] * 58]}), path)
    said = ask(predict, folder, path)[2]
    assert "note: 'w': cells that are no weights from 0 upwards are not scored: 1 ('heavy')" in said
    assert said[-1] == "60 rows, 58 of them scored"
    del table["w"]
    parquet.write_table(pa.table(table), path)
    said = ask(predict, folder, path)[2]
    assert f"note: {path} has no column 'w', which weighs the rows: they are scored as equals" in said
    accuracy = next(float(line.split()[1]) for line in said if line.startswith("accuracy"))
    assert accuracy == pytest.approx(right.mean(), rel=1e-4)


@pytest.mark.parametrize("labels", [("no", "yes"), ("0", "1")])
def test_labels_that_all_say_no_are_read_as_any_others(ask, tmp_path, monkeypatch, labels):
    """What no and yes are was told from the texts of a piece: one of no's alone was no label."""
    first, second = (np.array(labels)[np.arange(40) // part % 2] for part in (20, 2))
    folder = save_columns(tmp_path / "model", ("a", "b"), a=first, b=second)
    path = tmp_path / "t.csv"
    path.write_text("x,a,b\n" + "".join(f"0,{a},{b}\n" for a, b in zip(first, second, strict=True)))
    _, _, together = ask(predict, folder, path)
    monkeypatch.setattr(prediction_tables, "ROWS", 10)
    code, rows, said = ask(predict, folder, path)
    assert (code, said) == (0, together)
    assert said[-1] == "40 rows"
    said_of = [labels[int(rows[0][f"predicted {name}"])] for name in "ab"]  # all rows are alike
    share = np.mean([first == said_of[0], second == said_of[1]])
    assert ["label-accuracy", f"{share:g}"] in [line.split() for line in said]
    path.write_text(f"x,a,b\n0,{labels[0]},{labels[0]}\n0,perhaps,{labels[0]}\n")
    _, rows, said = ask(predict, folder, path)
    assert said[-1] == "2 rows, 1 of them scored"
    assert [line for line in said if "'perhaps'" in line]


def test_a_target_that_has_no_place_leaves_its_row_unscored_and_no_other(ask, tmp_path):
    """A price of nothing has no logarithm, and took the scores of 32,768 rows with it."""
    price = np.exp(np.arange(40) / 10)
    data = nf.load_dataset(
        pa.table({"x": np.arange(40) % 7, "price": price}), target="price", target_transform="log"
    )
    folder = save_model(tmp_path / "model", data)
    (tmp_path / "t.csv").write_text("x,price\n1,5\n2,0\n3,7\n4,\n")
    code, _, said = ask(predict, folder, tmp_path / "t.csv")
    assert "note: 'price': cells that are not above 0 are not scored: 1 ('0')" in said
    assert (code, said[-1]) == (0, "4 rows, 2 of them scored")


def test_evaluate_prints_metrics_alone(models, capsys):
    assert evaluate([models["classes"], models["table"]]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("accuracy")
    assert lines[-1] == "60 rows"
    assert len({len(line.rpartition("  ")[0]) for line in lines[:-1]}) == 1
    assert err == "note: read with semicolons, decimal commas\n"


def test_cells_that_were_emptied_count_as_missing(models, ask, tmp_path):
    rows = [[row[0], *[""] * 6] for row in table_rows(3)]
    code, predictions, said = ask(predict, models["classes"], write_table(tmp_path / "t.csv", rows))
    assert (code, len(predictions)) == (0, 3)
    assert predictions[0]["probability"] == predictions[1]["probability"]
    assert said[-1] == "3 rows"


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_without_rows_gives_a_header(models, ask, tmp_path, ending, capsys):
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        path.write_text(HEADER + "\n")
    else:
        names = HEADER.split(";")
        parquet.write_table(pa.table({name: pa.array([], pa.float64()) for name in names}), path)
    capsys.readouterr()
    assert predict([models["classes"], str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == "id,predicted,probability,probability of old,probability of young\n"
    assert err.splitlines()[-1] == "0 rows"


def test_all_missing_columns_are_named(models, ask, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("city,rooms\na,1\n")
    code, line = error_of(ask(predict, models["classes"], path))
    assert code == errors.DataError.exit_code
    assert line == f"error: {path}: has no column 'age', 'when'; its columns are 'city', 'rooms'"


def test_several_inputs_say_which_file_a_row_is_from(models, ask, tmp_path):
    second = write_table(tmp_path / "second.csv", [row[1:] for row in table_rows(2)], HEADER[3:])
    code, rows, said = ask(predict, models["classes"], models["table"], second)
    assert code == 0
    assert [(row["file"], row["id"]) for row in rows[58:]] == [
        (models["table"], str(FIRST_ID + 58)),
        (models["table"], str(FIRST_ID + 59)),
        (second, ""),
        (second, ""),
    ]
    assert f"note: {second} has no column 'id', which names the rows" in said
    _, rows, _ = ask(predict, models["classes"], second, "--id", "city")
    assert [row["city"] for row in rows] == ["a", "b"]


@pytest.mark.parametrize("name", ["row", "file", "predicted", "probability", "probability of old"])
def test_ids_come_out_as_they_went_in_whatever_their_column_is_called(ask, tmp_path, name):
    """One called row was numbered anew, and one called file was overwritten."""
    ids = [f"id {at:02}" for at in range(40)]
    folder = save_columns(tmp_path / "model", "y", **{name: ids, "y": ["old", "young"] * 20}, id=name)
    for file in ("a.csv", "b.csv"):
        (tmp_path / file).write_text(f"{name},x\n1e3,1\n007,2\n")
    (tmp_path / "none.csv").write_text("x\n3\n")
    code, rows, said = ask(predict, folder, tmp_path / "a.csv", "--missing=1000")
    assert (code, [row[name] for row in rows]) == (0, ["1e3", "007"])
    model_says = {"predicted", "probability", "probability of old", "probability of young"} - {name}
    own = {f"{name} (model)"} - {"row (model)", "file (model)"}
    assert set(rows[0]) == {name} | model_says | own
    code, rows, said = ask(predict, folder, *(tmp_path / file for file in ("none.csv", "a.csv", "b.csv")))
    assert [row[name] for row in rows] == ["", "1e3", "007", "1e3", "007"]
    file, row = (f"{own} (input)" if own == name else own for own in ("file", "row"))
    assert [Path(answer[file]).name for answer in rows] == ["none.csv", *["a.csv"] * 2, *["b.csv"] * 2]
    assert [answer[row] for answer in rows] == ["1", "1", "2", "1", "2"]
    ours = f"{name} (input)" if name in ("file", "row") else f"{name} (model)"
    assert f"note: {name!r} holds the input's ids; our own column of that name is {ours!r}" in said


def test_what_a_spreadsheet_would_carry_out_is_quoted_and_numbers_are_not(models, ask, tmp_path):
    ids = ["=1+1", "@cmd", "+x", "-7", "007", '"two\nlines"']
    rows = [[name, *row[1:]] for name, row in zip(ids, table_rows(6), strict=True)]
    _, found, _ = ask(predict, models["classes"], write_table(tmp_path / "t.csv", rows))
    assert [row["id"] for row in found] == ["'=1+1", "'@cmd", "'+x", "-7", "007", "two\nlines"]


def test_pictures_of_any_size_and_folders_of_them(models, ask, tmp_path):
    drawn = np.full((90, 60), 255, np.uint8)
    drawn[20:70, 25:35] = 0
    for name in ("odd/a.png", "odd/b.png", "other/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(drawn).save(tmp_path / name)
    code, rows, said = ask(predict, models["pictures"], tmp_path)
    assert code == 0
    assert [row["file"] for row in rows] == [
        str(tmp_path / name) for name in ("odd/a.png", "odd/b.png", "other/c.png")
    ]
    assert len({row["probability"] for row in rows}) == 1
    assert said[0].startswith(f"note: {tmp_path}: 3 pictures: inverted; ")
    assert said[-1] == "3 rows, 2 of them scored"
    _, single, said = ask(predict, models["pictures"], tmp_path / "odd/a.png")
    assert [row["probability"] for row in single] == [rows[0]["probability"]]
    assert said[-1] == "1 row"
    np.save(tmp_path / "two.npy", np.zeros((2, 8, 8), np.uint8))
    _, mixed, _ = ask(predict, models["pictures"], tmp_path / "odd/a.png", tmp_path / "two.npy")
    assert [(Path(row["file"]).name, row["row"]) for row in mixed] == [
        ("a.png", "1"),
        ("two.npy", "1"),
        ("two.npy", "2"),
    ]
    assert mixed[0]["probability"] == single[0]["probability"]


def test_pixels_from_0_to_1_are_taken_for_levels_of_the_training(models, ask, tmp_path):
    levels = np.random.default_rng(0).integers(0, 17, (5, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "bytes.npy", levels)
    np.savez(tmp_path / "shares.npz", x=levels / 16, y=np.arange(5) % 2)
    np.savetxt(tmp_path / "shares.csv", levels.reshape(5, -1) / 16, delimiter=",")
    _, expected, said = ask(predict, models["pictures"], tmp_path / "bytes.npy")
    assert said == ["5 rows"]
    for name in ("shares.npz", "shares.csv"):
        _, rows, said = ask(predict, models["pictures"], tmp_path / name)
        assert rows == expected
        assert (
            "note: pixels from 0 to 1 are taken for levels from 0 to 16, as the model was trained on" in said
        )
    code, rows, _ = ask(evaluate, models["pictures"], tmp_path / "shares.npz")
    assert code == 0


@pytest.mark.parametrize("dtype", [np.float64, np.int64, bool])
def test_a_target_of_an_array_that_says_no_class_leaves_its_row_unscored_and_no_other(
    models, ask, tmp_path, dtype
):
    """A missing one was an error, and none or two of one-hot rows the first class."""
    model, params = nf.load(models["arrays"])
    rows = np.arange(15, dtype=np.uint8).reshape(5, 3)
    right = np.eye(4)[nf.predict(model, params, rows).argmax(axis=1)]
    right[1], right[2] = 0, 1
    if dtype == np.float64:
        right[3, 2] = np.nan
    np.savez(tmp_path / "one_hot.npz", x=rows, y=right.astype(dtype))
    code, _, said = ask(predict, models["arrays"], tmp_path / "one_hot.npz")
    note = "note: 'y': cells that are no class of the model are not scored: 2 ('0 0 0 0', '1 1 1 1')"
    scored = f"5 rows, {2 if dtype == np.float64 else 3} of them scored"
    assert code == 0
    assert note in said
    assert [line.split() for line in said if line.startswith("accuracy")] == [["accuracy", "1"]]
    assert said[-1] == scored


@pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
def test_a_mark_of_missing_values_acts_on_arrays_as_on_tables(ask, tmp_path, ending):
    """It did nothing in an array, without a word."""
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    folder = save_model(tmp_path / "model", nf.Dataset.from_arrays(x, np.arange(20) % 2))
    rows, path = np.where(x == x[4, 1], -99.9, x).astype(np.float32), tmp_path / f"rows.{ending}"
    if ending == "csv":
        path.write_text("\n".join(["a,b,c", *(",".join(map(str, row)) for row in rows)]))
    else:
        np.save(path, rows) if ending == "npy" else np.savez(path, x=rows)
    code, answers, _ = ask(predict, folder, path, "--missing=-99.9")
    model, params = nf.load(folder)
    expected = nf.predict_proba(model, params, np.where(rows == rows[4, 1], np.nan, rows))[:, 1]
    assert code == 0
    assert [float(row["probability of 1"]) for row in answers] == pytest.approx(expected, abs=1e-6)


def test_the_command_compiles_as_nf_predict_does_and_keeps_its_programs(models, ask, monkeypatch):
    """It compiled without an option: on a CPU without bf16 units its bf16 products were other ones."""
    asked, used, kept = [], [], []

    def choose_options(platform, policy, rows, flops):
        asked.append(flops)
        return ((EXCESS_PRECISION, False),)

    def keep(device, options, tell):
        kept.append(options)
        return contextlib.nullcontext()

    compute = predictor.predict_outputs
    monkeypatch.setattr(predictor, "compile_options", choose_options)
    monkeypatch.setattr(predictor, "predict_outputs", lambda *args: used.append(args[-1]) or compute(*args))
    monkeypatch.setattr(prediction, "keep_programs", keep)
    model, params = nf.load(models["arrays"])
    nf.predict(model, params, np.zeros((2, 3), np.uint8))
    path = Path(models["arrays"]).parent / "two.npy"
    np.save(path, np.zeros((2, 3), np.uint8))
    assert ask(predict, models["arrays"], path)[0] == 0
    assert used == [((EXCESS_PRECISION, False),)] * 2 == [*kept, *kept]
    forward = 2 * (3 * 8 + 8 * 4)
    assert asked == [np.inf, prediction_tables.ROWS * forward]


def test_a_model_of_arrays_takes_a_table_by_position(models, ask, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("name,a,b,c,label\nx,1,2,3,class 1\ny,4,5,,class 2\nz,7,8,oops,nothing\n")
    model, params = nf.load(models["arrays"])
    with pytest.raises(ValueError, match="no number"):
        nf.predict(model, params, [[1, 2, np.nan]])
    path.write_text("name,a,b,c,label\nx,1,2,3,class 1\ny,4,5,6,nothing\n")
    code, rows, said = ask(predict, models["arrays"], path, "--id", "name")
    assert code == 0
    assert [row["name"] for row in rows] == ["x", "y"]
    expected = nf.predict_proba(model, params, np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    assert [float(row["probability of class 1"]) for row in rows] == pytest.approx(expected[:, 1], abs=1e-6)
    assert said[-1] == "2 rows, 1 of them scored"
    code, line = error_of(ask(predict, models["arrays"], path))
    assert (code, line) == (3, f"error: {path}: has 4 columns, and the model takes 3 numbers a row")


def mistakes(models, folder):
    """What is wrong, the exit code, and what the line says."""
    (folder / "empty").mkdir()
    (folder / "damaged.npz").write_bytes(b"PK\x03\x04 and no more")
    (folder / "bad.npy").write_bytes(b"nothing")
    (folder / "quote.npy").write_bytes(b"\x93NUMPY\1\0\x10\0{'descr': '<f4, }\n")
    np.save(folder / "wide.npy", np.zeros((2, 5)))
    np.savez(folder / "uneven.npz", x=np.zeros((2, 3), np.uint8), y=np.zeros(3))
    table, arrays = models["table"], models["arrays"]
    return [
        ([folder / "none", table], 4, "no such file or directory; give the folder of a run that was saved"),
        ([folder / "empty", table], 4, "model.json"),
        ([models["classes"]], 2, "nothing to predict: give tables, arrays or pictures behind"),
        ([models["classes"], folder / "none.csv"], 3, "no such file or folder"),
        ([models["classes"], folder / "wide.npy"], 3, "takes columns by their names"),
        ([models["classes"], folder / "empty"], 3, "was not trained on pictures"),
        ([models["pictures"], folder / "empty"], 3, "holds no pictures"),
        ([arrays, folder / "wide.npy"], 3, "samples have 5 numbers, and the model takes 3"),
        ([arrays, folder / "damaged.npz"], 3, "is no .npz file"),
        ([arrays, folder / "bad.npy"], 3, "is no .npy file"),
        ([arrays, folder / "quote.npy"], 3, "is no .npy file"),
        ([arrays, folder / "uneven.npz"], 3, "holds 2 rows, and 3 targets of them"),
        ([models["classes"], table, "--id", "name"], 2, "unknown column of --id 'name'"),
        ([arrays, folder / "wide.npy", "--id", "name"], 2, "--id name names a column of a table"),
        ([models["classes"], table, "--output", folder / "out.xlsx"], 2, "the ending says no format"),
        ([models["classes"], table, "--output", folder / "no" / "out.csv"], 2, "cannot be written"),
        ([models["classes"], table, "--format", "parquet"], 2, "needs a file"),
        (
            [models["classes"], table, "--format", "csv", "--output", "/dev/full"],
            2,
            "No space left on device",
        ),
    ]


def test_every_mistake_is_one_line(models, ask, tmp_path):
    for args, code, text in mistakes(models, tmp_path):
        found, line = error_of(ask(predict, *args))
        assert (found, text in line) == (code, True), (args, found, line)
        assert line.startswith("error: ")
    names = "id;age;city;rooms;when"
    path = write_table(tmp_path / "t.csv", [row[:5] for row in table_rows(3)], names)
    code, _, lines = ask(evaluate, models["classes"], path)
    assert (code, lines[-1]) == (3, f"error: {path}: no row says what is right ('y'); use predict")


def test_a_run_of_version_0_2_that_was_not_finished_is_named(ask, models, tmp_path):
    from tests.checkpoint.test_golden import GOLDEN

    code, line = error_of(ask(predict, GOLDEN, models["table"]))
    assert (code, "model.json" in line) == (4, True)


def test_never_half_a_file(models, ask, tmp_path):
    """The file that was there stays, whatever ends the writing."""
    output = tmp_path / "out.csv"
    output.write_text("before")
    path = write_table(tmp_path / "t.csv", [*table_rows(20), ["1", "2"]])
    code, _, lines = ask(predict, models["classes"], path, "--output", output)
    assert (code, lines[-1]) == (3, f"error: {path} line 22: has 2 cells, and the header has 7")
    assert output.read_text() == "before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.csv", "t.csv"]


def test_imports_stay_light_a_closed_pipe_is_quiet_and_ctrl_c_is_130(models, tmp_path):
    heavy = "sklearn optax orbax matplotlib flax PIL scipy"
    program = (
        "import signal, sys; from neuroforge_jax.predict import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it\n"
        "print('imported', file=sys.stderr, flush=True)\n"
        f"code = main(sys.argv[1:]); print([m for m in {heavy!r}.split() if m in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    names = "id;age;city;rooms;when"
    rows = [row[:5] for row in table_rows(60)]
    path = write_table(tmp_path / "t.csv", rows, names)
    command = [sys.executable, "-c", program, models["classes"]]
    with subprocess.Popen(
        [*command, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err.splitlines()[-1]) == (0, "[]"), err
    with subprocess.Popen(
        [*command, "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdin.write(names + "\n")
        process.stdin.flush()
        assert process.stderr.readline() == "imported\n"
        time.sleep(0.2)  # it is in main by now
        os.kill(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said.splitlines()[0]) == (130, "interrupted"), said


@pytest.mark.parametrize("when", ["opened", "predicted"])
def test_an_array_that_changes_while_it_is_read_is_refused(models, ask, tmp_path, monkeypatch, when):
    """A mapped one may do so long after it was opened."""

    def touch(*args, **options):
        with path.open("ab") as other:
            other.write(b"x")
        return function(*args, **options)

    path = tmp_path / "rows.npy"
    np.save(path, np.zeros((2, 3), np.float32))
    module, name = (np, "load") if when == "opened" else (prediction, "describe_outputs")
    function = getattr(module, name)
    monkeypatch.setattr(module, name, touch)
    out = tmp_path / "out.csv"
    code, _, said = ask(predict, models["arrays"], path, "--output", out)
    assert not out.exists()
    assert (code, said) == (
        3,
        [f"error: {path}: changed while it was read; try again when nothing writes to it"],
    )


def test_rows_whose_outputs_are_infinite_have_no_answer_and_are_counted(ask, tmp_path):
    """Their class was the first, with a probability of NaN, behind two warnings of NumPy."""
    x, y = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32) / 1000, np.arange(20) % 2
    model = save_model(tmp_path / "model", nf.Dataset.from_arrays(x, y, x, y))
    rows = np.zeros((4, 3), np.float32)
    rows[1], rows[3] = 3e38, -3e38
    np.savez(tmp_path / "rows.npz", x=rows, y=np.zeros(4, int))
    code, out, said = ask(predict, model, tmp_path / "rows.npz")
    assert code == 0
    assert [row["predicted"] != "" for row in out] == [True, False, True, False]
    assert "note: 2 rows have no answer, and no score" in said[0]
    assert said[-1] == "4 rows, 2 of them scored"
