"""The page that teaches why the fast backend is fast: a section for each rung of the ladder, the slowest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from neuroforge_jax.report import page
from neuroforge_jax.report.charts import Bar, draw_bar_chart
from neuroforge_jax.report.formats import format_bytes, format_duration, format_quantity, format_speed

MOST_INSTRUCTIONS = 40

LEAD = (
    "Every rung trains the same network and gets the same numbers. What differs is how the work reaches the "
    "machine: how often something is launched in a step, how many bytes move, and how wide the numbers are."
)


def render_explain_page(rungs: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    """The whole page. rungs: as `benchmarking.explain` collects them. record: of the measurement."""
    environment, case = record["environment"], record["cases"][0]
    widths = "-".join(map(str, case["widths"]))
    lead = (
        f"{widths}, batch {case['batch_size']}, on {environment['device']}, jax {environment['versions']['jax']}, "
        f"{record['date']}"
    )
    bars = [
        Bar(
            rung["name"],
            rung["samples_per_second"],
            tuple(case["batch_size"] / value for value in reversed(rung["seconds_per_step"]["interval"])),
            format_speed(rung["ratio"]["median"]) if rung["ratio"] else "",
        )
        for rung in rungs
    ]
    sections = [
        page.render_note(LEAD),
        page.render_figure(
            draw_bar_chart(bars, title="samples per second"),
            f"samples per second; faster or slower than {rungs[0]['name']}",
        ),
        page.render_section("Side by side", _compare_rungs(rungs)),
        *(page.render_section(rung["name"].capitalize(), _render_rung(rung)) for rung in rungs),
    ]
    return page.render_document("The ladder explained", lead, sections)


def _compare_rungs(rungs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    before = None
    for rung in rungs:
        step = rung["seconds_per_step"]["median"]
        rows.append(
            (
                rung["name"],
                format_duration(step),
                "–" if before is None else format_speed(before / step),
                f"{rung['launches']:,}",
                format_quantity(rung["flops"], "FLOP") if rung["flops"] else "–",
                format_bytes(rung["bytes"]) if rung["bytes"] else "–",
                f"{rung['share_of_peak']:.0%}",
            )
        )
        before = step
    headings = ["rung", "step time", "vs the rung before", "launched", "computed", "moved", "of peak"]
    note = (
        "Launched: the operations that Python dispatches, or the instructions of the compiled step that do work. "
        "Computed: operations as XLA counts them before it chooses libraries. Moved: operands and results of what "
        "is launched, as XLA counts them; where each equation of the step runs alone, as the equations say. Caches "
        "keep part of that from reaching memory."
    )
    return page.render_table(headings, rows) + page.render_note(note)


def _render_rung(rung: Mapping[str, Any]) -> str:
    parts = [
        page.render_paragraph(rung["does"]),
        *(page.render_code(code["lines"], code["where"]) for code in rung["code"]),
    ]
    program = rung["program"]
    if program:
        kinds = ", ".join(f"{count} {kind}" for kind, count in rung["kinds"].items())
        lines = [
            f"{one['kind']:<15}{one['shape'][:34]:<36}{one['source'][:44] or one['name'][:44]}"
            for one in program[:MOST_INSTRUCTIONS]
        ]
        if len(program) > MOST_INSTRUCTIONS:
            lines.append(f"… {len(program) - MOST_INSTRUCTIONS} more")
        parts.append(page.render_code("\n".join(lines), f"the optimised program of a step: {kinds}"))
    else:
        note = (
            f"A step is not one program: its {rung['operations']} equations are dispatched one by one, "
            f"and move {format_bytes(rung['unfused_bytes'])}."
        )
        parts.append(page.render_note(note))
    if rung["next"]:
        parts.append(page.render_paragraph(f"The next rung: {rung['next'][0].lower()}{rung['next'][1:]}"))
    return "\n".join(parts)
