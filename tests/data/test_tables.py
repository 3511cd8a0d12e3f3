"""Tables as people have them: what each column is taken for, what is said of it, and what the rows become."""

import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.columns import read_as
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.readers.frames import table_of
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.table import Table
from neuroforge_jax.errors import ConfigError, DataError
from neuroforge_jax.model.network_inputs import network_inputs

pytestmark = pytest.mark.smoke

FRUIT = "mass,colour,length,kind\n" + "".join(
    f"{index / 2},{'red' if index % 3 else 'green'},{index * index},{'apple' if index % 2 else 'pear'}\n"
    for index in range(20)
)


@pytest.fixture
def table(tmp_path):
    def load(text: str | bytes, name: str = "table.csv", **fields):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_dataset(str(path), **fields)

    return load


def complaint(load, *args, kind=DataError, **fields) -> str:
    with pytest.raises(kind) as caught:
        load(*args, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def column_of(data, name):
    return next(column for column in data.schema.columns if column.name == name)


def kinds(data) -> dict[str, str]:
    return {column.name: column.kind for column in data.schema.columns}


def rows_of(data) -> list[list[float]]:
    return np.concatenate([data.train.inputs, data.test.inputs]).tolist()


def csv_of(**columns) -> str:
    rows = zip(*columns.values(), strict=True)
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


def test_the_last_column_is_the_target_and_rows_are_numbers_before_codes(table):
    data = table(FRUIT)
    assert (data.name, data.classes, data.shape) == ("table.csv", ("apple", "pear"), (3,))
    assert kinds(data) == {"mass": "number", "colour": "category", "length": "number", "kind": "category"}
    assert column_of(data, "colour").levels == ("green", "red")
    assert (len(data.train), len(data.test)) == (16, 4)
    assert [0.5, 1.0, 2.0] in rows_of(data)  # row 1 of the file: 0.5, 1 × 1, red
    for split in (data.train, data.test):
        assert ((split.inputs[:, 0] * 2 % 2 == 1) == (split.targets == 0)).all()
    assert Schema.from_json(data.schema.to_json()) == data.schema


def test_another_column_can_be_the_target_and_others_are_dropped(table):
    data = table(FRUIT, target="colour", drop=["length"])
    assert data.classes == ("green", "red")
    assert [column.name for column in data.schema.inputs] == ["mass", "kind"]
    assert column_of(data, "length").said == "--drop"


@pytest.mark.parametrize(
    "field", ["target", "drop", "categorical", "numeric", "time", "id", "group", "sample_weight"]
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(table, field):
    message = complaint(table, FRUIT, kind=ConfigError, **{field: "colr"})
    assert "'colr': known are mass, colour, length, kind; did you mean 'colour'?" in message


# CASES 2: missing cells of every kind, in numbers, texts and targets.
def test_missing_cells_become_a_median_an_indicator_and_a_level_of_their_own(table):
    data = table(
        "age,town,happy\n" + "30,NA,yes\nNA,Rome,no\n,?,yes\n50,Rome,NA\n40,Oslo,no\n" * 8,
        missing=["unknown"],
    )
    age, town = column_of(data, "age"), column_of(data, "town")
    assert (age.kind, town.levels) == ("number", ("Oslo", "Rome"))
    assert age.missing > 0.3
    assert data.fitted.fill[0] in (30, 35, 40)
    assert data.plan.indicators == (0,)
    assert data.plan.codes[0].width == 3
    assert "8 rows of" in " ".join(data.notes)
    assert "without a target are left out" in " ".join(data.notes)
    assert np.isnan(data.train.inputs[:, 0]).mean() > 0.3


# CASES 4, and 9: a quantity or classes, told, and overruled.
@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, 2, 3, 1] * 5, ("1", "2", "3")),
        ([2019, 2021] * 10, ("2019", "2021")),
        (["a", "b"] * 10, ("a", "b")),
        ([0.0, 1.0] * 10, ("0", "1")),
        (["true", "false"] * 10, ("false", "true")),
        (list(range(20)), ()),
        ([x / 3 for x in range(20)], ()),
    ],
)
def test_a_target_is_classes_where_few_values_come_again(table, values, classes):
    data = table(csv_of(x=range(0, 40, 2), y=values))
    assert data.classes == classes
    assert data.outputs == (len(classes) or 1)


