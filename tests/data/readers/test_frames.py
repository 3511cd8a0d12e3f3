"""Frames of any library, and whatever else holds numbers."""

import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp

from neuroforge_jax.data.readers import frames
from neuroforge_jax.data.readers.frames import is_frame, table_of, take_array
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke


def cells(table) -> dict[str, list]:
    assert {values.type for values in table.columns.values()} <= {
        pa.float64(), pa.string(), pa.bool_(), pa.timestamp("us")
    }  # fmt: skip
    return {name: values.to_pylist() for name, values in table.columns.items()}


def complaint(call, *args) -> str:
    with pytest.raises(DataError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Interchanged:
    """A frame of a library that speaks the older protocol only."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True):
        return self.table.__dataframe__(nan_as_null, allow_copy)


PLAIN = pa.table({"a": [1, None], "s": ["x", "y"]})


@pytest.mark.parametrize(
    "frame",
    [
        PLAIN,
        PLAIN.to_batches()[0],
        PLAIN.to_reader(),
        Interchanged(PLAIN),
        pl.DataFrame({"a": [1, None], "s": ["x", "y"]}),
        pl.LazyFrame({"a": [1, None], "s": ["x", "y"]}),
        pd.DataFrame({"a": [1, None], "s": ["x", "y"]}),
        {"a": [1, None], "s": ["x", "y"]},
        {"a": np.array([1, np.nan]), "s": np.array(["x", "y"])},
        {"a": np.ma.array([1, 7], mask=[0, 1]), "s": np.array([b"x", b"y"])},
        {"a": pl.Series([1, None]), "s": pd.Series(["x", "y"], dtype="category")},
        {"a": pa.array([1, None]), "s": pa.chunked_array([["x"], ["y"]])},
        {"a": np.array([1, None]), "s": (letter for letter in "xy")},
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_frames_of_every_library_are_one_table(frame):
    assert is_frame(frame)
    table = table_of(frame)
    assert cells(table) == {"a": [1, None], "s": ["x", "y"]}
    assert table.name == "the data frame"
    assert table.notes == (("the lazy frame was collected",) if isinstance(frame, pl.LazyFrame) else ())


@pytest.mark.parametrize(
    "data",
    [np.zeros((2, 2)), [[1]], "a,b", None, pd.Series([1]), pl.Series([1]), pa.array([1]), sp.eye(2), 5],
    ids=lambda data: type(data).__name__,
)
def test_a_column_or_an_array_is_no_frame(data):
    assert not is_frame(data)


def test_pandas_columns_are_taken_as_they_are():
    zone = timezone(timedelta(hours=2))
    dummies = pd.get_dummies(pd.Series(list("aba")), prefix="is", sparse=True)
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "level": pd.Categorical(["a", None, "b"]),
            "object": pd.array([1, None, 2.5], dtype=object),
            "na": pd.array([pd.NA, np.float32(1), np.int8(2)], dtype=object),
            "flags": pd.array([True, None, False], dtype=object),
            "truth": pd.array([True, None, False], dtype="boolean"),
            "when": pd.Series(pd.to_datetime(["2024-01-01", None, "2024-01-02"])).dt.tz_localize(zone),
            "month": pd.period_range("2020-01", periods=3, freq="M"),
            "span": pd.to_timedelta([1, None, 2], unit="s"),
            "money": [Decimal(1), None, Decimal("2.5")],
            "large": np.array([2**70, True, None], dtype=object),
            7: [1, 2, 3],
        }
    )
    table = table_of(pd.concat([frame, dummies], axis=1))
    assert cells(table) == {
        "nullable": [1, None, 3],
        "level": ["a", None, "b"],
        "object": [1, None, 2.5],
        "na": [None, 1, 2],
        "flags": [True, None, False],
        "truth": [True, None, False],
        "when": [datetime(2023, 12, 31, 22), None, datetime(2024, 1, 1, 22)],
        "month": [datetime(2020, 1, 1), datetime(2020, 2, 1), datetime(2020, 3, 1)],
        "span": [1, None, 2],
        "money": [1, None, 2.5],
        "large": [2.0**70, 1, None],
        "7": [1, 2, 3],
        "is_a": [True, False, True],
        "is_b": [False, True, False],
    }
    assert table.notes == ("column 'when': times with the zone +02:00 are taken into UTC",)


def test_values_of_several_types_become_texts_and_that_is_said():
    table = table_of({"x": [1, "two", None, date(2024, 1, 31), True]})
    assert cells(table) == {"x": ["1", "two", None, "2024-01-31", "True"]}
    assert table.notes == (
        "column 'x' holds values of several types (bool, date, int, str); they are read as texts",
    )


@pytest.mark.parametrize(
    ("index", "note"),
    [
        (pd.Index(["x", "y"], name="key"), "the index 'key' is left out; frame.reset_index()"),
        (pd.Index([5, 7], name="id"), "the index 'id' is left out"),
        (pd.Index(["x", "y"]), "the index is left out"),
        (pd.MultiIndex.from_tuples([(1, 2), (1, 3)], names=["a", "b"]), "the index 'a', 'b' is left out"),
        (pd.RangeIndex(2), None),
        (pd.Index([17, 3]), None),
    ],
)
def test_an_index_that_means_something_is_left_out_and_said(index, note):
    table = table_of(pd.DataFrame({"x": [1, 2]}, index=index))
    assert list(table.columns) == ["x"]
    assert table.notes == () if note is None else table.notes[0].startswith(note)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns are named 'a'"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "two columns are named '1'"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", 1)])), "names of 2 levels; join them"),
        (pd.DataFrame({"a": [[1], [2]]}), "column 'a' holds list<item: int64>"),
        (pd.DataFrame({"a": [1j]}), "column 'a' holds values of type complex"),
        (pd.DataFrame({"a": [object()]}), "column 'a' holds values of type object"),
        (pd.DataFrame({"a": pd.interval_range(0, 2)}), "column 'a' holds struct"),
        (pl.DataFrame({"a": [[1], [2]]}), "column 'a' holds large_list"),
        (pl.LazyFrame({"a": [1]}).select("b"), "a LazyFrame that cannot be read (unable to find column"),
        (pd.DataFrame({"a": []}), "has columns and no rows"),
        (pd.DataFrame(), "has no columns"),
        ({}, "has no columns"),
        ({"a": [1, 2], "b": [1]}, "column 'b' has 1 values and 'a' 2; give one a row"),
        ({"a": "text"}, "column 'a' is 'text'; a column is a list or an array"),
        ({"a": 5}, "column 'a' is 5; a column is a list or an array"),
        ({"a": np.zeros((2, 2))}, "column 'a' holds values of type ndarray"),
        ({"a": [10**400, 1]}, "column 'a' holds a whole number of more than 308 digits"),
    ],
)
def test_what_no_table_can_hold_is_said(frame, words):
    message = complaint(table_of, frame, "people.frame")
    assert message.startswith("people.frame: ")
    assert words in message


def test_what_no_table_can_hold_may_be_dropped():
    table = table_of(pd.DataFrame({"a": [object(), 1], "b": [1, 2]}), drop=["a"])
    assert cells(table) == {"a": [None, None], "b": [1, 2]}


def test_an_array_of_numbers_is_given_back_as_it_is(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(np.zeros((3, 4))))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for array in (mapped, np.zeros(3, np.float16), np.zeros(3, bool), np.zeros(3, ">i4"), np.zeros((0, 2))):
        assert take_array(array, "x") is array


NAN = float("nan")
EAST = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("data", "dtype", "values"),
    [
        ([[1, 2], [3, None]], "float64", [[1, 2], [3, NAN]]),
        ([[1, 2], [3, 4]], "int64", [[1, 2], [3, 4]]),
        (np.array([[1, None], [2.5, pd.NA]], object), "float64", [[1, NAN], [2.5, NAN]]),
        (
            np.array([Decimal("1.5"), Fraction(1, 4), np.float32(2), True], object),
            "float64",
            [1.5, 0.25, 2, 1],
        ),
        (np.ma.array([1, 2], mask=[0, 1], dtype=np.uint8), "float32", [1, NAN]),
        (np.ma.array([1, 2], mask=[0, 1]), "float64", [1, NAN]),
        (np.ma.array([1, 2], mask=[0, 1], dtype=np.float16), "float16", [1, NAN]),
        (np.ma.array([1, 2], dtype=np.uint8), "uint8", [1, 2]),
        (sp.csr_matrix([[0, 1], [2, 0]]), "float32", [[0, 1], [2, 0]]),
        (sp.coo_array([[False, True]]), "float32", [[0, 1]]),
        (np.array(["1970-01-02", "NaT"], "M8[D]"), "float64", [86_400, NAN]),
        (np.array([1500, 2], "m8[ms]"), "float64", [1.5, 0.002]),
        ([date(1970, 1, 2), None, datetime(1970, 1, 1, 1, tzinfo=EAST)], "float64", [86_400, NAN, 0]),
        (pd.DataFrame(np.ones((2, 2), np.float32)), "float32", [[1, 1], [1, 1]]),
        (
            pd.DataFrame({"a": [True, False], "b": pd.array([1, None], dtype="Int8")}),
            "float64",
            [[1, 1], [0, NAN]],
        ),
        (pd.Series([1, None], dtype="Int64"), "float64", [1, NAN]),
        (pd.Series([1, 2], dtype="category"), "float64", [1, 2]),
        (pl.DataFrame({"a": [1, 2], "t": [datetime(1970, 1, 2), None]}), "float64", [[1, 86_400], [2, NAN]]),
        (pl.Series([1, None]), "float64", [1, NAN]),
        (pa.array([1, None]), "float64", [1, NAN]),
        ({"a": [1, 2], "b": [0.5, None]}, "float64", [[1, 0.5], [2, NAN]]),
    ],
)
def test_whatever_holds_numbers_is_an_array(data, dtype, values):
    array = take_array(data, "x")
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)


def test_jax_arrays_are_arrays():
    import jax.numpy as jnp

    assert take_array(jnp.ones(2), "x").tolist() == [1, 1]
    half = take_array(jnp.ones(2, jnp.bfloat16), "x")
    assert (half.dtype, half.tolist()) == (np.float32, [1, 1])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (["a", "b"], "holds texts, such as 'a'; an array holds numbers: give a data frame"),
        (np.array([1, "a"], object), "holds texts, such as 'a'"),
        (pd.DataFrame({"a": [1], "b": ["x"]}), "'b' holds texts"),
        ([[1], [1, 2]], "its rows have different lengths"),
        (
            np.array([np.zeros(2), np.zeros(3)], object),
            "holds values of type ndarray; it must hold real numbers; its rows",
        ),
        (np.array([1j]), "holds complex128; it must hold real numbers"),
        (np.array([1j, None], object), "holds values of type complex; it must hold real numbers"),
        (np.zeros(2, [("a", "i4")]), "holds records; give {name: array[name]"),
        ([10**400], "holds a whole number of more than 308 digits"),
        (sp.csr_matrix((10**6, 10**6)), "a sparse matrix of 1,000,000 × 1,000,000 takes 4.0 TB written out"),
        (sp.csr_matrix(np.array([[1j]])), "a sparse matrix of complex128; its values must be numbers"),
        (object(), "holds values of type object; it must hold real numbers"),
    ],
)
def test_what_holds_no_numbers_is_said(data, words):
    message = complaint(take_array, data, "x_train")
    assert message.startswith("x_train: ")
    assert words in message


def test_a_sparse_matrix_is_measured_before_it_is_written_out(monkeypatch):
    monkeypatch.setattr(frames, "free_bytes", lambda: 100)
    assert take_array(sp.eye(5), "x").sum() == 5
    assert "6 × 6 takes 144 B" in complaint(take_array, sp.eye(6), "x")


def test_no_library_is_imported_for_an_array():
    script = (
        "import sys, numpy as np; from neuroforge_jax.data.readers.frames import is_frame, take_array\n"
        "take_array(np.zeros((2, 2)), 'x'), take_array([[1, None]], 'x'), is_frame(np.zeros(2))\n"
        "print([name for name in ('pandas', 'polars', 'pyarrow', 'scipy', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
