"""What texts mean: numbers, times, yes and no, as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.data.cells import Numbers, parse_numbers, parse_times, read_yes_no

pytestmark = pytest.mark.smoke

few = settings(max_examples=30, deadline=None)


def numbers(*texts: str | None, decimal: str = ".") -> Numbers:
    return parse_numbers(pa.array(texts, pa.string()), decimal)


@pytest.mark.parametrize(
    ("texts", "values", "unit"),
    [
        (["$ 1,005", "$5", "-$3.5", "($2)", "$-7"], [1005, 5, -3.5, -2, -7], "$"),
        (["US$5", "US$6.5"], [5, 6.5], "US$"),
        (["€5", "5 €"], [5, 5], "€"),
        (["CHF 1'005", "CHF 2"], [1005, 2], "CHF"),
        (["5 EUR", "7 EUR"], [5, 7], "EUR"),
        (["12%", "3.5 %", "0"], [12, 3.5, 0], "%"),
        (["12 kg", "13kg"], [12, 13], "kg"),
        (["1 year", "2 years", "10 years"], [1, 2, 10], "years"),
        (["1e3 metres", "2 metres"], [1000, 2], "metres"),
        (["12 m2", "3 m2"], [12, 3], "m2"),
        (["1,005", "1,234,567.5", "7"], [1005, 1234567.5, 7], ""),
        (["12,34,567", "1,000"], [1234567, 1000], ""),
        (["1\u00a0234", "1\u202f234\u202f567"], [1234, 1234567], ""),
        (["\u22125", "(5)", " +5 ", "- 5"], [-5, -5, 5, -5], ""),
        (["1e5", "1.5E-3", ".5", "5."], [1e5, 1.5e-3, 0.5, 5], ""),
    ],
)
def test_numbers_are_read_as_people_write_them(texts, values, unit):
    read = numbers(*texts)
    assert read.values.to_pylist() == values
    assert (read.unreadable, read.examples, read.unit, read.decimal) == (0, (), unit, ".")


@pytest.mark.parametrize(
    ("texts", "decimal", "values", "mark"),
    [
        # 1,005 is a thousand and five where the decimal mark is a full stop, and 1,5 is no number there at all.
        (["1,005", "2,340"], ".", [1005, 2340], "."),
        (["1,005", "1,5"], ".", [1.005, 1.5], ","),
        (["1,005", "0,985"], ".", [1.005, 0.985], ","),
        (["1,005", "1,5", "1.5"], ".", [1005, None, 1.5], "."),
        (["1,005", "1,5"], ",", [1.005, 1.5], ","),
        (["1.005", "1.234.567,5"], ",", [1005, 1234567.5], ","),
        (["1.5", "2.25"], ",", [1.5, 2.25], "."),
    ],
)
def test_the_decimal_mark_is_the_other_one_only_if_that_reads_every_cell(texts, decimal, values, mark):
    read = numbers(*texts, decimal=decimal)
    assert (read.values.to_pylist(), read.decimal) == (values, mark)


def test_what_is_no_number_is_counted_and_shown():
    read = numbers("12 kg", "heavy", None, "heavy", "13 lb", "7", "14 kg")
    assert read.values.to_pylist() == [12, None, None, None, None, None, 14]
    # One unit for all: 13 lb are no 13 kg, and 7 is neither.
    assert read.unreadable == 4
    assert read.examples == ("heavy", "13 lb", "7")


@pytest.mark.parametrize(
    "texts",
    [
        ["01234", "90210"],
        ["room 1", "room 2"],
        ["192.168.1.1"],
        ["2024-01-31"],
        ["12:30"],
        ["0x10"],
        ["1.2.3"],
        ["1 2"],
        ["12,34"],
        ["inf", "nan", "1e999"],
        ["--5", "+-5", "5-", "-"],
        ["$"],
        [""],
    ],
)
def test_a_text_that_only_looks_like_a_number_is_none(texts):
    # 12,34 stands beside a number that only a full stop explains.
    read = numbers(*texts, "7.25")
    assert read.values.to_pylist()[: len(texts)] == [None] * len(texts)
    assert read.unreadable >= len(texts)


def test_codes_are_numbers_where_that_is_asked_for():
    codes = pa.array(["01234", "90210"])
    assert parse_numbers(codes).examples == ("01234",)
    assert parse_numbers(codes, leading_zeros=True).values.to_pylist() == [1234, 90210]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_columns_in_chunks_of_any_type_of_text_are_one_column(kind):
    column = pa.chunked_array([pa.array(["5 kg", None], kind), pa.array(["7 kg", "5 kg"], kind)])
    assert parse_numbers(column).values.to_pylist() == [5, None, 7, 5]
    assert parse_numbers(column.slice(1, 2)).values.to_pylist() == [None, 7]
    for empty in (pa.chunked_array([], kind), pa.nulls(2, kind)):
        assert parse_numbers(empty).values.null_count == len(empty)
        assert parse_times(empty) is None


amounts = st.lists(st.decimals(-(10**11), 10**11, places=2), min_size=1, max_size=8)
NOTATIONS = {
    "plain": (lambda value: f"{value}", ".", ""),
    "thousands": (lambda value: f"{value:,}", ".", ""),
    "apostrophes": (lambda value: f"{value:,}".replace(",", "'"), ".", ""),
    "German": (lambda value: f"{value:,}".translate(str.maketrans(",.", ".,")), ",", ""),
    "French": (lambda value: f"{value:,}".translate(str.maketrans(",.", "\u202f,")), ",", ""),
    "accounting": (lambda value: f"({-value:,})" if value < 0 else f"{value:,}", ".", ""),
    "dollars": (lambda value: f"-${-value:,}" if value < 0 else f"${value:,}", ".", "$"),
    "euros": (lambda value: f"{value:,} €".translate(str.maketrans(",.", ".,")), ",", "€"),
    "seconds": (lambda value: f"{value} seconds", ".", "seconds"),
    "scientific": (lambda value: f"{float(value)!r}e0", ".", ""),
}


@pytest.mark.parametrize("notation", NOTATIONS)
@given(values=amounts)
@few
def test_numbers_come_back_from_every_notation(notation, values):
    write, decimal, unit = NOTATIONS[notation]
    read = numbers(*map(write, values), decimal=decimal)
    assert read.values.to_pylist() == [float(value) for value in values]
    assert read.unit == (unit if any(values) else read.unit)


@given(
    texts=st.lists(st.none() | st.text() | st.text("0123456789 .,+-()%$€eEkgT:/Z'", max_size=12), max_size=8)
)
@settings(max_examples=150, deadline=None)
def test_no_text_at_all_is_a_crash(texts):
    column = pa.array(texts, pa.string())
    present = len(texts) - column.null_count
    for decimal in ".,":
        read = parse_numbers(column, decimal)
        assert len(read.values) == len(texts)
        assert read.unreadable == present - (len(texts) - read.values.null_count)
        assert bool(read.examples) == bool(read.unreadable)
    times = parse_times(column)
    assert times is None or times.values.null_count == column.null_count
    read_yes_no([text for text in texts if text is not None])


def times(*texts: str | None) -> tuple[list[datetime | None], str]:
    read = parse_times(pa.array(texts, pa.string()))
    assert read is not None
    assert read.values.type == pa.timestamp("us")
    return read.values.to_pylist(), read.format


NOON = datetime(2024, 1, 31, 13, 45)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("2024-01-31 13:45", "ISO 8601"),
        ("2024-01-31T13:45:00.000", "ISO 8601"),
        ("2024-01-31T15:45+02:00", "ISO 8601, zones taken into UTC"),
        ("2024-01-31T08:15:00-0530", "ISO 8601, zones taken into UTC"),
        ("20240131T134500Z", "ISO 8601, compact, zones taken into UTC"),
        ("2024/1/31 13:45", "year/month/day with a time of day"),
        ("31.01.2024 13:45", "day.month.year with a time of day"),
        ("31.01.24 13:45", "day.month.year with a time of day"),
        ("1/31/2024 1:45 PM", "month/day/year with a time of day"),
        ("31/01/2024, 13:45", "day/month/year with a time of day"),
        ("Jan 31, 2024 13:45", "month day, year with a time of day"),
        ("Wed, 31 Jan 2024 13:45:00 GMT", "day month year with a time of day, zones taken into UTC"),
        ("31/Jan/2024:13:45:00 +0000", "day month year with a time of day, zones taken into UTC"),
        ("31. January 2024 1:45 p.m.", "day month year with a time of day"),
    ],
)
def test_times_are_read_as_people_write_them(text, written):
    assert times(text, None, f" {text} ") == ([NOON, None, NOON], written)


def test_values_tell_whether_the_day_or_the_month_is_first():
    assert times("01/02/2024", "13/02/2024")[0][0] == datetime(2024, 2, 1)
    assert times("01/02/2024", "02/13/2024")[0][0] == datetime(2024, 1, 2)
    assert parse_times(pa.array(["13/02/2024", "02/13/2024"])) is None


def test_where_no_value_tells_it_is_said():
    assert times("01/02/2024") == (
        [datetime(2024, 1, 2)],
        "month/day/year, though day/month/year would fit as well",
    )
    assert times("01.02.2024") == (
        [datetime(2024, 2, 1)],
        "day.month.year, though month.day.year would fit as well",
    )


@pytest.mark.parametrize(
    "text",
    [
        "2024", "1700000000", "20240131", "13:45", "2024-02-30", "2023-02-29", "2024-13-01", "0000-01-01",
        "2024-01-31 24:00", "2024-01-31 13:60", "2024-01-31X13:45", "Foo 31, 2024", "1.2.3", "1/2/3", "10.0.0.1",
        "0:45 AM 1/1/2024", "1/31/2024 13:45 PM", "2024-01-31T13:45 CET", "١٢/٠١/٢٠٢٤",
    ],
)  # fmt: skip
def test_what_only_looks_like_a_time_is_none(text):
    assert parse_times(pa.array([text, text])) is None


def test_of_a_thousand_times_one_may_be_unreadable():
    days = [f"2024-01-{day:02}" for day in range(1, 29)] * 36
    read = parse_times(pa.array([*days, "soon"]))
    assert read.values.null_count == 1
    assert parse_times(pa.array([*days, "soon", "later"])) is None


STAMPS = st.lists(st.datetimes(datetime(1000, 1, 1)), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("pattern", "step"),
    [
        ("%Y-%m-%d %H:%M:%S.%f", timedelta(microseconds=1)),
        ("%Y-%m-%dT%H:%MZ", timedelta(minutes=1)),
        ("%Y-%m-%d", timedelta(days=1)),
        ("%d %B %Y %H:%M:%S", timedelta(seconds=1)),
        ("%b %d, %Y, %I:%M %p", timedelta(minutes=1)),
        ("%A, %d %b %Y %H:%M:%S +0000", timedelta(seconds=1)),
    ],
)
@given(stamps=STAMPS)
@few
def test_times_come_back_from_every_notation(pattern, step, stamps):
    whole = [stamp - (stamp - datetime(1, 1, 1)) % step for stamp in stamps]
    assert times(*(stamp.strftime(pattern) for stamp in whole))[0] == whole


@given(stamps=STAMPS, minutes=st.integers(-14 * 60, 14 * 60))
@few
def test_zones_are_taken_into_utc(stamps, minutes):
    zone = timezone(timedelta(minutes=minutes))
    local = [stamp.replace(tzinfo=zone) for stamp in stamps if 1000 < stamp.year < 9999]
    if local:
        expected = [stamp.astimezone(UTC).replace(tzinfo=None) for stamp in local]
        assert times(*(stamp.isoformat() for stamp in local))[0] == expected


@pytest.mark.parametrize(
    ("distinct", "pair"),
    [
        (["Yes", "no"], ("no", "Yes")),
        (["Y", "N"], ("N", "Y")),
        (["TRUE", "false"], ("false", "TRUE")),
        (["f", "t"], ("f", "t")),
        (["Nein", "Ja"], ("Nein", "Ja")),
        (["on", "off"], ("off", "on")),
        (["1", "0"], ("0", "1")),
        (["yes"], None),
        (["yes", "true"], None),
        (["yes", "no", "maybe"], None),
        (["1", "2"], None),
        ([], None),
    ],
)
def test_yes_and_no(distinct, pair):
    assert read_yes_no(distinct) == pair
