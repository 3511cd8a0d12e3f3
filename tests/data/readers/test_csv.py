"""Text tables as people have them: what is made of each, and what is said of it."""

import csv
import gzip
import io
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.config import DataConfig
from neuroforge_jax.data.readers import csv as reader
from neuroforge_jax.data.readers import source
from neuroforge_jax.data.readers.csv import read_csv, stream_csv
from neuroforge_jax.data.readers.units import is_unit
from neuroforge_jax.data.table import Table
from neuroforge_jax.errors import DataError

pytestmark = pytest.mark.smoke

FLOWERS = "mass,colour\n1.5,red\n-2e3,green\n.5,red\n"


@pytest.fixture
def read(tmp_path):
    def read(content: str | bytes, like=None, **config) -> Table:
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_csv(path, DataConfig(**config), like)

    return read


def cells(table: Table) -> dict[str, list]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


def test_a_plain_table_is_numbers_and_texts_and_nothing_is_said(read):
    table = read(FLOWERS)
    assert cells(table) == {"mass": [1.5, -2000.0, 0.5], "colour": ["red", "green", "red"]}
    assert [column.type for column in table.columns.values()] == [pa.float64(), pa.string()]
    assert (len(table), table.notes) == (3, ())


@pytest.mark.parametrize(
    ("content", "columns", "note"),
    [
        ('"fixed acidity";"quality"\n7.4;5\n6.3;6\n', {"fixed acidity": [7.4, 6.3], "quality": [5, 6]},
         "read with semicolons"),
        ("sep=;\r\nx;y\r\n1;2\r\n", {"x": [1], "y": [2]}, "read with semicolons"),
        ("x;y\n7,4;5\n0,123;6\n", {"x": [7.4, 0.123], "y": [5, 6]}, "read with semicolons, decimal commas"),
        ('x,y\n"7,4",5\n"6,31",6\n', {"x": [7.4, 6.31], "y": [5, 6]}, "read with decimal commas"),
        ("x\ty\n1,5\tHello, you\n2,5\tAh, well\n", {"x": [1.5, 2.5], "y": ["Hello, you", "Ah, well"]},
         "read with tabs, decimal commas"),
        ("x|y\na,b|2\nc,d|3\n", {"x": ["a,b", "c,d"], "y": [2, 3]}, "read with bars"),
        ('  x   y\n 1.5   "a  b"\n -2\t c \n', {"x": [1.5, -2], "y": ["a  b", "c"]}, "read with blanks"),
        ("when,x\n2020-01-01 10:00,5\n2020-01-02 11:00,6\n",
         {"when": ["2020-01-01 10:00", "2020-01-02 11:00"], "x": [5, 6]}, None),
        ("\"who\",\"n\"\n'<0, no',1\n'it is \"so\"',2\n", {"who": ["<0, no", 'it is "so"'], "n": [1, 2]},
         "read with single quotes"),
        ("who,n\n'tis,1\nrock 'n' roll,2\n", {"who": ["'tis", "rock 'n' roll"], "n": [1, 2]}, None),
        ('who,n\n1, "a, ""b"", c"\n2, "d"\n', {"who": [1, 2], "n": ['a, "b", c', "d"]}, None),
        ('x\ty\n"a\t1\nb\t2\nc\t3\n', {"x": ['"a', "b", "c"], "y": [1, 2, 3]},
         "read with tabs, quotes as they are"),
        ('x,y\n5" pipe,1\n"6"" pipe",2\n', {"x": ['5" pipe', '6" pipe'], "y": [1, 2]}, None),
        ('x,y\n"a\n\nb",1\n\n  \nc,2', {"x": ["a\n\nb", "c"], "y": [1, 2]}, None),
        ("x,y\r1,2\r3,4\r", {"x": [1, 3], "y": [2, 4]}, None),
        (" x y \r 1  2 \r 3 4\r", {"x": [1, 3], "y": [2, 4]}, "read with blanks"),
        ('"a\rb",y\n1,2\n3,4\n', {"a b": [1, 3], "y": [2, 4]}, None),
        ("x,y,\n1,2,\n3,4,\n", {"x": [1, 3], "y": [2, 4]},
         "column 3, without a name and a value, is left out"),
        ("  \n\nx,y\n1,2,\n \n3,4,\n", {"x": [1, 3], "y": [2, 4]},
         "column 3, without a name and a value, is left out"),
        ("x,\n1,2\n3,4\n", {"x": [1, 3], "column 2": [2, 4]}, "column 2 has no name"),
        (",x,y\n0,1,2\n1,3,4\n", {"column 1": [0, 1], "x": [1, 3], "y": [2, 4]}, "column 1 has no name"),
    ],
)  # fmt: skip
def test_the_dialect_is_found_and_said(read, content, columns, note):
    table = read(content)
    assert cells(table) == columns
    assert table.notes == (() if note is None else (note,))


