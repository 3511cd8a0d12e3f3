"""What the texts in a column mean: numbers as people write them, dates and times, yes and no.

Each distinct text is read once, by kernels of Arrow or NumPy: a million rows take a fraction of a second.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuroforge_jax.data.dates import Dates, read_dates

Texts: TypeAlias = pa.Array | pa.ChunkedArray
EXAMPLES = 3
SAMPLE = 1000
"""So many distinct texts, evenly spread, say which unit a column is in."""
GLANCE = 64
"""So many rows, evenly spread, say whether it is worth while to look for dates in all of them."""
TIMES_NEEDED = 0.999
"""Share of the cells that must be times for a column to be times."""

CURRENCIES = {
    "AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR",
    "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KRW", "MAD", "MXN", "MYR", "NGN", "NOK", "NZD",
    "PEN", "PHP", "PKR", "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD",
    "VND", "ZAR", "kr", "Rs", "Rs.", "Fr", "Fr.", "zł", "Kč", "Ft",
}  # fmt: skip
"""Words that stand before an amount of money; no other word may stand before a number: `room 12` is a text."""

YES_NO = {
    ("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("off", "on"), ("0", "1"),
    ("nein", "ja"), ("nee", "ja"), ("nej", "ja"), ("non", "oui"), ("no", "si"), ("no", "sí"), ("não", "sim"),
}  # fmt: skip

_NO, _YES = (frozenset(words) for words in zip(*YES_NO, strict=True))
"""No word is in both."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """Numbers read from texts [N].

    values: float64 [N], null where a text is missing or unreadable. unreadable: how many texts are no numbers, the
    first distinct ones as examples. unit: what all of them have beside them, such as `%`, `$` or `kg`, else empty:
    `12%` is 12. decimal: the decimal mark by which they were read.
    """

    values: pa.Array
    unreadable: int
    examples: tuple[str, ...]
    unit: str = ""
    decimal: str = "."


@dataclass(frozen=True, eq=False)
class Times:
    """Times read from texts [N].

    values: timestamp[us] [N], of UTC where zones are said, null where a text is missing or no time. format: how
    they are written and, where that is so, that another order of day and month would fit as well.
    """

    values: pa.Array
    format: str


def parse_numbers(texts: Texts, decimal: str = ".", *, leading_zeros: bool = False) -> Numbers:
    """The numbers that texts [N] stand for, blanks at their ends left out.

    Signs before or behind a currency, `(5)` and `−5` for -5, `1e-3`, `1,005` and `1 005` and `1'005` for 1005,
    and a unit, if all have the same or are 0. decimal: the decimal mark; where some cells cannot be read by it,
    and all can by the other one, it is the other. Where one text is a whole number behind zeros, `01234`, all are
    codes, and none is read: leading_zeros reads them.
    """
    column = _Distinct.of(texts)
    plain = _plain(column.texts)
    coded = pc.match_substring_regex(plain, r"^[+-]?0\d+$")
    if not leading_zeros and pc.any(coded).as_py():
        unread = pa.nulls(len(plain), pa.float64())
        # A code is the better example: it says why numbers beside it are none.
        examples = column.texts.filter(coded)[:EXAMPLES].to_pylist()
        return Numbers(column.spread(unread), int(column.counts.sum()), tuple(examples), decimal=decimal)
    unit, values = _read_numbers(plain, column.counts, decimal)
    other = "," if decimal == "." else "."
    if values.null_count and _reads_all(plain.filter(pc.is_null(values))[:SAMPLE], other):
        other_unit, other_values = _read_numbers(plain, column.counts, other)
        if not other_values.null_count:
            decimal, unit, values = other, other_unit, other_values
    unread = pc.is_null(values)
    examples = column.texts.filter(unread)[:EXAMPLES].to_pylist()
    unreadable = int(column.counts[unread.to_numpy(zero_copy_only=False)].sum())
    return Numbers(column.spread(values), unreadable, tuple(examples), unit, decimal)


def parse_times(texts: Texts, told: str = "") -> Times | None:
    """The dates and times that texts [N] stand for; None if fewer than 99.9 % of those that are there are any.

    Dates as in `2024-01-31`, `2024-01`, `2024/1/31`, `31.01.2024`, `1/31/2024`, `31 Jan 2024` and `Jan 31, 2024`,
    with a time of day behind them or not, and a zone behind that: ISO 8601 and its like. A time without a zone
    counts as one of UTC. Where day and month are numbers in front of the year, the values tell which is which;
    where they leave it open, the month is in front of a slash and the day in front of a full stop or a hyphen,
    and `format` says so. Years alone and seconds since 1970 are numbers. told: the `format` of texts that these
    are to be read like, whose order of day and month decides.
    """
    if not _worth_reading(texts):
        return None
    column = _Distinct.of(texts)
    dates = read_dates(_plain(column.texts))
    day_first, order = _choose_order(dates, column.counts)
    if known := re.match(r"(day|month)\W(?:day|month)\Wyear", told):
        day_first = known[1] == "day"
    micros, good = dates.instants(day_first=day_first)
    present = column.counts.sum()
    if not present or column.counts[good].sum() < TIMES_NEEDED * present:
        return None
    values = pa.array(micros, pa.timestamp("us"), mask=~good)
    return Times(column.spread(values), _tell_format(dates, order))


def read_yes_no(distinct: Sequence[str]) -> tuple[str, str] | None:
    """Of two texts that mean no and yes, in any case, which is (no, yes) as they are written; else None."""
    if len(distinct) != 2:
        return None
    for no, yes in (distinct, distinct[::-1]):
        if (no.strip().casefold(), yes.strip().casefold()) in YES_NO:
            return no, yes
    return None


def read_truth(text: str) -> float:
    """1 for a word that means yes, 0 for one that means no, in any case; NaN for others."""
    word = text.strip().casefold()
    return 1.0 if word in _YES else 0.0 if word in _NO else math.nan


EMPTY = pa.nulls(0, pa.large_string()).dictionary_encode()


@dataclass(frozen=True, eq=False)
class _Distinct:
    """texts: the distinct ones [D]. counts: rows of each [D]. rows: which text each row has [N], or null."""

    texts: pa.LargeStringArray
    counts: np.ndarray
    rows: pa.Array

    @classmethod
    def of(cls, texts: Texts) -> "_Distinct":
        encoded = pa.concat_arrays(_large(texts).dictionary_encode().chunks or [EMPTY])
        rows = encoded.indices
        counts = np.bincount(rows.drop_null().to_numpy(), minlength=len(encoded.dictionary))
        return cls(encoded.dictionary, counts, rows)

    def spread(self, values: pa.Array) -> pa.Array:
        """The values [D] of the distinct texts, for each row [N]."""
        return values.take(self.rows)


def _large(texts: Texts) -> pa.ChunkedArray:
    """As large_string, whose texts may be more than 2 GB together."""
    chunks = texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]
    return pa.chunked_array([chunk.cast(pa.large_string()) for chunk in chunks], pa.large_string())


def _evenly(count: int, most: int) -> np.ndarray:
    """The places of at most so many of a number of things, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(int)


