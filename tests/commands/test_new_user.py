"""A new user and two tables as they lie there: train, predict, and predict what has gaps."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from neuroforge_jax.predict import main as predict
from neuroforge_jax.train import main as train

TITANIC = "PassengerId,Survived,Pclass,Name,Sex,Age,Fare,Cabin,Embarked"
TABLES = Path(os.environ.get("NEUROFORGE_DATA_DIR", "/nowhere")) / "tables"


def write_titanic(path, rows=160):
    """Women of the first classes mostly survive; ages and cabins have gaps, names have commas and quotes."""
    rng = np.random.default_rng(0)
    lines = [TITANIC]
    for at in range(rows):
        woman, deck = rng.random() < 0.4, rng.integers(1, 4)
        survived = int(rng.random() < (0.95 if woman else 0.1))
        name = f'"Doe{at}, {"Mrs" if woman else "Mr"}. J. ""Jo"""'
        age = "" if rng.random() < 0.2 else f"{rng.integers(1, 80)}"
        cabin = f"C{rng.integers(9)}" if rng.random() < 0.2 else ""
        cells = at + 1, survived, deck, name, "female" if woman else "male", age, f"{90 / deck:.2f}", cabin
        lines.append(",".join(map(str, cells)) + f",{'SCQ'[rng.integers(3)]}")
    path.write_text("\n".join(lines) + "\n")


def write_adult(path, rows, seed, end=""):
    """No header, a blank behind each comma, ` ?` for missing; a full stop behind the labels of the test data."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        years = rng.integers(4, 17)
        rich = ">50K" if rng.random() < (years - 3) / 16 else "<=50K"
        work = ("Private", "State-gov", "?")[rng.integers(3)]
        lines.append(f"{rng.integers(17, 90)}, {work}, {years}, {rng.integers(20, 60)}, {rich}{end}")
    path.write_text("\n".join(lines) + "\n\n")


@pytest.fixture
def ask(capsys, tmp_path, monkeypatch):
    """Run a command that succeeds, in a folder of its own; what it says, as one line of words."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(command, *words):
        capsys.readouterr()
        code = command([str(word) for word in words])
        said = " ".join("".join(capsys.readouterr()).split())
        assert code == 0, said
        return said

    return run


def read_answers(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        shares = {name.removeprefix("probability of "): float(row[name]) for name in list(row)[3:]}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(shares, key=shares.get)
    return rows


def result_of(run):
    return json.loads((Path("runs") / run / "result.json").read_text())


QUICK = ["--hidden", "16", "--batch-size", "16", "--learning-rate", "0.1", "--checkpoint-every", "never"]


def check_titanic(ask, table, flags, missing):
    """The three commands of the issue. missing: columns that have gaps."""
    said = ask(train, "--dataset", table, "--target", "Survived", *flags)
    assert f"with missing values: {missing}" in said
    assert "left out: 'PassengerId' (counts the rows), 'Name' (free text: " in said
    assert "to 'Survived', 2 classes, split by a fixed seed" in said
    assert "saved in runs/titanic" in said
    figures = result_of("titanic")
    assert figures["test_accuracy"] > figures["test_majority_share"] + 0.08
    assert not Path("runs/titanic/worst_mistakes.png").exists()  # which is of pictures
    said = ask(predict, "runs/titanic", table, "--output", "out.csv")
    lines = table.read_text().splitlines()
    assert f"{len(lines) - 1} rows; predictions in out.csv" in said
    answers = read_answers(Path("out.csv"))
    assert [row["row"] for row in answers] == [str(at) for at in range(1, len(lines))]

    Path("gaps.csv").write_text("\n".join([*lines[:3], "," * lines[0].count(","), *lines[4:]]) + "\n")
    said = ask(predict, "runs/titanic", "gaps.csv", "--output", "gaps_out.csv")
    assert f"{len(lines) - 1} rows, {len(lines) - 2} of them scored" in said
    with_gaps = read_answers(Path("gaps_out.csv"))
    assert with_gaps[2]["predicted"] in ("0", "1")
    assert with_gaps[:2] + with_gaps[3:] == answers[:2] + answers[3:]


def check_adult(ask, table, test, flags, last, missing):
    """Trained and tested on files as they lie there. last: name of the last column."""
    said = ask(train, "--dataset", table, "--test", test, *flags)
    assert f"no header: columns are column 1 … {last}" in said
    assert f"{test}: '<=50K.' is read as '<=50K', '>50K.' is read as '>50K'" in said
    assert f"with missing values: {missing}" in said
    figures = result_of(table.stem)
    assert figures["test_accuracy"] > figures["test_majority_share"] + 0.05
    said = ask(predict, f"runs/{table.stem}", test, "--output", "out.csv")
    assert "no header: columns are column 1" in said
    answers = read_answers(Path("out.csv"))
    labels = [line.rpartition(", ")[2].strip(".") for line in test.read_text().splitlines() if line.strip()]
    right = [row["predicted"] == label for row, label in zip(answers, labels[-len(answers) :], strict=True)]
    assert np.mean(right) == pytest.approx(figures["test_accuracy"], abs=1e-3)
    assert f"accuracy {np.mean(right):.5g}"[:14] in said


def test_titanic_is_learnt_and_a_row_without_cells_is_answered(ask, tmp_path):
    write_titanic(tmp_path / "titanic.csv")
    check_titanic(ask, tmp_path / "titanic.csv", QUICK, "'Age', 'Cabin'")


def test_adult_is_learnt_with_its_test_file(ask, tmp_path):
    write_adult(tmp_path / "adult-train.csv", 400, 0)
    write_adult(tmp_path / "adult-test.csv", 150, 1, end=".")
    check_adult(
        ask, tmp_path / "adult-train.csv", tmp_path / "adult-test.csv", QUICK, "column 5", "'column 2'"
    )


@pytest.mark.slow
@pytest.mark.skipif(not TABLES.is_dir(), reason="the tables are not in NEUROFORGE_DATA_DIR")
def test_so_are_the_real_files(ask):
    """With nothing but the flags of the page."""
    check_titanic(ask, TABLES / "titanic.csv", [], "'Age', 'Cabin', 'Embarked'")
    missing = "'column 2', 'column 7', 'column 14'"
    check_adult(
        ask, TABLES / "adult-train.csv", TABLES / "adult-test.csv", ["--epochs", "1"], "column 15", missing
    )