@pytest.mark.parametrize(
    ("encoding", "bom", "note"),
    [
        ("utf-8", "", ()),
        ("utf-8", "\ufeff", ()),
        ("cp1252", "", ("read with cp1252",)),
        ("utf-16-le", "\ufeff", ("read with utf-16-le",)),
        ("utf-16-be", "\ufeff", ("read with utf-16-be",)),
        ("utf-16-le", "", ("read with utf-16-le",)),
        ("utf-16-be", "", ("read with utf-16-be",)),
        ("utf-32-le", "\ufeff", ("read with utf-32-le",)),
    ],
)
def test_the_encoding_is_found_and_said(read, encoding, bom, note):
    table = read(f"{bom}straße,preis\nAm Öltor,1\nCafé,2\n".encode(encoding))
    assert cells(table) == {"straße": ["Am Öltor", "Café"], "preis": [1, 2]}
    assert table.notes == note


def test_a_table_may_begin_as_a_binary_file_does(read):
    assert list(read("PAR1,PAR2\n1,2\n").columns) == ["PAR1", "PAR2"]


def test_bytes_that_cp1252_lacks_are_latin_1(read):
    assert read(b"x,y\n\x81\xe4,1\n").notes == ("read with latin-1",)


@pytest.mark.parametrize("mark", ["", "NA", "N/A", "NaN", "nan", "null", "None", "?", " ? ", '" NA"'])
def test_a_missing_cell_is_null_in_numbers_and_texts(read, mark):
    assert cells(read(f"n,t\n{mark},a\n1,{mark}\n2,b\n")) == {"n": [None, 1, 2], "t": ["a", None, "b"]}


def test_other_marks_of_missing_values_can_be_named_and_are_counted(read):
    content = "n,t\n-999,a\n1, n.v. \n"
    table = read(content, missing=("-999", "n.v."))
    assert cells(table) == {"n": [None, 1], "t": ["a", None]}
    assert table.notes == ("--missing -999 n.v.: 2 cells count as missing, in 'n', 't'",)
    assert cells(read(content)) == {"n": [-999, 1], "t": ["a", "n.v."]}
    assert read(content, missing=("-1",)).notes == ("--missing -1: no cell is one of them",)


@pytest.mark.parametrize("cell", ["-999", "-999.0", " -999.00", "-9.99e2", "-.999E+3"])
def test_a_mark_that_is_a_number_is_found_by_its_value(read, cell):
    content = f"n,t\n{cell},{cell}\n1,a\n-99,b\n"
    assert cells(read(content, missing=("-999",))) == {"n": [None, 1, -99], "t": [None, "a", "b"]}
    assert cells(read(content, missing=("-9.990e2",)))["n"] == [None, 1, -99]


def test_a_mark_is_a_number_in_the_notation_of_the_file_and_a_code_is_none(read):
    assert cells(read("x;y\n-9,50;1\n0,5;2\n", missing=("-9,5",)))["x"] == [None, 0.5]
    assert cells(read("x,y\n0,000\n0,12\n5,12\n", missing=("000",))) == {"x": [0, 0, 5], "y": [None, 12, 12]}


@pytest.mark.parametrize(
    "odd",
    ["01234", "00", "1,005", "12%", "$1", "infinit", "NAN", "1_000", "0x10", "1-2", "1e", "1 2", "ja"],
)
def test_one_cell_that_is_no_plain_number_makes_a_column_text(read, odd):
    assert cells(read(f'x,y\n1,2\n"{odd}",3\n'))["x"] == ["1", odd]


