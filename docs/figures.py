"""The figures of the documentation, drawn from the records in benchmarks/."""

from collections.abc import Callable, Mapping

from records import Records, named, processor, rounded, timed

from neuroforge_jax.report.charts import Bar, draw_bar_chart
from neuroforge_jax.report.marks import WIDTH, draw_svg
from neuroforge_jax.report.page import declare_colours
from neuroforge_jax.report.series import DARK, LIGHT

STYLE = f"""<style>
  svg {{ {declare_colours(LIGHT[:2])} --ink: #1b1f24; --soft: #59636e; font: 12px system-ui, sans-serif; }}
  @media (prefers-color-scheme: dark) {{ svg {{ {declare_colours(DARK[:2])} --ink: #e6edf3; --soft: #9aa5b1; }} }}
  text {{ fill: var(--ink); white-space: pre; }} .soft {{ fill: var(--soft); }}
  .whisker {{ stroke: var(--ink); fill: none; }}
</style>"""


def ladder_figure(records: Records) -> str:
    """The ladder of backends as bars of samples a second, from zero: a drawing on its own."""
    record = records("bench_ladder.json")
    bars = []
    for case in timed(record["cases"]):
        if not case.get("published"):
            low, high = case["seconds_per_step"]["interval"]
            batch = case["batch_size"]
            note = (
                f"{case['ratio']['median']:.1f} × {record['cases'][0]['contender']}"
                if case.get("ratio")
                else ""
            )
            label = case["contender"] if case.get("backend") else named(case["contender"])
            bars.append(Bar(label, case["samples_per_second"], (batch / high, batch / low), note))
    widths = "-".join(map(str, record["cases"][0]["widths"]))
    title = f"Samples a second of {widths} at batch {record['cases'][0]['batch_size']}, {processor(record)}"
    return as_file(draw_bar_chart(bars, title=title, show=rounded))


LANE, LEFT, TOP = 46, 84, 34
"""Height of a lane, where it begins, and the height of the words above the lanes."""


def overlap_figure(records: Records) -> str:
    """When chunks were read and when the device computed on them: a lane each, from a trace."""
    record = records("overlap.json")["batch 64"]
    spans, shown = record["trace"], record["of_the_ideal"]
    end = max(stop for lane in spans.values() for _, stop in lane)
    across = (WIDTH - LEFT - 16) / end
    parts = []
    for at, (lane, title) in enumerate((("read", "thread reads"), ("compute", "device"))):
        y = TOP + at * LANE
        parts.append(f'<text x="0" y="{y + 19}">{title}</text>')
        parts += [
            f'<rect x="{LEFT + begin * across:.1f}" y="{y}" width="{max((stop - begin) * across, 1):.1f}" '
            f'height="28" rx="2" style="fill:var(--c{at})"/>'
            for begin, stop in spans[lane]
        ]
    below = TOP + 2 * LANE
    for tick in range(int(10 * end) + 1):
        x = LEFT + tick / 10 * across
        parts.append(
            f'<text class="soft" x="{x:.1f}" y="{below + 8}" text-anchor="middle">{100 * tick}</text>'
        )
    parts.append(
        f'<text class="soft" x="{WIDTH - 16}" y="{below + 26}" text-anchor="end">milliseconds</text>'
    )
    title = (
        f"Reading and computing overlap: {shown['async']['median']:.0%} of the ideal, and "
        f"{shown['one after the other']['median']:.0%} one after the other"
    )
    parts.append(f'<text x="0" y="14">{title}</text>')
    return as_file(draw_svg(title, below + 34, parts))


def as_file(drawing: str) -> str:
    """A drawing of a page as a file of its own, with its colours by day and by night."""
    tag = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
    return drawing.replace("<svg ", tag, 1).replace("</title>\n", f"</title>\n{STYLE}\n", 1) + "\n"


FIGURES: Mapping[str, Callable[[Records], str]] = {
    "docs/ladder.svg": ladder_figure,
    "docs/overlap.svg": overlap_figure,
}