def test_ages_are_a_quantity_and_a_near_guess_is_told(table):
    ages = csv_of(x=np.arange(300) * 1.5, age=np.arange(300) % 61)
    data = table(ages)
    assert (data.classes, data.target.task) == ((), "regression")
    assert "--task classification" in " ".join(data.notes)
    assert len(table(ages, task="classification").classes) == 61
    assert "are taken for" not in " ".join(table(ages, task="regression").notes)  # as was asked
    stars = csv_of(x=np.arange(300) * 1.5, stars=np.arange(300) % 15)
    data = table(stars)
    assert len(data.classes) == 15
    assert "--task regression" in " ".join(data.notes)
    assert table(stars, task="regression").classes == ()
    assert "are taken for" not in " ".join(table(stars, task="classification").notes)


# CASES 5: a target of any size, in the file's units.
def test_a_price_is_scaled_and_comes_back_in_its_units(table):
    prices = 250_000 + 1000.0 * np.arange(50)
    data = table(csv_of(x=np.arange(50) ** 2, price=prices))
    scaled = (data.train.targets - data.fitted.target_shift) * data.fitted.target_scale
    assert abs(scaled.mean()) < 1e-5
    assert abs(scaled.std() - 1) < 1e-5
    np.testing.assert_allclose(
        np.sort(data.target.read_outputs(np.concatenate([data.train.targets, data.test.targets]))[:, 0]),
        prices,
    )


def test_a_logarithm_is_learnt_where_that_is_asked(table):
    prices = np.exp(np.linspace(1, 9, 30))
    data = table(csv_of(x=np.arange(30) ** 2, price=prices), target_transform="log")
    read = np.sort(data.target.read_outputs(np.concatenate([data.train.targets, data.test.targets]))[:, 0])
    np.testing.assert_allclose(read, prices, rtol=1e-5)
    assert "takes values above 0" in complaint(
        table, csv_of(x=range(9), price=range(9)), task="regression", target_transform="log"
    )


# CASES 6: times and large numbers with small differences.
def test_times_keep_their_seconds_and_are_told_as_circles_where_they_repeat(table):
    times = np.datetime64("2024-03-01T10:00:00") + np.arange(0, 200) * np.timedelta64(3601, "s")
    data = table(csv_of(when=times, y=np.arange(200) % 2))
    when = column_of(data, "when")
    assert (when.kind, when.cycles) == ("time", ("hour",))
    seconds = np.sort([row[0] for row in rows_of(data)])
    np.testing.assert_array_equal(np.diff(seconds), 3601)
    angle = [np.hypot(row[1], row[2]) for row in rows_of(data)]
    np.testing.assert_allclose(angle, 1, atol=1e-6)
    assert (
        table(csv_of(when=np.arange(200) * 7, y=np.arange(200) % 2), time="when").schema.inputs[0].kind
        == "time"
    )


def test_a_date_of_no_end_is_a_time_too(table):
    """9999-12-31, as open contracts have it, is more microseconds than float64 counts one by one."""
    days = ["9999-12-31", *(f"2024-01-{day:02}" for day in range(1, 30))]
    data = table(csv_of(until=days, y=["a", "b"] * 15))
    assert column_of(data, "until").kind == "time"
    assert max(row[0] for row in rows_of(data)) > 2e11


def test_dates_of_eight_digits_are_times_and_new_rows_are_read_alike(table):
    """The difference between 20240131 and 20240201 was 70, and that between two days 1."""
    days = np.datetime64("2024-01-01") + np.arange(0, 90) * np.timedelta64(1, "D")
    written = [str(day).replace("-", "") for day in days]
    data = table(csv_of(day=written, y=np.arange(90) % 2))
    day = column_of(data, "day")
    assert (day.kind, day.said, day.cycles) == ("time", "dates written as 20240131", ("weekday",))
    np.testing.assert_array_equal(np.diff(np.sort([row[0] for row in rows_of(data)])), 86_400)
    again = Schema.from_json(data.schema.to_json())
    rows = pa.table({"day": pa.array([20240229.0, 20240230.0]), "y": pa.array([0.0, 1.0])})
    read = read_as(again, Table("new rows", dict(zip(rows.column_names, rows.columns, strict=True))), ["day"])
    assert read["day"].numbers.tolist() == [1709164800.0, pytest.approx(np.nan, nan_ok=True)]
    counted = table(csv_of(part=20240101 + np.arange(28), y=np.arange(28) % 2))
    assert column_of(counted, "part").kind == "number"
    assert column_of(table(csv_of(n=[20240101, 20241332] * 20, y=[0, 1] * 20)), "n").kind == "number"