@pytest.mark.parametrize("number", ["+5", "-.5", "5.", "1e-7", "2E+3", "0", "0.5", "0e3", " 12 ", '"7"'])
def test_plain_numbers(read, number):
    assert cells(read(f"x,y\n1,2\n{number},3\n"))["x"] == [1, float(number.strip('"'))]


@pytest.mark.parametrize("number", ["inf", " -INF", "+Infinity", "1e400", "-1e400"])
def test_infinite_numbers_are_numbers(read, number):
    assert cells(read(f"x,y\n{number},2\n1,3\n")) == {"x": [float(number), 1], "y": [2, 3]}


def test_thousands_are_no_decimals_and_points_no_numbers_among_decimal_commas(read):
    assert cells(read('x,y\n"1,005",1\n"2,310",2\n'))["x"] == ["1,005", "2,310"]
    assert cells(read("x;y\n1.005;1,5\n2.310;2,25\n")) == {"x": ["1.005", "2.310"], "y": [1.5, 2.25]}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("39, State-gov, 77516\n50, Private, 83311\n", None),
        ("7,0.27,0.36\n6.3,0.3,0.34\n", None),
        ("yes,rome\nno,oslo\nyes,rome\n", None),
        ("2020-01-05,a\n2020-01-06,b\n2020-02-07,c\n", None),
        ("12%,a\n9%,b\n10%,c\n", None),
        ("1,2,3\n4,5,6\n7,8,9\n", None),
        ("1,2,3\n", None),
        ("name,city\nbob,rome\nann,oslo\n", ["name", "city"]),
        ("x1,x2\nNA,1\n3,NA\n", ["x1", "x2"]),
        ("1,2,3,4\n6,2,1036,103\n1,0,2165,205\n", ["1", "2", "3", "4"]),
        ("letter,1,2,3\nT,2,8,3\nI,5,12,3\n", ["letter", "1", "2", "3"]),
        ("0,1,2\n1.5,2.5,a\n1,2,b\n", ["0", "1", "2"]),
        ("name,2019,price\na,1,2\nb,3,4\n", ["name", "2019", "price"]),
    ],
)
def test_a_header_is_told_from_a_row(read, content, names):
    table = read(content)
    invented = [f"column {at}" for at in range(1, 1 + len(table.columns))]
    assert list(table.columns) == (names or invented)
    assert len(table) == content.count("\n") - bool(names)
    if names is None:
        assert table.notes == (f"no header: columns are column 1 … {invented[-1]}",)


ROWS = {"x": [1, 3], "y": [2, 4]}


@pytest.mark.parametrize(
    ("content", "columns", "note"),
    [
        ("# made by hand\n\n# it's \"so, and so\nx,y\n1,2\n3,4\n", ROWS,
         "2 lines of comment above the table are skipped"),
        ("% matlab\r\n// and C\r\nx,y\r\n1,2\r\n3,4\r\n", ROWS, "2 lines of comment above the table are skipped"),
        ("# a, b\nx,y\n1,2\n3,4\n", ROWS, "1 line of comment above the table is skipped"),
        ("# x\ry\nx,y\n1,2\n3,4\n", ROWS, "1 line of comment above the table is skipped"),
        ("# a\n1,2\n3,4\n", {"column 1": [1, 3], "column 2": [2, 4]},
         "1 line of comment above the table is skipped; no header: columns are column 1 … column 2"),
        ("#x,y\n1,2\n3,4\n", {"#x": [1, 3], "y": [2, 4]}, None),
        ("# of rooms,y\na,b\nc,d\n", {"# of rooms": ["a", "c"], "y": ["b", "d"]}, None),
        ("# made by hand\n#x,y\n1,2\n3,4\n", {"#x": [1, 3], "y": [2, 4]},
         "1 line of comment above the table is skipped"),
        ("# numpy\n# x y\n1 2\n3 4\n", ROWS,
         "read with blanks; 2 lines of comment above the table are skipped, the last of which names the columns"),
        ("#1,red\n#2,green\n3,red\n", {"column 1": ["#1", "#2", "3"], "column 2": ["red", "green", "red"]},
         "no header: columns are column 1 … column 2"),
        ("Report,,\n,,\nx,y,z\n1,2,a\n3,4,b\n", ROWS | {"z": ["a", "b"]},
         "2 lines of text above the table are skipped ('Report,,')"),
        ("x,,\na,b,c\nd,e,f\n", {"x": ["a", "d"], "column 2": ["b", "e"], "column 3": ["c", "f"]},
         "column 2 has no name; column 3 has no name"),
        ("Report of May\n\nx,y\n1,2\n3,4\n", ROWS, "1 line of text above the table is skipped ('Report of May')"),
        ("station: Rome, Italy, EU\nby = me\n# so\nx;y\n1;2\n3;4\n", ROWS,
         "read with semicolons; 3 lines of text above the table are skipped ('station: Rome, Italy, EU')"),
    ],
)  # fmt: skip
def test_what_stands_above_a_table_is_skipped_and_said(read, content, columns, note):
    table = read(content)
    assert cells(table) == columns
    assert table.notes == (() if note is None else (note,))


