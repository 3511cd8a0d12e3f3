"""What charts are made of, as SVG: markers, text with the place that it needs, legends, the drawing around them.

Colours are the page's variables, so that a chart follows the reader's theme. The place that words need is estimated
from their characters (`estimate_width`): nothing here knows the reader's font, and no two words may overlap.
"""

from collections.abc import Sequence

from neuroforge_jax.report.formats import spell_controls
from neuroforge_jax.report.page import escape_text
from neuroforge_jax.report.series import Look

WIDTH, HEIGHT = 560, 330
RIGHT, TOP, BOTTOM = 16, 14, 44
FONT_SIZE = 12
LINE_HEIGHT = 15
LEGEND_ROW = 18
LEGEND_KEY = 30
"""Width of a legend's sample of line and marker, with the gap after it."""
LONGEST_NAME = 44


def draw_svg(title: str, height: float, parts: Sequence[str]) -> str:
    """The drawing around its parts; the title is read by those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape_text(title)}">'
        f"<title>{escape_text(title)}</title>\n" + "\n".join(parts) + "\n</svg>"
    )


def draw_marker(look: Look, x: float, y: float, *, size: float = 2.8, tooltip: str = "") -> str:
    """A marker around this place. size: half its width."""
    outlines = {
        "square": f"M{x - size:.1f} {y - size:.1f}h{2 * size:.1f}v{2 * size:.1f}h{-2 * size:.1f}z",
        "triangle": f"M{x:.1f} {y - 1.2 * size:.1f}l{1.2 * size:.1f} {2.2 * size:.1f}h{-2.4 * size:.1f}z",
        "triangle down": f"M{x:.1f} {y + 1.2 * size:.1f}l{1.2 * size:.1f} {-2.2 * size:.1f}h{-2.4 * size:.1f}z",
        "diamond": f"M{x:.1f} {y - 1.4 * size:.1f}l{1.4 * size:.1f} {1.4 * size:.1f}"
        f"l{-1.4 * size:.1f} {1.4 * size:.1f}l{-1.4 * size:.1f} {-1.4 * size:.1f}z",
    }
    if look.marker == "circle":
        tag, shape = "circle", f'cx="{x:.1f}" cy="{y:.1f}" r="{size}"'
    else:
        tag, shape = "path", f'd="{outlines[look.marker]}"'
    inner = f"<title>{escape_text(tooltip)}</title>" if tooltip else ""
    return f'<{tag} class="marker" {shape} style="fill:{colour_of(look)}">{inner}</{tag}>'


def colour_of(look: Look) -> str:
    """The page's variable."""
    return f"var(--c{look.colour})"


def style_line(look: Look) -> str:
    """Of a line in this look."""
    dashes = f";stroke-dasharray:{' '.join(map(str, look.dash))}" if look.dash else ""
    return f"fill:none;stroke:{colour_of(look)};stroke-width:2{dashes}"


def draw_text(x: float, y: float, content: str, anchor: str, *, soft: bool = True, halo: bool = False) -> str:
    """Words at a place. soft: in the colour of what is beside; halo: readable over lines."""
    classes = " ".join(name for name, wanted in (("soft", soft), ("halo", halo)) if wanted)
    attribute = f'class="{classes}" ' if classes else ""
    return f'<text {attribute}x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape_text(content)}</text>'


# The legend.


def draw_legend(entries: Sequence[tuple[str, Look]], left: float, *, lines: bool) -> tuple[list[str], int]:
    """The drawing below a chart, and the height it adds. lines: with a piece of each line behind its marker."""
    parts: list[str] = []
    row, x = 0, left
    for name, look in entries:
        shown = shorten(name, LONGEST_NAME)
        width = LEGEND_KEY + estimate_width(shown) + 14
        if x > left and x + width > WIDTH:
            row, x = row + 1, left
        y = HEIGHT + 4 + LEGEND_ROW * row
        if lines:
            parts.append(f'<path class="key" d="M{x:.1f} {y + 5}h24" style="{style_line(look)}"/>')
        parts.append(draw_marker(look, x + 12, y + 5, size=4))
        parts.append(draw_text(x + LEGEND_KEY, y + 9, shown, "start", soft=False))
        x += width
    return parts, LEGEND_ROW * (row + 1) if entries else 0


# Words.

CHARACTER_WIDTHS = (("ijl.,:;|'! ", 0.33), ("ftrI()[]/-", 0.44), ("mwMW%@—", 1.0))
"""In parts of the font's size, by the widest of the usual fonts. Capitals take 0.76, all else 0.65."""


def estimate_width(content: str, size: float = FONT_SIZE) -> float:
    """How wide a text is at most, in the drawing's units."""
    return size * sum(map(_character_width, content))


def _character_width(character: str) -> float:
    for characters, width in CHARACTER_WIDTHS:
        if character in characters:
            return width
    if ord(character) >= 0x1100:
        return 1.0  # wide scripts
    return 0.76 if character.isupper() else 0.65


def shorten(name: str, length: int) -> str:
    """At most so many characters, with an ellipsis where some are left out."""
    name = spell_controls(name)
    return name if len(name) <= length else name[: max(length - 1, 1)] + "…"


def shorten_to_width(name: str, width: float) -> str:
    """The most characters that fit, and one at least."""
    name = spell_controls(name)
    length = next(
        (length for length in range(len(name), 1, -1) if estimate_width(shorten(name, length)) <= width), 1
    )
    return name[:1] if length == 1 else shorten(name, length)