def _plain(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Without blanks at the ends; with the common blank, minus and apostrophe for the many of Unicode."""
    texts = pc.utf8_trim_whitespace(texts)
    if pc.all(pc.string_is_ascii(texts)).as_py():
        return texts
    for pattern, plain in ((r"[\p{Zs}]", " "), ("[\u2212\u2013]", "-"), ("\u2019", "'")):
        texts = pc.replace_substring_regex(texts, pattern, plain)
    return texts


def _read_numbers(texts: pa.LargeStringArray, counts: np.ndarray, decimal: str) -> tuple[str, pa.DoubleArray]:
    """The unit that texts share, and the number of each, null where it is none of that unit."""
    unit = _find_unit(texts, counts)
    readable = pc.match_substring_regex(texts, _number_pattern(decimal, unit))
    numbers = texts.filter(readable)
    if set(stem := _stem(unit)) & set(NUMBER_BYTES):
        numbers = pc.replace_substring(numbers, stem, "")
    values = np.full(len(texts), np.nan)
    values[readable.to_numpy(zero_copy_only=False)] = _keep_number(numbers, decimal).cast(pa.float64())
    return unit, pa.array(values, mask=~np.isfinite(values))


def _reads_all(texts: pa.LargeStringArray, decimal: str) -> bool:
    return not _read_numbers(texts, np.ones(len(texts), int), decimal)[1].null_count


_AMOUNT = re.compile(
    r"""\(?[+-]?[ ]*
    (?P<before>[^\d\s+\-.,()'][^\d+\-,()]{0,5}?)?[ ]*
    [+-]?(?P<number>[\d.,'\ ]*\d[.,]?(?:[eE][+-]?\d{1,3}(?!\d))?)[ ]*
    (?P<after>[^\d\s+\-.,()'][^,()]{0,14})?\)?""",
    re.VERBOSE,
)


def _find_unit(texts: pa.LargeStringArray, counts: np.ndarray) -> str:
    """What most of the numbers have beside them, bare zeros left aside; "" for nothing."""
    at = _evenly(len(texts), SAMPLE)
    found: Counter[str] = Counter()
    for text, count in zip(texts.take(pa.array(at)).to_pylist(), counts[at], strict=True):
        if match := _AMOUNT.fullmatch(text):
            before, after = match["before"] or "", match["after"] or ""
            if not before + after + match["number"].strip("0., "):
                continue
            if _is_currency(before) and not after:
                found[before] += int(count)
            elif not before and (not after or _is_unit(after)):
                found[after] += int(count)
    # Of two that are as frequent, one whatever the order of the rows.
    return max(sorted(found), key=found.__getitem__, default="")


def _is_currency(text: str) -> bool:
    return text in CURRENCIES or (len(text) <= 4 and any(unicodedata.category(mark) == "Sc" for mark in text))


def _is_unit(text: str) -> bool:
    return text[0] in "%‰°′″" or text[0].isalpha() or unicodedata.category(text[0]) == "Sc"


def _stem(unit: str) -> str:
    """`day` of `days`: a word may stand in the singular too."""
    return unit[:-1] if unit.isalpha() and len(unit) > 3 and unit.endswith("s") else unit


def _number_pattern(decimal: str, unit: str) -> str:
    """What all of a number looks like, for RE2, unusual blanks and signs made plain already."""
    mark, groups = re.escape(decimal), [re.escape("," if decimal == "." else "."), "'", " "]
    grouped = "|".join(rf"[1-9]\d{{0,2}}(?:{group}\d{{3}})+" for group in groups)
    lakhs = rf"[1-9]\d?(?:{groups[0]}\d\d)+{groups[0]}\d{{3}}"
    exponent = "" if unit in ("e", "E") else r"(?:[eE][+-]?\d{1,3})?"
    number = rf"(?:(?:{grouped}|{lakhs}|\d+)(?:{mark}\d*)?|{mark}\d+){exponent}"
    if not unit:
        return rf"^(?:[+-]? *{number}|\({number}\))$"
    word = f"{re.escape(_stem(unit))}s?" if unit.isalpha() and len(unit) > 2 else re.escape(unit)
    ways = [rf"[+-]? *{number} *{word}", rf"\({number} *{word}\)", rf"[+-]?0+(?:{mark}0*)?"]
    if _is_currency(unit):
        ways += [rf"[+-]? *{word} *{number}", rf"{word} *[+-]{number}", rf"\({word} *{number}\)"]
    return rf"^(?:{'|'.join(ways)})$"


NUMBER_BYTES = "0123456789+-.,eE("
"""What is left of a text that is a number: all else in it is a unit, a blank or an apostrophe."""


def _keep_number(texts: pa.LargeStringArray, decimal: str) -> pa.LargeStringArray:
    """The texts with a full stop for the decimal mark, a minus for a parenthesis, and nothing but the number."""
    meaning = np.zeros(256, np.uint8)
    for mark in NUMBER_BYTES:
        meaning[ord(mark)] = ord(mark)
    meaning[ord("(")], meaning[ord(",")], meaning[ord(".")] = ord("-"), 0, 0
    meaning[ord(decimal)] = ord(".")
    _, offsets, content = texts.buffers()
    if content is None:
        return texts
    begins = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = meaning[np.frombuffer(content, np.uint8)[begins[0] : begins[-1]]]
    kept = data != 0
    ends = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[begins - begins[0]]
    rest = [pa.py_buffer(np.ascontiguousarray(ends)), pa.py_buffer(data[kept])]
    return pa.Array.from_buffers(pa.large_string(), len(texts), [None, *rest])


def _worth_reading(texts: Texts) -> bool:
    """Whether half of a few texts, or more, are dates; so too where those few are all missing."""
    few = _Distinct.of(_large(texts).take(pa.array(_evenly(len(texts), GLANCE))))
    dates = read_dates(_plain(few.texts))
    good = dates.instants(day_first=True)[1] | dates.instants(day_first=False)[1]
    return 2 * few.counts[good].sum() >= few.counts.sum()


def _choose_order(dates: Dates, counts: np.ndarray) -> tuple[bool, str]:
    """Whether the day is first where texts leave it open, and how to say so."""
    days, months = (dates.instants(day_first=day)[1] & dates.open for day in (True, False))
    if not dates.open.any():
        return True, ""
    mark = Counter(
        {mark: rows for (kind, mark), rows in dates.kinds.items() if kind == "numbers"}
    ).most_common(1)[0][0]
    written = {True: f"day{mark}month{mark}year", False: f"month{mark}day{mark}year"}
    if (days == months).all():
        day_first = mark != "/"
        return day_first, f"{written[day_first]}, though {written[not day_first]} would fit as well"
    day_first = bool(counts[days].sum() >= counts[months].sum())
    return day_first, written[day_first]


def _tell_format(dates: Dates, order: str) -> str:
    (kind, mark), _ = max(dates.kinds.items(), key=lambda found: found[1])
    date = kind.replace("/", mark) if kind == "year/month/day" else order if kind == "numbers" else kind
    clock = " with a time of day" if dates.clock and not kind.startswith("ISO") else ""
    return date + clock + (", zones taken into UTC" if dates.zone else "")