@pytest.mark.parametrize("gap", ["", "NA", "NULL", "Unknown", "-9x"])
@pytest.mark.parametrize(
    ("comment", "names", "note"),
    [
        ("#who,x,y", ["#who", "x", "y"], ()),
        ("# made by me\nwho,x,y", ["who", "x", "y"], ("1 line of comment above the table is skipped",)),
    ],
)
def test_gaps_in_the_first_row_do_not_make_it_the_header(read, gap, comment, names, note):
    table = read(f"{comment}\nBob,{gap},{gap}\nAnn,3,4\nJim,5,6\n", missing=("-9x",))
    assert list(table.columns) == names
    assert cells(table)[names[0]] == ["Bob", "Ann", "Jim"]
    assert table.notes[: len(note)] == note


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("#IID,B,A\nid1,NA,NA\nid2,1,100\n", {"#IID": ["id1", "id2"], "B": [None, 1], "A": [None, 100]}),
        ("# made by me\n#IID,B,A\nid1,low,1\nid2,1,100\n", {"B": ["low", "1"], "A": [1, 100]}),
        ("# B, A\nlow,5\n1,6\n", {"B": ["low", "1"], "A": [5, 6]}),
        ("# A\n7\n\n8\n", {"A": [7, None, 8]}),
        ("# A and B\nB,A\n1,2\n3,4\n", {"B": [1, 3], "A": [2, 4]}),
        ("# A, B\nB,A\n1,2\n3,4\n", {"B": [1, 3], "A": [2, 4]}),
    ],
)
def test_a_comment_of_known_names_is_the_header_unless_the_row_below_is(read, content, columns):
    found = cells(read(content, {"#IID": "text", "A": "number", "B": "number"}))
    assert {name: found[name] for name in columns} == columns


@pytest.mark.parametrize(("header", "first"), [("yes", "#ff0000"), ("no", "column 1")])
def test_a_comment_as_wide_as_the_table_is_no_comment_where_the_header_is_said(read, header, first):
    table = read("# colours\n#ff0000,1\nblue,2\nred,3\n", header=header)
    assert next(iter(table.columns)) == first
    assert len(table) == 3 - (header == "yes")


UNITS = "day,mass,size\n,kg,m2\n2024-01-01,1.5,7\n2024-01-02,2,8\n2024-01-03,3,9\n"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (UNITS, "line 2 is skipped: it holds units (kg, m2)"),
        (UNITS.replace("kg", '"k\ng"'), "line 2 is skipped: it holds units ('k\\ng', m2)"),
        (UNITS.replace(",kg", "UTC,kg"), "line 2 is skipped: it holds units (kg, m2)"),
        (UNITS.replace("m2", "-").replace(",kg", "UTC,[kg]"), "line 2 is skipped: it holds units ([kg])"),
        (
            "# c\n\n" + UNITS,
            "1 line of comment above the table is skipped; line 4 is skipped: it holds units (kg, m2)",
        ),
    ],
)
def test_a_row_of_units_is_skipped_and_said(read, content, note):
    table = read(content)
    assert table.notes == (note,)
    assert cells(table)["mass"] == [1.5, 2, 3]
    assert cells(table)["day"] == ["2024-01-01", "2024-01-02", "2024-01-03"]