def test_numbers_far_from_zero_keep_what_differs(table):
    data = table(csv_of(stamp=1_700_000_000 + 3 * np.arange(100), y=np.arange(100) % 2), drop=[])
    assert len({row[0] for row in rows_of(data)}) == 100


# CASES 7: signs and units.
def test_amounts_are_numbers_and_what_is_none_is_told(table):
    cells = [f'"$ {1000 + index:,}"' for index in range(40)]
    data = table(csv_of(price=cells, share=[f"{index}%" for index in range(40)], y=["a", "b"] * 20))
    assert kinds(data) == {"price": "number", "share": "number", "y": "category"}
    assert [1007.0, 7.0] in rows_of(data)
    mixed = [*range(100, 139), "about 12"]
    data = table(csv_of(size=mixed, y=["a", "b"] * 20))
    assert column_of(data, "size").kind == "number"
    assert "1 cell is no number ('about 12') and counts as missing" in " ".join(data.notes)
    assert (
        column_of(table(csv_of(size=mixed, y=["a", "b"] * 20), categorical="size"), "size").kind == "category"
    )


# CASES 11: keys and texts.
def test_keys_and_texts_are_left_out_and_told(table):
    rows = 60
    indexed = csv_of(index=range(rows), x=np.arange(rows) ** 2, y=["a", "b"] * (rows // 2)) + ",,\n" * 2
    assert [column.name for column in table(indexed).schema.inputs] == ["x"]
    data = table(
        csv_of(
            row=range(1, rows + 1),
            code=[f"A{index:04}" for index in range(rows)],
            remark=[f"he said {index}" for index in range(rows)],
            constant=["x"] * rows,
            empty=[""] * rows,
            x=np.arange(rows) ** 2,
            y=["a", "b"] * (rows // 2),
        )
    )
    assert [column.name for column in data.schema.inputs] == ["x"]
    said = " ".join(data.notes)
    for fact in (
        "'row' (counts the rows)",
        "'code' (a key",
        "'remark' (free text",
        "'constant' (one value only)",
        "'empty' (empty)",
    ):
        assert fact in said
    assert (
        column_of(table(csv_of(code=["k1", "k2", "k3"] * 9, y=["a", "b", "a"] * 9)), "code").role == "input"
    )


def test_many_levels_are_the_frequent_ones_and_the_rest(table):
    towns = [f"t{min(index % 150, 120)}" for index in range(3000)]
    data = table(csv_of(town=towns, y=np.arange(3000) % 2))
    town = column_of(data, "town")
    assert (len(town.levels), town.levels[-1], town.rest) == (101, "(other)", True)
    assert "t120" in town.levels
    codes = {row[0] for row in rows_of(data)}
    assert codes == {float(code) for code in range(1, 102)}


# CASES 13: groups, the future, weights.
def test_groups_and_the_future_are_kept_out_of_training(table):
    text = csv_of(
        house=np.arange(100) // 5,
        day=np.arange(100)[::-1],
        x=np.arange(100) ** 2,
        w=[1, 3] * 50,
        y=np.arange(100) % 2,
    )
    data = table(text, group="house").hold_out(0.25, seed=0)
    x = {
        part: set(np.sqrt(split.inputs[:, 1]).astype(int) // 5)
        for part, split in (("train", data.train), ("test", data.test), ("validation", data.validation))
    }
    assert not x["train"] & x["test"]
    assert not x["train"] & x["validation"]
    assert "'house'" not in str([column.name for column in data.schema.inputs])
    data = table(text, time_split="day").hold_out(0.25, seed=0)
    assert set(np.sqrt(data.test.inputs[:, 1]).astype(int)) == set(range(20))
    assert set(np.sqrt(data.validation.inputs[:, 1]).astype(int)) == set(range(20, 40))
    assert "day" not in [column.name for column in data.schema.inputs]
    seen = table(text, time_split="day", numeric="day")
    assert "day" in [column.name for column in seen.schema.inputs]
    assert seen.train.inputs.shape[1] == data.train.inputs.shape[1] + 1
    weighted = table(text, sample_weight="w", target="y")
    assert set(np.round(weighted.train.weights / weighted.train.weights.min())) == {1, 3}


def test_a_test_file_is_read_as_the_training_file_was(table, tmp_path):
    (tmp_path / "test.csv").write_text("colour,kind,mass,length,extra\nblue,Apple.,7,8,x\nred,pear,,9,y\n")
    data = table(FRUIT, test=str(tmp_path / "test.csv"))
    assert (len(data.train), len(data.test)) == (20, 2)
    np.testing.assert_array_equal(data.test.inputs, [[7, 8, 0], [np.nan, 9, 2]])
    np.testing.assert_array_equal(data.test.targets, [0, 1])
    assert "'Apple.' is read as 'apple'" in " ".join(data.notes)
    (tmp_path / "test.csv").write_text("colour,mass,kind\nred,1,pear\n")
    assert "has no column 'length'" in complaint(table, FRUIT, test=str(tmp_path / "test.csv"))
    (tmp_path / "test.csv").write_text("colour,mass,length,kind\nred,1,1,plum\n")
    assert "'plum', which is none of the classes 'apple', 'pear'" in complaint(
        table, FRUIT, test=str(tmp_path / "test.csv")
    )


def test_several_targets_are_quantities_or_labels_and_nothing_else(table):
    text = csv_of(
        x=np.arange(40) ** 2,
        a=np.arange(40) / 7,
        b=np.arange(40) / 3,
        c=np.arange(40) % 2,
        d=["no", "yes"] * 20,
        e=["p", "q", "r", "s"] * 10,
        f=["No"] * 40,
    )
    two = table(text, target=["a", "b"])
    assert (two.outputs, two.target.task, two.fitted.target_shift.shape) == (2, "regression", (2,))
    labels = table(text, target=["c", "d"])
    assert (labels.target.task, labels.target.classes) == ("multilabel", ("c", "d"))
    np.testing.assert_array_equal(labels.train.targets[:, 0], labels.train.targets[:, 1])
    all_no = table(text, target=["d", "f"])
    assert (all_no.target.task, all_no.train.targets[:, 1].any()) == ("multilabel", False)
    assert "'e' is neither a quantity nor 0 and 1" in complaint(table, text, target=["d", "a", "e"])
    assert "'d' is yes or no, and 'a' is of other values" in complaint(table, text, target=["d", "a"])
    assert "'d', 'e' are no quantity" in complaint(table, text, target=["d", "e"], task="regression")
    assert "'a', 'b' are of other values" in complaint(table, text, target=["a", "b"], task="classification")


def test_a_test_file_whose_labels_all_say_no_is_read_and_one_that_says_else_is_named(table, tmp_path):
    """Which text means no was told from the two that occur, and of one alone nothing was."""
    text = csv_of(x=np.arange(40) ** 2, a=["No", "Yes"] * 20, b=[0, 0, 1, 1] * 10)
    test = tmp_path / "test.csv"
    test.write_text("x,a,b\n1,No,0\n4,no,1\n")
    data = table(text, target=["a", "b"], test=str(test))
    np.testing.assert_array_equal(data.test.targets, [[0, 0], [0, 1]])
    test.write_text("x,a,b\n1,No,0\n4,never,1\n")
    assert "target 'a' has the value 'never'; a label is yes or no, or 1 or 0" in complaint(
        table, text, target=["a", "b"], test=str(test)
    )


def test_a_target_that_counts_the_rows_is_a_quantity_in_a_test_file_too(table, tmp_path):
    """It was read as the texts of a key there."""
    (tmp_path / "test.csv").write_text("x,y\n1,2.5\n")
    data = table(csv_of(x=np.arange(40) ** 2, y=np.arange(40)), test=str(tmp_path / "test.csv"))
    assert data.test.targets.tolist() == [[2.5]]


@pytest.mark.parametrize(
    ("text", "fields", "fact"),
    [
        ("a,b\n" + "1,2\n" * 30, {}, "'b' has 1 different value"),
        (csv_of(x=["p", "q"] * 20, y=["a", "b"] * 20), {"drop": "x"}, "no column is left to predict from"),
        (csv_of(x=range(40), y=[""] * 40), {}, "missing in every row"),
        (
            csv_of(x=range(0, 80, 2), y=[f"a remark {x}" for x in range(40)]),
            {},
            "has 40 different texts in 40 rows: it is free text or a key; choose another --target",
        ),
        (csv_of(x=range(40), y=[""] * 40), {"drop": ["x", "y"]}, "no column is left to predict; name one"),
        (
            csv_of(x=["p", "q"] * 20, y=["a", "b"] * 20),
            {"time": "x"},
            "column 'x' does not hold dates or times",
        ),
        (csv_of(x=["p", "q"] * 20, y=["a", "b"] * 20), {"task": "regression"}, "needs numbers"),
        (csv_of(x=[1e39] * 39 + [1.0], y=["a", "b"] * 20), {}, "is no finite float32 number"),
    ],
)
def test_a_table_with_nothing_to_learn_from_is_one_line(table, text, fields, fact):
    assert fact in complaint(table, text, **fields)


def test_what_was_named_as_missing_is_so_in_later_rows_too(table):
    data = table(
        csv_of(x=[-999, 1, 2, 3] * 10, t=["no", "p", "q", "p"] * 10, y=["a", "b"] * 20),
        missing=["-999", "no"],
    )
    schema = Schema.from_json(json.loads(json.dumps(data.schema.to_json())))
    later = table_of(pl.DataFrame({"x": ["-999.0", "1.0"], "t": ["q", "no"]}))
    assert {name: values.missing.tolist() for name, values in read_as(schema, later, ["x", "t"]).items()} == {
        "x": [True, False],
        "t": [False, True],
    }


@pytest.mark.parametrize("source", ["csv", "parquet", "frame"])
def test_a_mark_of_missing_values_is_none_in_ids_and_groups(tmp_path, source):
    """Rows of the patient 99 were torn apart, and ids emptied."""
    frame = pl.DataFrame(
        {
            "id": [f"n{at}" if at % 9 else "gone" for at in range(60)],
            "patient": [99 if at < 24 else at // 6 for at in range(60)],
            "x": [99.0 if at % 5 == 0 else at / 7 for at in range(60)],
            "t": ["gone", "p", "q"] * 20,
            "y": ["a", "b"] * 30,
        }
    )
    path = tmp_path / f"t.{source}"
    if source == "csv":
        frame.write_csv(path)
    elif source == "parquet":
        frame.write_parquet(path)
    given = frame if source == "frame" else str(path)
    data = load_dataset(given, id="id", group="patient", missing=["99", "gone"])
    assert "--missing 99 gone: 32 cells count as missing, in 't', 'x'" in data.notes
    assert {column.name: column.missing > 0 for column in data.schema.columns} == {
        "id": False, "patient": False, "x": True, "t": True, "y": False,
    }  # fmt: skip
    assert np.bincount(data.partition.groups).max() == 24


@pytest.mark.parametrize("columns", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_thousands_of_columns_are_read_shown_and_trained_on(columns, tmp_path):
    numbers = np.random.default_rng(0).integers(0, 100, (60, columns))
    lines = [f"{','.join(map(str, row))},{'ab'[int(row[-1] > 50)]}" for row in numbers]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join([",".join([*(f"gene {at}" for at in range(columns)), "kind"]), *lines]))
    data = load_dataset(str(path))
    assert data.train.inputs.shape == (48, columns)
    assert {tuple(row) for row in rows_of(data)} <= {tuple(row) for row in numbers}
    shown = repr(data.schema).splitlines()
    assert len(shown) < 70
    more = f"{columns - 60:,}"
    assert shown[-2].split() == ["…", "and", more, "more", "number:", more]
    assert shown[-1].split()[:3] == ["kind", "category", "target"]
    config = nf.TrainConfig(hidden=(4,), epochs=1, batch_size=16, backend="optimized")
    assert nf.fit(config, data).test_accuracy is not None


@pytest.mark.parametrize("source", ["text", "frame", "parquet"])
def test_one_column_alone_is_one_line(tmp_path, source):
    columns = {"x": [1, 2] * 20}
    (tmp_path / "one.csv").write_text(csv_of(**columns))
    pl.DataFrame(columns).write_parquet(tmp_path / "one.parquet")
    data = {"text": str(tmp_path / "one.csv"), "parquet": str(tmp_path / "one.parquet")}
    with pytest.raises(DataError, match="a target and an input are needed"):
        load_dataset(data.get(source, pl.DataFrame(columns)))


@pytest.mark.parametrize("source", ["text", "frame"])
def test_infinite_cells_count_as_missing_and_are_counted(table, source):
    """They made a text file's column one of texts, and a frame's a refusal."""
    columns = {"x": [np.inf, -np.inf, *map(float, range(38))], "y": ["a", "b"] * 20}
    data = table(csv_of(**columns)) if source == "text" else load_dataset(pl.DataFrame(columns))
    assert column_of(data, "x").kind == "number"
    assert "'x': 2 cells are infinite and count as missing" in data.notes
    assert sum(np.isnan(row[0]) for row in rows_of(data)) == 2


# CASES 10: frames, as they are.
@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_a_frame_is_the_same_dataset_as_its_file(table, library):
    columns = {
        "n": [1, None, 3, 4] * 10,
        "flag": [True, False, True, None] * 10,
        "town": ["Rome", "Oslo", None, "Rome"] * 10,
        "y": ["a", "b", "a", "b"] * 10,
    }
    frames = {
        "pandas": lambda: pd.DataFrame(
            {**columns, "n": pd.array(columns["n"], "Int64"), "town": pd.Categorical(columns["town"])}
        ),
        "polars": lambda: pl.DataFrame(columns),
        "arrow": lambda: pa.table(columns),
    }
    data = load_dataset(frames[library](), target="y")
    assert kinds(data) == {"n": "number", "flag": "yes/no", "town": "category", "y": "category"}
    same = table(pd.DataFrame(columns).to_csv(index=False), target="y")
    np.testing.assert_array_equal(data.train.inputs, same.train.inputs)
    np.testing.assert_array_equal(data.test.targets, same.test.targets)


@pytest.mark.parametrize("flag", ["target", "drop", "delimiter", "test"])
def test_what_is_for_tables_is_refused_elsewhere(flag):
    with pytest.raises(ConfigError, match=f"--{flag} x: it is for tables, and the dataset is 'digits'"):
        load_dataset("digits", **{flag: "x"})


def test_an_extreme_among_the_inputs_does_not_end_a_training(table):
    """At the defaults, prices of diamonds by their sizes went to inf: of some, 50 deviations off."""
    rng = np.random.default_rng(0)
    size = rng.normal(5, 0.1, 600)
    size[::97] = 60
    often_none = np.where(rng.random(600) < 0.1, rng.integers(4000, 6000, 600), 0)
    data = table(csv_of(size=size, gain=often_none, price=3 * size + often_none / 1000))
    assert data.plan.scaling == "robust"
    assert "columns: 2 numbers (robust scaling)" in "\n".join(data.notes)
    inputs = np.asarray(network_inputs(data.plan, data.fitted, data.train.inputs))
    assert np.abs(inputs).max() < 3
    at = np.quantile(np.abs(inputs[:, 0]), 0.5)
    assert 0.4 < at < 0.6  # quartiles are 1 apart
    # A column that is mostly one value: the others lie about 1 from it.
    gained = data.train.inputs[:, 1] > 0
    assert (inputs[~gained, 1] == 0).all()
    assert 0.6 < np.median(inputs[gained, 1]) < 1.4
    assert table(csv_of(size=size, price=size), scaling="standard").plan.scaling == "standard"


HOUSES = csv_of(house=np.arange(60) // 5, day=np.arange(60), x=np.arange(60) ** 2, y=np.arange(60) % 2)


def other_file(folder, name, first, rows=20, columns=("house", "day", "x", "y")):
    days = np.arange(first, first + rows)
    values = {"house": days // 5, "day": days, "x": days**2, "y": days % 2}
    (folder / name).write_text(csv_of(**{column: values[column] for column in columns}))
    return str(folder / name)


def test_a_group_that_is_in_two_files_is_refused(table, tmp_path):
    """A patient of the training file was tested on in silence."""
    apart = other_file(tmp_path, "apart.csv", 60)
    data = table(HOUSES, target="y", group="house", test=apart)
    assert (len(data.train), len(data.test)) == (60, 20)
    shared = other_file(tmp_path, "shared.csv", 40)
    message = complaint(table, HOUSES, target="y", group="house", test=shared)
    assert message.startswith(
        f"{shared}: --group house: 4 groups are in {tmp_path / 'table.csv'} too ('8', '9', '10' and 1 more)"
    )
    assert "leave --group out" in message
    message = complaint(
        table, HOUSES, target="y", group="house", test=apart, validation=other_file(tmp_path, "v.csv", 79)
    )
    assert "v.csv: --group house: 1 group is in" in message
    assert "apart.csv too ('15')" in message
    # A share of the table is its test data here, and validation data must be apart from those too.
    assert "4 groups are in" in complaint(table, HOUSES, target="y", group="house", validation=shared)
    without = other_file(tmp_path, "without.csv", 40, columns=("x", "y"))
    notes = " ".join(table(HOUSES, target="y", group="house", drop="day", test=without).notes)
    assert (
        "without.csv has no column 'house': whether its groups are in other data too cannot be told" in notes
    )


def test_groups_of_names_of_days_and_of_frames_are_compared_as_they_are_written():
    frame = pd.DataFrame({"who": ["ann", "bob", None, "ann"] * 5, "x": np.arange(20) ** 2, "y": [0, 1] * 10})
    new = pd.DataFrame({"who": ["eve", None], "x": [1, 2], "y": [0, 1]})
    assert len(load_dataset(frame, target="y", group="who", test=new).test) == 2
    message = complaint(load_dataset, frame, target="y", group="who", test=new.fillna({"who": "bob"}))
    assert message.startswith("the test frame: --group who: 1 group is in the data frame too ('bob')")
    days = pd.date_range("2024-01-31", periods=20)
    message = complaint(
        load_dataset, frame.assign(who=days), target="y", group="who", test=new.assign(who=days[[3, 5]])
    )
    assert "2 groups are in the data frame too ('2024-02-03T00:00:00', '2024-02-05T00:00:00')" in message


def test_test_rows_that_are_not_later_than_the_training_rows_are_told(table, tmp_path):
    later = other_file(tmp_path, "later.csv", 60)
    for told in table(HOUSES, target="y", time_split="day", test=later).notes:
        assert "--time-split" not in told
    early = other_file(tmp_path, "early.csv", 50)
    notes = table(HOUSES, target="y", time_split="day", test=early).notes
    told = f"10 of 20 rows of {early} are not later than the last training row, by --time-split day"
    assert told in notes
    assert told in table(HOUSES, target="y", time_split="day", numeric="day", test=early).notes
    for day, fact in ((["x", "y"] * 30, "it holds texts"), ([""] * 60, "it is empty")):
        text = csv_of(day=day, x=np.arange(60) ** 2, y=[0, 1] * 30)
        for fields in ({}, {"test": later}, {"test": later, "time": "day"} if not day[0] else {}):
            message = complaint(table, text, time_split="day", **fields)
            assert f"--time-split day: {fact}; it must hold times or numbers" in message


def test_numbers_that_count_the_rows_are_numbers_where_they_are_used(table, tmp_path):
    """Weights 1, 2, 3, … were read as texts in a test file."""
    text = csv_of(n=range(1, 41), x=np.arange(40) ** 2, y=np.arange(40) / 7)
    (tmp_path / "test.csv").write_text("n,x,y\n7,1,2\n8,1,3\n")
    test = str(tmp_path / "test.csv")
    weighted = table(text, target="y", sample_weight="n", test=test)
    np.testing.assert_allclose(weighted.test.weights, [14 / 15, 16 / 15], rtol=1e-6)


def test_targets_of_which_exactly_one_is_true_in_every_row_are_classes_and_that_is_told(table, tmp_path):
    """Dummies of a class became labels, and the probabilities of a row did not sum to 1."""
    kind = np.arange(45) % 3
    hot = {"ape": (kind == 0) * 1, "bat": np.where(kind == 1, "Yes", "no"), "cat": (kind == 2) * 1}
    text = csv_of(x=kind * 5, **hot)
    names = ("ape", "bat", "cat")
    (tmp_path / "test.csv").write_text("x,cat,bat,ape\n0,0,no,1\n5,,no,0\n10,1,no,0\n")
    data = table(text, target=names, test=str(tmp_path / "test.csv"))
    assert (data.target.task, data.classes, data.outputs) == ("classification", names, 3)
    np.testing.assert_array_equal(data.train.targets, kind)
    np.testing.assert_array_equal(data.test.targets, [0, 2])
    assert any("exactly one of the targets is 1 in every row" in note for note in data.notes)
    assert "exactly one" not in " ".join(table(text, target=names, task="classification").notes)
    assert len(table(text, target=names).test) == 9  # of every class a fifth
    labels = table(text, target=names, task="multilabel")
    assert (labels.target.task, labels.outputs) == ("multilabel", 3)
    assert "exactly one" not in " ".join(labels.notes)
    (tmp_path / "test.csv").write_text("x,cat,bat,ape\n0,1,yes,0\n")
    assert "'ape', 'bat', 'cat' has the value '2 of them', which is none of the classes" in complaint(
        table, text, target=names, test=str(tmp_path / "test.csv")
    )


def test_a_few_rows_that_keep_labels_from_being_classes_are_told(table):
    kind = np.arange(300) % 2
    text = csv_of(x=kind * 5, a=np.where(np.arange(300) == 7, 0, kind), b=1 - kind)
    data = table(text, target=("a", "b"))
    assert data.target.task == "multilabel"
    assert any("of 300 rows, 1 row has not exactly one target that is 1" in note for note in data.notes)


def test_labels_that_may_all_be_true_are_no_classes(table):
    text = csv_of(x=np.arange(40) ** 2, a=[1, 0] * 20, b=[1, 1, 0, 0] * 10, c=np.arange(40) / 7)
    assert table(text, target=["a", "b"]).target.task == "multilabel"
    message = complaint(table, text, target=["a", "b"], task="classification")
    assert "exactly one of the targets 'a', 'b' must be 1, and in 20 rows that is not so" in message
    assert "use --task multilabel" in message
    assert "and 'c' is of other values" in complaint(table, text, target=["a", "c"], task="multilabel")
    one = table(text, target="a", task="multilabel")
    assert (one.target.task, one.train.targets.shape) == ("multilabel", (32, 1))


def test_a_quantity_is_refused_of_data_whose_targets_are_classes(tmp_path):
    """`--task regression` trained on classes, without a word."""
    with pytest.raises(
        ConfigError, match="--task regression: the targets of mnist are classes; leave it out"
    ):
        load_dataset("mnist", task="regression")
    (tmp_path / "cats").mkdir()
    with pytest.raises(ConfigError, match=r"--task regression: the targets of .* are classes"):
        load_dataset(tmp_path, task="regression")
    for name, array in {"x": np.eye(4), "y": np.array([0, 1, 1, 0])}.items():
        np.save(tmp_path / f"{name}_train.npy", array)
        np.save(tmp_path / f"{name}_test.npy", array)
    assert load_dataset(tmp_path, task="regression").target.task == "regression"


def test_classes_are_in_the_order_of_their_numbers_and_nan_is_a_text():
    labels = ["10", "nan", "9", "inf", "2", "x"] * 5
    frame = pl.DataFrame({"a": list(range(0, 60, 2)), "y": labels})
    assert load_dataset(frame, task="classification").classes == ("2", "9", "10", "inf", "nan", "x")
