"""One HTML page that needs nothing else: no network, no script; in light and dark, on a phone and on paper.

Whatever comes from a run, a dataset or a record goes through `text`, which escapes it; all else here is ours.
"""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --panel: #f6f8fa;
  --line: #d1d9e0; --c0: #0072b2; --c1: #d55e00; --c2: #00805c; --c3: #a8508a; --c4: #8a6d00; --c5: #3f8fc4;
  --c6: #6e6e6e; --c7: #7a3e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --paper: #0d1117; --panel: #161b22;
  --line: #30363d; --c0: #56b4e9; --c1: #ff9e4a; --c2: #3fcf9b; --c3: #e39ccb; --c4: #e6c84f; --c5: #9ccdf2;
  --c6: #b0b0b0; --c7: #d9a066; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
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
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th, td { white-space: nowrap; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem;
  margin: .2rem 0 1rem; overflow-x: auto; font: 12.5px/1.45 ui-monospace, monospace; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(6.2rem, 1fr)); gap: .8rem; }
.pictures img { width: 100%; image-rendering: pixelated; border: 1px solid var(--line); background: #000; }
.pictures figcaption { font-size: .75rem; overflow-wrap: anywhere; }
@media print { :root { color-scheme: light; } body { font-size: 11px; }
  pre { white-space: pre-wrap; } h2, figure { break-inside: avoid; } }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def text(value: object) -> str:
    """Escaped, whatever it is."""
    return escape(str(value), quote=True)


def document(title: str, lead: str, sections: Iterable[str]) -> str:
    """The whole page. title, lead: not yet escaped; sections: HTML of ours."""
    body = "\n".join(sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{text(title)}</h1>\n<p class="lead">{text(lead)}</p>\n{body}\n</main>\n</body>\n</html>\n'
    )


def section(heading: str, *parts: str) -> str:
    """A heading and what is under it; nothing at all where there is nothing."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{text(heading)}</h2>\n{content}\n</section>" if content else ""


def figure(drawing: str, caption: str) -> str:
    """A drawing with what it shows."""
    return f"<figure>\n{drawing}\n<figcaption>{text(caption)}</figcaption>\n</figure>"


def grid(figures: Sequence[str]) -> str:
    """Side by side where there is room."""
    return '<div class="grid">\n' + "\n".join(figures) + "\n</div>" if figures else ""


def tiles(facts: Iterable[tuple[str, str]]) -> str:
    """A few large numbers: (value, what it is)."""
    inner = "\n".join(
        f'<div class="tile"><b>{text(value)}</b><span>{text(name)}</span></div>' for value, name in facts
    )
    return f'<div class="tiles">\n{inner}\n</div>'


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, words: bool = False) -> str:
    """A table that scrolls within itself. words: of text, not of numbers."""
    head = "".join(f"<th>{text(heading)}</th>" for heading in headings)
    body = "\n".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = "table words" if words else "table"
    return (
        f'<div class="{kind}"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def pictures(images: Iterable[tuple[str, str]]) -> str:
    """Small pictures with a caption each: (PNG in base64, caption)."""
    inner = "\n".join(
        f'<figure><img alt="{text(caption)}" src="data:image/png;base64,{text(png)}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
        for png, caption in images
    )
    return f'<div class="pictures">\n{inner}\n</div>'


def code(lines: str, caption: str) -> str:
    """Lines of code as they are, in a box that scrolls within itself."""
    return f"<figure>\n<figcaption>{text(caption)}</figcaption>\n<pre>{text(lines)}</pre>\n</figure>"


def words(sentences: str) -> str:
    """A paragraph that is part of the argument."""
    return f"<p>{text(sentences)}</p>"


def paragraph(words: str) -> str:
    """A note in plain words."""
    return f'<p class="note">{text(words)}</p>'