def test_a_row_that_only_may_hold_units_is_read_and_named(read):
    table = read("who,mass\nbob,heavy\nann,1\njim,2\nlea,3\n")
    assert cells(table)["mass"] == ["heavy", "1", "2", "3"]
    assert table.notes == ("line 2 has 'heavy' in 'mass', and the rows below have numbers",)
    sensor = read(UNITS.replace(",kg,m2", ",-,-"))
    assert sensor.notes == ("line 2 has '-' in 'mass', and the rows below have numbers",)
    for row in ("2023-12-31,none,none", ",kg,5"):  # another day; a number
        assert len(read(UNITS.replace(",kg,m2", row))) == 4
    assert len(read(UNITS, header="no")) == 5


@pytest.mark.parametrize("header", ["auto", "yes"])
@pytest.mark.parametrize(
    "row", ["Bob,NULL,NULL", "Bob,unknown,n/a", ",#N/A,Missing", "unknown,N.A.,?", "Bob,low,low", ",Unknown,"]
)
def test_words_for_missing_values_and_one_word_again_are_no_units(read, row, header):
    content = f"who,mass,size\n{row}\nann,1,5\njim,2,7\nlea,3,6\n"
    table = read(content, header=header)
    assert cells(table)["mass"] == [row.split(",")[1], "1", "2", "3"]
    assert table.notes == (f"line 2 has '{row.split(',')[1]}' in 'mass', and the rows below have numbers",)


@pytest.mark.parametrize(
    ("row", "skipped"),
    [
        (",kg,m2", True),
        ("-,[kg],n/a", True),
        (",,µmol/m2/s", True),
        ("UTC,kg,m2", True),
        ("Sun,kg,m2", False),
        ("m,,", False),  # a text as any other, in a column of texts
        (",M,T", False),
        (",heavy,large", False),
        (",unknown,kg", True),
        (",A2,12 kg", False),
        (",kg,5", False),
        (",NULL,NULL", False),
        (",,", False),
    ],
)
def test_rows_to_be_answered_are_not_units_unless_nothing_but_known_ones_is_in_them(row, skipped):
    like = {"day": "text", "mass": "number", "size": "number"}
    content = f"day,mass,size\n{row}\nMon,1,5\n"
    (table,) = stream_csv(io.BytesIO(content.encode()), DataConfig(), like, 10)
    assert len(table) == 2 - skipped
    assert bool(table.notes) == skipped


@pytest.mark.parametrize(
    "text",
    ["%", "°C", "(m/s)", "µg/m³", "degC", "W·m-2", "m s^-1", "10^9/L", "mmol/l", "Miles per gal", "€/kg"],
)
def test_units_are_known(text):
    assert is_unit(text)


def test_what_is_skipped_is_skipped_by_a_stream_and_where_a_file_is_read_again(read, small_blocks):
    rows = "".join(f"2024-01-{at % 28 + 1:02},{at},5\n" for at in range(3_000))
    content = "# c\n" + UNITS + rows + "2024-02-01,late,5\n"
    table = read(content)
    assert cells(table)["mass"][:4] + cells(table)["mass"][-1:] == ["1.5", "2", "3", "0", "late"]
    like = {"day": "text", "mass": "text", "size": "number"}
    (first, *_) = stream_csv(io.BytesIO(content.encode()), DataConfig(), like, 2)
    assert cells(first) == {"day": ["2024-01-01", "2024-01-02"], "mass": ["1.5", "2"], "size": [7, 8]}


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_skipped_lines_are_no_rows_of_a_table_of_one_column(read, newline):
    content = "# c\n\nx\nkm\n10\n\n30\n".replace("\n", newline)
    assert cells(read(content, {"x": "number"})) == {"x": [10, None, 30]}
    with pytest.raises(DataError, match=r"line 8: has 2 cells, and the header has 1"):
        read(content + "4,5" + newline, {"x": "number"})


def test_numbers_as_headings_are_said(read):
    assert read("letter,1,2,3\nT,2,8,3\nI,5,12,3\n").notes == ("headings are the numbers 1 to 3",)
    (note,) = read("name,2019,price\na,1,2\nb,3,4\n").notes
    assert note == "the first row is taken for the header, with '2019' as a name"


