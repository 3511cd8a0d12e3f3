"""Dates and times of day in texts, by their shape.

A shape is a text with 9 for each digit and a for each letter: `31/Jan/2024 13:45` is `99/aaa/9999 99:99`. A
million texts have a few shapes; what a shape means is worked out once, and its numbers are taken from columns of
bytes. Month names are English.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july",
    "august", "september", "october", "november", "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MICROS = 1_000_000
SHORTEST, LONGEST = 6, 45
ROWS_AT_ONCE = 2**16
MAX_SHAPES = 64
"""Of one length, in so many rows: texts of more shapes than this are no dates."""

_DATES = {
    "ISO 8601": r"(?P<year>9999)-(?P<month>99)(?:-(?P<day>99))?",
    "year/month/day": r"(?P<year>9999)(?P<mark>[-/.])(?P<month>99?)(?P=mark)(?P<day>99?)",
    "numbers": r"(?P<first>99?)(?P<mark>[-/.])(?P<second>99?)(?P=mark)(?P<year>9999|(?<=[/.-]99[/.-])99)",
    "day month year": r"(?P<day>99?)\.?(?P<mark>[ /-])(?P<name>a{3,9})\.?(?P=mark)(?P<year>9999|99)",
    "month day, year": r"(?P<name>a{3,9})\.? (?P<day>99?),? (?P<year>9999)",
    "month year": r"(?P<name>a{3,9})\.?[ -](?P<year>9999)",
}
_CLOCK = (
    r"(?:(?P<T>a)|, ?| |:)(?P<hour>99?):(?P<minute>99)(?::(?P<second_of_minute>99)(?:[.,](?P<fraction>9{1,9}))?)?"
    r"(?: ?(?P<half>aa(?!a)|a\.a\.))?"
)
_ZONE = r" ?(?:(?P<utc>a|aaa)|(?P<sign>[+-])(?P<zone_hour>99)(?::?(?P<zone_minute>99))?)"
_COMPACT = (
    r"(?P<year>9999)(?P<month>99)(?P<day>99)(?P<T>a)(?P<hour>99)(?P<minute>99)(?:(?P<second_of_minute>99))?"
)
SHAPES = {
    name: re.compile(rf"(?:(?P<weekday>a{{3,9}}),? )?{date}(?:{_CLOCK}(?:{_ZONE})?)?")
    for name, date in _DATES.items()
} | {"ISO 8601, compact": re.compile(rf"{_COMPACT}(?:{_ZONE})?")}
"""What dates look like, by the name of the order in which they are written."""

_WORDS: dict[str, Mapping[bytes, int]] = {
    "name": {spelled[:cut].encode(): month for month, spelled in enumerate(MONTHS, 1) for cut in (3, 4, 9)},
    "weekday": {spelled[:cut].encode(): day for day, spelled in enumerate(WEEKDAYS) for cut in (3, 9)},
    "T": {b"t": 1},
    "utc": {b"z": 0, b"utc": 0, b"gmt": 0},
    "half": {b"am": 0, b"pm": 12, b"a.m.": 0, b"p.m.": 12},
}


@dataclass
class Dates:
    """What texts [N] say.

    year: 0 where a text is no date. first, second: month and day, or day and month; open: where that is not known.
    micros: since midnight, of UTC where a zone is said. kinds: how often each order of `SHAPES` was found, with the
    mark between its numbers. clock, zone: whether a time of day, and a zone, was found.
    """

    year: np.ndarray
    first: np.ndarray
    second: np.ndarray
    micros: np.ndarray
    open: np.ndarray
    kinds: dict[tuple[str, str], int] = field(default_factory=dict)
    clock: bool = False
    zone: bool = False

    def instants(self, *, day_first: bool) -> tuple[np.ndarray, np.ndarray]:
        """Microseconds since 1970 as int64 [N], and which of them are [N]; an open date is read as told."""
        swap = self.open & day_first
        month = np.where(swap, self.second, self.first)
        day = np.where(swap, self.first, self.second)
        good = (self.year > 0) & (month >= 1) & (month <= 12) & (day >= 1)
        months = np.where(good, (self.year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
        begin, end = (
            at.astype("datetime64[D]").astype(np.int64) for at in (months, months + np.timedelta64(1, "M"))
        )
        good &= day <= end - begin
        return (begin + day - 1) * (86_400 * MICROS) + self.micros, good


def read_dates(texts: pa.LargeStringArray) -> Dates:
    """What each of these texts says, blanks at the ends left out; anything at all may be among them."""
    count = len(texts)
    year, first, second, micros = np.zeros((4, count), np.int64)
    dates = Dates(year, first, second, micros, np.zeros(count, bool))
    _, offsets, content = texts.buffers()
    if content is None or not count:
        return dates
    data = np.frombuffer(content, np.uint8)
    begins = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + count + 1]
    lengths = np.diff(begins)
    for width in np.unique(lengths[(lengths >= SHORTEST) & (lengths <= LONGEST)]):
        rows = np.flatnonzero(lengths == width)
        for at in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[at : at + ROWS_AT_ONCE]
            _read_rows(dates, some, data[begins[some, None] + np.arange(width)])
    return dates


_CLASS = np.arange(256, dtype=np.uint8)
_CLASS[ord("0") : ord("9") + 1] = ord("9")
_CLASS[ord("a") : ord("z") + 1] = _CLASS[ord("A") : ord("Z") + 1] = ord("a")


def _read_rows(dates: Dates, rows: np.ndarray, texts: np.ndarray) -> None:
    """Fill in what texts of one length say, a matrix of bytes [N, length]."""
    for same, shape in _by_shape(_CLASS[texts]):
        for kind, pattern in SHAPES.items():
            if match := pattern.fullmatch(shape):
                _read_shape(dates, kind, match, rows[same], texts[same])
                break


def _by_shape(classes: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
    """The rows of each shape, and the shape; the first MAX_SHAPES of them."""
    left = np.arange(len(classes))
    for _ in range(MAX_SHAPES):
        if not len(left):
            return
        same = (classes[left] == classes[left[0]]).all(axis=1)
        yield left[same], classes[left[0]].tobytes().decode("latin-1")
        left = left[~same]


def _read_shape(dates: Dates, kind: str, match: re.Match[str], rows: np.ndarray, texts: np.ndarray) -> None:
    """Fill in what texts of one shape say."""
    parts = {name for name, text in match.groupdict().items() if text is not None}
    zero = np.zeros(len(rows), np.int64)

    def number(name: str) -> np.ndarray:
        return _number(texts, *match.span(name)) if name in parts else zero

    def word(name: str) -> np.ndarray:
        return _word(texts, *match.span(name), _WORDS[name]) if name in parts else zero

    year, hour, fraction = number("year"), number("hour"), match["fraction"] if "fraction" in parts else ""
    if match.end("year") - match.start("year") == 2:
        year += np.where(year < 69, 2000, 1900)  # as POSIX has it
    good = (word("name") >= 0) & (word("weekday") >= 0) & (word("T") >= 0) & (word("utc") >= 0)
    if "half" in parts:
        half = word("half")
        good &= (half >= 0) & (hour >= 1) & (hour <= 12)
        hour = hour % 12 + half
    seconds = hour * 3600 + number("minute") * 60 + number("second_of_minute")
    good &= (hour < 24) & (number("minute") < 60) & (number("second_of_minute") < 60)
    offset = number("zone_hour") * 3600 + number("zone_minute") * 60
    good &= (number("zone_hour") < 24) & (number("zone_minute") < 60)
    if "sign" in parts:
        offset = np.where(texts[:, match.start("sign")] == ord("-"), -offset, offset)
    micros = number("fraction") * 10**6 // 10 ** len(fraction)
    rows = rows[good]
    dates.year[rows] = year[good]
    dates.micros[rows] = ((seconds - offset) * MICROS + micros)[good]
    dates.open[rows] = "first" in parts
    month = word("name") if "name" in parts else number("first" if "first" in parts else "month")
    dates.first[rows] = month[good]
    dates.second[rows] = (
        number("second") if "first" in parts else number("day") if "day" in parts else zero + 1
    )[good]
    if len(rows):
        key = (kind, match.groupdict().get("mark") or "")
        dates.kinds[key] = dates.kinds.get(key, 0) + len(rows)
        dates.clock |= "hour" in parts
        dates.zone |= bool({"utc", "sign"} & parts)


def _number(texts: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The whole number in columns of digits."""
    total = np.zeros(len(texts), np.int64)
    for column in range(start, stop):
        total = total * 10 + (texts[:, column] - ord("0"))
    return total


def _word(texts: np.ndarray, start: int, stop: int, known: Mapping[bytes, int]) -> np.ndarray:
    """What a table says of the words in these columns, in any case; -1 for a word that it lacks."""
    # Setting the sixth bit makes small letters of capitals and leaves a full stop as it is.
    letters = np.ascontiguousarray(texts[:, start:stop] | 0x20).view(f"S{stop - start}")[:, 0]
    meaning = np.full(len(texts), -1)
    for word, value in known.items():
        if len(word) == stop - start:
            meaning[letters == word] = value
    return meaning
