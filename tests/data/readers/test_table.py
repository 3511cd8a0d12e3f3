"""Tables: what a .csv file means, and which line of it is wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.readers.table import _Numbers, encode, load_csv, read_csv, split_80_20
from neuroforge_jax.data.types import Column, Dataset
from neuroforge_jax.errors import ConfigError, DataError, UserError

pytestmark = pytest.mark.smoke

FRUIT = "mass,colour,length,kind\n" + "".join(
    f"{index / 2},{'red' if index % 3 else 'green'},{index * index},{'apple' if index % 2 else 'pear'}\n"
    for index in range(20)
)


@pytest.fixture
def csv(tmp_path):
    def write(text: str | bytes):
        path = tmp_path / "table.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def complaint(load, *args, kind=DataError) -> str:
    with pytest.raises(kind) as caught:
        load(*args)
    message = str(caught.value)
    assert "\n" not in message
    assert "table." in message
    return message


def rows_of(dataset: Dataset) -> list[list[float]]:
    return np.concatenate([dataset.train.inputs, dataset.test.inputs]).tolist()


def test_the_last_column_is_the_target(csv):
    data = load_csv(csv(FRUIT))
    assert data.name == "table.csv"
    assert data.classes == ("apple", "pear")
    assert data.columns == (Column("mass"), Column("colour", ("green", "red")), Column("length"))
    assert data.shape == (4,)
    assert data.train.inputs.dtype == np.float32
    assert (len(data.train), len(data.test)) == (16, 4)
    # Row 1 of the file: 0.5, red, 1, apple, as one-hot in sorted order.
    assert [0.5, 0.0, 1.0, 1.0] in rows_of(data)
    for split in (data.train, data.test):
        assert ((split.inputs[:, 0] * 2 % 2 == 1) == (split.targets == 0)).all()


def test_another_column_can_be_the_target(csv):
    data = load_csv(csv(FRUIT), "colour")
    assert data.classes == ("green", "red")
    assert [column.name for column in data.columns] == ["mass", "length", "kind"]


def test_an_unknown_target_lists_the_columns(csv):
    message = complaint(load_csv, csv(FRUIT), "kin", kind=ConfigError)
    assert "known are mass, colour, length, kind; did you mean 'kind'?" in message


@pytest.mark.parametrize("columns", [30, 31])
def test_of_more_than_thirty_columns_the_first_and_the_last_are_listed(csv, columns):
    names = [f"c{at}" for at in range(columns)]
    message = complaint(
        load_csv, csv(f"{','.join(names)}\n{','.join('1' * columns)}\n"), "price", kind=ConfigError
    )
    assert ("…" in message) == (columns > 30)
    assert ", ".join(names[:15]) in message
    assert ", ".join(names[-5:]) in message


def test_whole_numbers_are_classes_and_keep_their_names(csv):
    data = load_csv(csv("x,y\n" + "".join(f"{i},{[30, 5, 8][i % 3]}\n" for i in range(30))))
    assert data.classes == ("5", "8", "30")
    assert set(data.train.targets) == {0, 1, 2}


def test_other_numbers_are_a_regression(csv):
    data = load_csv(csv("x,y\n" + "".join(f"{i},{i + 0.5}\n" for i in range(10))))
    assert data.classes == ()
    assert data.train.targets.shape == (8, 1)
    np.testing.assert_array_equal(data.train.targets, data.train.inputs + 0.5)


def test_many_whole_numbers_are_a_regression(csv):
    text = "x,y\n" + "".join(f"{i},{i % 100}\n" for i in range(200))
    assert len(load_csv(csv(text)).classes) == 100
    assert load_csv(csv(text + "1,100\n")).classes == ()


def test_bom_crlf_blank_lines_and_spaces_are_understood(csv):
    plain = load_csv(csv("a,b,c\n1,x,p\n2,y,q\n3,x,p\n4,y,q\n"))
    odd = load_csv(csv(b'\xef\xbb\xbfa, b ,c\r\n1 , x,p\r\n\r\n2,y,q\r\n3,"x",p \r\n 4,y,q\r\n\r\n'))
    assert odd.columns == plain.columns
    assert odd.classes == plain.classes
    np.testing.assert_array_equal(odd.train.inputs, plain.train.inputs)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        ("a,a\n1,2\n", "'a' cannot head column 2"),
        ("5.1,3.5\n1,2\n", "'5.1' cannot head column 1; the first row must hold distinct names"),
        ("a,,b\n1,2,3\n", "column 2 has no name"),
        ("a,b\n1,2\n1,2,3\n", "line 3: has 3 cells, and the header has 2"),
        ("a,b\n1,2\n\n1\n", "line 4: has 1 cells"),
        ("a,b\n1,2\n,2\n", "line 3, column 'a': the cell is empty"),
        ("a,b\n1,x\n1, \n", "line 3, column 'b': the cell is empty"),
        ("a,b\n1,2\nnan,2\n", "line 3, column 'a': nan is no finite"),
        ("a,b\n1,2\n1,-inf\n", "line 3, column 'b': -inf is no finite"),
        ("a,b\n1e300,2\n1,2\n", "line 2, column 'a': 1e+300 is no finite"),
        ("a,b\n1,2\n1_0,2\n", "line 3, column 'a': '1_0' is no number, and line 2 has '1'"),
        ("a,b\n1,2\n2,3\n?,2\n", "line 4, column 'a': '?' is no number, and line 2 has '1'"),
        ("a,b\n?,2\n2,2\n", "line 3, column 'a': '2' is a number, and line 2 has '?'"),
        (f"a,b\n1,2\n{'x' * 40},2\n", f"line 3, column 'a': '{'x' * 40}' is no number"),
        (f"a,b\n1,2\n{'x' * 41},2\n", f"line 3, column 'a': '{'x' * 39}…' is no number"),
        ('a,b\n"x\ny",2\n1,2\n', "line 4, column 'a': '1' is a number, and line 2 has 'x\\ny'"),
        ('a,b\n1,2\n"1,2\n', "line 3: not well-formed"),
        ("a,b\n1,2\n1," + "x" * 200_000, "line 3: not well-formed"),
        ("a;b\n1;2\n", "one column only; commas, not semicolons, are needed"),
        ("a,b\n1,x\n2,x\n", "1 different values"),
        ("a,b\n1,x\n2,y\n", "too few to split"),
        ("a,b\n" + "".join(f"t{i},{i % 2}\n" for i in range(101)), "101 different texts; at most 100"),
        ("a,b\n" + "".join(f"{i},t{i}\n" for i in range(1001)), "1001 different values"),
        (b"a,b\n1,\xff\xfe\n", "not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_csv_is_named(csv, text, fact):
    assert fact in complaint(load_csv, csv(text))


def test_a_missing_file_is_named(tmp_path):
    assert "No such file" in complaint(load_csv, tmp_path / "table.csv")


def test_a_new_file_is_encoded_by_the_columns_of_the_old(csv):
    columns = load_csv(csv(FRUIT)).columns
    new = csv("length,comment,colour,mass\n9,,green,1\n8,n/a,red,2\n")
    x = encode(columns, read_csv(new, [column.name for column in columns]))
    assert x.tolist() == [[1, 1, 0, 9], [2, 0, 1, 8]]
    assert x.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("mass,length\n1,2\n", "no column 'colour'"),
        ("mass,length,colour\n1,2,red\n1,2,blue\n", "line 3, column 'colour': 'blue' is no known category"),
        ("mass,length,colour\n1,2,3\n", "column 'colour' must hold text and holds numbers"),
        ("mass,length,colour\nx,2,red\n", "column 'mass' must hold numbers and holds text"),
    ],
)
def test_a_new_file_that_does_not_fit_is_named(csv, text, fact):
    columns = load_csv(csv(FRUIT)).columns
    assert fact in complaint(lambda path: encode(columns, read_csv(path)), csv(text))


CELLS = st.sampled_from(
    ["a", "b", "1", "2", "0.5", "-3e2", "", " ", "nan", "inf", "1_0", '"', '"q"', "é", "\0", "١"]
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=3).map(",".join), max_size=8).map("\n".join)
    | st.text(max_size=40)
)
def test_any_text_gives_a_dataset_or_a_line_for_the_user(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_text(text, encoding="utf-8", errors="replace", newline="")
    try:
        assert np.isfinite(load_csv(path).train.inputs).all()
    except UserError as error:
        assert len(str(error).splitlines()) == 1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from("ab")),
        min_size=1,
    )
)
def test_numbers_come_back_exactly(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_text("x,c\n" + "".join(f"{x!r},{c}\n" for x, c in rows))
    table = read_csv(path)
    assert list(table.columns["x"]) == [x for x, _ in rows]
    assert table.columns["c"] == [c for _, c in rows]
    assert list(table.lines) == list(range(2, len(rows) + 2))


def test_texts_of_numbers_are_remembered_up_to_five_thousand():
    numbers = _Numbers()
    assert [numbers[str(at)] for at in range(6000)] == list(range(6000))
    assert dict(numbers) == {str(at): float(at) for at in range(5000)}


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=10, max_size=200))
def test_a_split_is_a_partition_with_a_fifth_of_each_class(labels):
    y = np.array(labels) * 7
    train, test = split_80_20("some", y, len(y))
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(y)))
    for label in np.unique(y):
        count = (y == label).sum()
        assert count // 5 <= (y[test] == label).sum() <= -(-count // 5)
        assert (y[train] == label).any()


@pytest.mark.parametrize(
    ("counts", "tested"),
    [
        ([2, 2, 2], [1, 1, 0]),
        ([5, 5, 5], [1, 1, 1]),
        ([5, 1], [1, 0]),
        ([9, 6], [2, 1]),
        ([6, 9], [1, 2]),
        ([7, 1, 1, 1], [2, 0, 0, 0]),
    ],
)
def test_the_largest_remainders_give_first_and_no_class_more_than_its_fifth_rounded_up(counts, tested):
    labels = np.repeat(np.arange(len(counts)), counts)
    _, test = split_80_20("some", labels, len(labels))
    assert np.bincount(labels[test], minlength=len(counts)).tolist() == tested


def test_a_split_is_the_same_for_ever():
    """NumPy promises the numbers of RandomState; a split that moves would change every result."""
    assert split_80_20("some", None, 10)[1].tolist() == [2, 8]
    assert split_80_20("some", np.array([0, 1] * 10), 20)[1].tolist() == [4, 7, 11, 16]