def test_what_is_said_in_the_config_is_not_looked_for(read):
    assert cells(read("a,b\n1,2\n", header="no")) == {"column 1": ["a", "1"], "column 2": ["b", "2"]}
    assert list(read("5,6\n1,2\n", header="yes").columns) == ["5", "6"]
    assert cells(read("a;b,c\n1;2,3\n", delimiter=";")) == {"a": [1], "b,c": [2.3]}
    assert cells(read("a\tb\n1,5\t2\n", delimiter="tab", decimal=".")) == {"a": ["1,5"], "b": [2]}
    assert cells(read("ä,b\n1,2\n".encode("cp437"), encoding="cp437")) == {"ä": [1], "b": [2]}


def test_a_file_is_read_like_an_earlier_one(read):
    like = {"u": "number", "v": "text"}
    assert cells(read("v,u\n1,007\n2,8\n", like)) == {"v": ["1", "2"], "u": [7, 8]}
    table = read("1,x\n2,y\n", like)
    assert cells(table) == {"u": [1, 2], "v": ["x", "y"]}
    assert table.notes == ("no header: columns are named, in order, as those that it is read like",)
    unnamed = {"column 1": "number", "column 2": "text"}
    assert read("1,x\n2,y\n", unnamed).notes == ("no header: columns are column 1 … column 2",)
    assert cells(read("u,v\nno,x\n2,y\n", like))["u"] == ["no", "2"]
    numbered = {"kind": "text", "1": "number", "2": "number", "3": "number"}
    assert cells(read("T,2,1,7\nI,3,3,3\n", numbered)) == {
        "kind": ["T", "I"],
        "1": [2, 3],
        "2": [1, 3],
        "3": [7, 3],
    }
    assert cells(read("3,kind,1\n2,T,7\n", numbered)) == {"3": [2], "kind": ["T"], "1": [7]}
    assert cells(read("u\n1\n\n3\n", like)) == {"u": [1, None, 3]}


@pytest.fixture
def small_blocks(monkeypatch):
    """Many blocks in a file of some hundred thousand bytes."""
    for module, name in ((source, "START_BYTES"), (source, "CHUNK_BYTES"), (reader, "BLOCK_BYTES")):
        monkeypatch.setattr(module, name, 2**14)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_column_that_is_text_late_is_text_as_it_was_written(read, small_blocks, pack, encoding):
    rows = 6_000
    body = [f'{at}.0,"é, ""{at}""\n",{at % 7}' for at in range(rows)]
    body[-2] = "late,?,NA"
    table = read(pack(("x,y,z\n" + "\n".join(body)).encode(encoding)))
    assert len(table) == rows
    found = cells(table)
    assert found["x"][:2] + found["x"][-3:] == ["0.0", "1.0", f"{rows - 3}.0", "late", f"{rows - 1}.0"]
    assert found["y"][:2] + found["y"][-3:-1] == ['é, "0"', 'é, "1"', f'é, "{rows - 3}"', None]
    assert found["z"] == [None if at == rows - 2 else at % 7 for at in range(rows)]
    assert table.columns["x"].num_chunks > 4


def test_a_stream_has_pieces_of_the_types_that_were_asked_for(small_blocks):
    rows = 9_000
    text = "id,x,w\n" + "".join(f"{at},{at / 2 if at < rows - 1 else 'odd'},5\n" for at in range(rows))
    pieces = list(stream_csv(io.BytesIO(text.encode()), DataConfig(), {"x": "number", "w": "text"}, 1000))
    assert max(map(len, pieces)) == 1000
    types = [[str(column.type) for column in piece.columns.values()] for piece in pieces]
    assert types[0] == ["string", "double", "string"]
    assert types[-1] == ["string", "string", "string"]
    assert [cell for piece in pieces for cell in piece.columns["id"].to_pylist()] == list(
        map(str, range(rows))
    )


