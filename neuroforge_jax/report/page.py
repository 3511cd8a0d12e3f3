"""One HTML page that needs nothing else: no network, no script; in light and dark, on a phone and on paper.

Whatever comes from a run, a dataset or a record goes through `escape_text`; all else is written here.
"""

from collections.abc import Iterable, Sequence
from html import escape

from neuroforge_jax.report.formats import spell_controls
from neuroforge_jax.report.series import DARK, LIGHT


def declare_colours(colours: Sequence[str]) -> str:
    """As variables of a style sheet: `--c0: #0072b2; --c1: …`."""
    return " ".join(f"--c{index}: {colour};" for index, colour in enumerate(colours))


COLOURS = f"""
:root {{ color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --panel: #f6f8fa;
  --line: #d1d9e0; {declare_colours(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e6edf3; --soft: #9aa5b1; --paper: #0d1117; --panel: #161b22;
  --line: #30363d; {declare_colours(DARK)} }} }}
"""
STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
.lead, figcaption, .note { color: var(--soft); }
.lead { margin: 0 0 1.2rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: .85rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.2rem; }
figure { margin: 0; min-width: 0; }
figcaption { font-size: .85rem; margin-top: .2rem; }
svg { display: block; width: 100%; max-width: 44rem; height: auto; font: 12px system-ui, sans-serif; }
svg text { fill: var(--ink); } svg .soft { fill: var(--soft); } svg .axis { stroke: var(--line); fill: none; }
svg .whisker { stroke: var(--ink); fill: none; }
svg .ideal { stroke: var(--soft); fill: none; stroke-dasharray: 5 4; } svg .cell { fill: var(--c0); }
svg .points { stroke: var(--c0); stroke-width: 5px; stroke-linecap: round; opacity: .55; }
svg .halo { stroke: var(--paper); stroke-width: 3px; paint-order: stroke; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .3rem .55rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th, td { white-space: nowrap; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem;
  margin: .2rem 0 1rem; overflow-x: auto; font: 12.5px/1.45 ui-monospace, monospace; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr)); gap: .8rem;
  margin-top: 1rem; }
.pictures img { width: 100%; image-rendering: pixelated; border: 1px solid var(--line); background: #000; }
.pictures figcaption { font-size: .75rem; overflow-wrap: anywhere; }
@media print { :root { color-scheme: light; } body { font-size: 11px; }
  pre { white-space: pre-wrap; } h2, figure { break-inside: avoid; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def escape_text(value: object) -> str:
    """Any value as text that HTML does not read as its own, and that leaves the words beside it where they are."""
    return escape(spell_controls(str(value)), quote=True)


def render_document(title: str, lead: str, sections: Iterable[str]) -> str:
    """The whole page. title, lead: not yet escaped. sections: HTML."""
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape_text(title)}</title>\n<style>{COLOURS}{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{escape_text(title)}</h1>\n<p class="lead">{escape_text(lead)}</p>\n'
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def render_section(heading: str, *parts: str) -> str:
    """A heading and what is under it; an empty string where there is nothing."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape_text(heading)}</h2>\n{content}\n</section>" if content else ""


def render_figure(drawing: str, caption: str) -> str:
    """A drawing with what it shows."""
    return f"<figure>\n{drawing}\n<figcaption>{escape_text(caption)}</figcaption>\n</figure>"


def render_grid(figures: Sequence[str]) -> str:
    """Side by side where there is room."""
    return '<div class="grid">\n' + "\n".join(figures) + "\n</div>" if figures else ""


def render_tiles(facts: Iterable[tuple[str, str]]) -> str:
    """A few large numbers: (value, its name)."""
    inner = "\n".join(
        f'<div class="tile"><b>{escape_text(value)}</b><span>{escape_text(name)}</span></div>'
        for value, name in facts
    )
    return f'<div class="tiles">\n{inner}\n</div>'


def render_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, words: bool = False) -> str:
    """A table that scrolls within itself. words: its cells hold text, not numbers."""
    head = "".join(f"<th>{escape_text(heading)}</th>" for heading in headings)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape_text(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    kind = "table words" if words else "table"
    return (
        f'<div class="{kind}"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def render_pictures(images: Iterable[tuple[str, str]]) -> str:
    """Small pictures with a caption each: (PNG in base64, caption)."""
    inner = "\n".join(
        f'<figure><img alt="{escape_text(caption)}" src="data:image/png;base64,{escape_text(png)}">'
        f"<figcaption>{escape_text(caption)}</figcaption></figure>"
        for png, caption in images
    )
    return f'<div class="pictures">\n{inner}\n</div>'


def render_code(lines: str, caption: str) -> str:
    """Lines of code, unchanged, in a box that scrolls within itself."""
    return f"<figure>\n<figcaption>{escape_text(caption)}</figcaption>\n<pre>{escape_text(lines)}</pre>\n</figure>"


def render_paragraph(sentences: str) -> str:
    """A paragraph that is part of the argument."""
    return f"<p>{escape_text(sentences)}</p>"


def render_note(sentences: str) -> str:
    """A paragraph beside the argument, in a softer colour."""
    return f'<p class="note">{escape_text(sentences)}</p>'
