"""Whether a text is a unit of measurement, such as `kg`, `[µmol/m2/s]`, `10^9/L` or `degC`."""

import re

_METRIC = """
    m g s A K mol cd Hz N Pa J W V F Ω ohm S T H Wb C lm lx Bq Gy Sv kat L l bar eV Wh VA Ah var t B b bit byte rad
    sr M Da cal
"""
"""Symbols that may have a prefix, as `kg` and `hPa`."""
_OTHERS = """
    % ‰ ° ′ ″ °C °F ℃ ℉ $ € £ ¥ US$ USD EUR GBP CHF JPY pH PSU ppm ppb ppt ppmv ppbv dB dBm dBZ NTU FNU IU U rpm bpm
    fps mph kn kt kts in ft yd mi nmi lb lbs oz gal psi atm Torr mmHg inHg mmH2O ha ac kWp min h hr hrs d yr yrs deg
    degC degF px UTC GMT
"""
_WORDS = """
    metre meter kilometre kilometer centimetre centimeter millimetre millimeter inch mile acre hectare gram kilogram
    milligram ounce pound second millisecond microsecond minute hour day week month year litre liter millilitre
    milliliter gallon volt watt kilowatt megawatt ampere amp pascal newton joule hertz kelvin celsius fahrenheit
    degree radian knot percent pct dollar euro mole candela lumen lux pixel count
"""
"""In any case, and in the plural too."""
_CODES = ("M", "T")
"""Molar and tesla alone: weather stations write them for what is missing, and for traces."""
_MOST_LETTERS = 30


def _any_of(words: str) -> str:
    return "|".join(map(re.escape, sorted(words.split(), key=len, reverse=True)))


_POWER = r"(?:\^|\*\*|[-−]|(?<=[mst])(?=[2-4]))[-−]?[1-9]|[⁻¹²³⁴]+"
_SYMBOL = (
    rf"(?:(?:da|[yzafpnuµμmcdhkMGTPEZY])?(?:{_any_of(_METRIC)})|{_any_of(_OTHERS)}"
    rf"|(?i:(?:{_any_of(_WORDS)})s?|feet|inches))(?:{_POWER})?"
)
_UNIT = re.compile(rf"(?:(?:1|10\^\d+)/)?{_SYMBOL}(?:(?: ?[/*·⋅×.] ?| per | ){_SYMBOL})*")


def is_unit(text: str) -> bool:
    """Whether a text is a known unit, or some multiplied or divided, in brackets or not."""
    if text[:1] + text[-1:] in ("[]", "()"):
        text = text[1:-1].strip()
    return len(text) <= _MOST_LETTERS and text not in _CODES and _UNIT.fullmatch(text) is not None