def test_a_stream_of_a_header_is_one_table_without_rows(tmp_path):
    (tmp_path / "none.csv").write_text("u,v\n")
    for origin in (tmp_path / "none.csv", io.BytesIO(b"u,v\n"), io.BytesIO(gzip.compress(b"u,v\n"))):
        (table,) = stream_csv(origin, DataConfig(), {"u": "number", "v": "text"}, 10)
        assert (len(table), list(table.columns)) == (0, ["u", "v"])


class _Trickle(io.RawIOBase):
    """Gives a byte at a time, as a pipe may."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-be"])
def test_characters_that_are_cut_by_a_read_are_whole(encoding):
    text = "a;b\n€ß日;1,5\n𝄞;2,5\n"
    like = {"a": "text", "b": "number"}
    for content in (text.encode(encoding), gzip.compress(text.encode(encoding))):
        (table,) = stream_csv(_Trickle(content), DataConfig(encoding=encoding), like, 10)
        assert cells(table) == {"a": ["€ß日", "𝄞"], "b": [1.5, 2.5]}


TABLES = Path(os.environ.get("NEUROFORGE_DATA_DIR", "")) / "tables"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="NEUROFORGE_DATA_DIR has no tables folder")


@needs_tables
@pytest.mark.parametrize(
    ("file", "rows", "kinds", "note"),
    [
        ("adult-train.csv", 32_561, "ntntntttttnnntt", "no header: columns are column 1 … column 15"),
        ("credit_german.csv", 1000, "tnttnttnttntnttntnttt", "read with single quotes"),
        ("cpu_act.csv", 8192, "n" * 22, "headings are the numbers 1 to 22"),
        ("letter-recognition.data", 20_000, "t" + "n" * 16, "headings are the numbers 1 to 16"),
        ("telco_customer_churn.csv", 7043, "tnttnttttttttttttnnt", None),
        ("titanic.csv", 891, "nnnttnnntntt", None),
        ("winequality-white.csv", 4898, "n" * 12, "no header: columns are column 1 … column 12"),
    ],
)
def test_real_tables_are_read_as_they_lie_there(file, rows, kinds, note):
    table = read_csv(TABLES / file, DataConfig())
    assert (len(table), table.notes) == (rows, () if note is None else (note,))
    found = ["n" if column.type == pa.float64() else "t" for column in table.columns.values()]
    assert "".join(found) == kinds


@needs_tables
def test_the_test_data_of_adult_are_read_like_its_training_data():
    columns = read_csv(TABLES / "adult-train.csv", DataConfig()).columns
    like = {name: "number" if column.type == pa.float64() else "text" for name, column in columns.items()}
    table = read_csv(TABLES / "adult-test.csv", DataConfig(), like)
    assert (len(table), list(table.columns)) == (16_281, list(columns))
    assert table.columns["column 2"].null_count == 963  # ` ?` behind a comma
    assert set(table.columns["column 15"].unique().to_pylist()) == {"<=50K.", ">50K."}


CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="'"), max_size=6) | (
    st.sampled_from(["a,b", 'say "so"', '"', '""', "x\ny", "x\r\ny", "1;2", "a\tb", "|", "007", "-1.5", "NA"])
)
MISSING = {"", "NA", "N/A", "NaN", "nan", "null", "None", "?"}


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1)
    ),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_is_read_cell_by_cell(
    tmp_path_factory, rows, delimiter, quoting, encoding, newline
):
    names = [f"column {at}" for at in range(1, 1 + len(rows[0]))]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=newline).writerows([names, *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    config = DataConfig(delimiter=delimiter, encoding=encoding, header="yes", decimal=".")
    table = read_csv(path, config, dict.fromkeys(names, "text"))
    wanted = [[None if cell.strip() in MISSING else cell.strip() for cell in row] for row in rows]
    assert [list(row) for row in zip(*cells(table).values(), strict=True)] == wanted


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=30),
    delimiter=st.sampled_from(";\t|"),
    decimal=st.sampled_from(".,"),
)
def test_numbers_are_read_to_the_last_bit(tmp_path_factory, numbers, delimiter, decimal):
    rows = [f"{number!r}{delimiter}a".replace(".", decimal) for number in numbers]
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    path.write_text("\n".join([f"x{delimiter}y", *rows]))
    assert cells(read_csv(path, DataConfig(decimal=decimal)))["x"] == numbers
