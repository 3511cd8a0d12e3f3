"""The page that teaches why the fast backend is fast: a rung of the ladder each, from the slowest up."""

from collections.abc import Mapping, Sequence
from typing import Any

from neuroforge_jax.report import page
from neuroforge_jax.report.bench_page import duration
from neuroforge_jax.report.charts import Bar, bar_chart, short
from neuroforge_jax.system.memory import text as bytes_text

MOST_INSTRUCTIONS = 40

LEAD = (
    "Every rung trains the same network to the same numbers. What differs is how the work reaches the machine: how "
    "many times something is launched for a step, how many bytes move, and how wide the numbers are."
)


def explain_page(rungs: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    """rungs: as `benchmarking.explain` has them; record: that of the measurement."""
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
            f"{rung['ratio']['median']:.3g} ×" if rung["ratio"] else "",
        )
        for rung in rungs
    ]
    sections = [
        page.paragraph(LEAD),
        page.figure(
            bar_chart(bars, title="samples a second"), f"samples a second; × is against {rungs[0]['name']}"
        ),
        page.section("Side by side", _table(rungs)),
        *(page.section(rung["name"].capitalize(), _rung(rung)) for rung in rungs),
    ]
    return page.document("The ladder explained", lead, sections)


def _table(rungs: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    before = None
    for rung in rungs:
        step = rung["seconds_per_step"]["median"]
        rows.append(
            (
                rung["name"],
                duration(step),
                "–" if before is None else f"{before / step:.2f} ×",
                f"{rung['launches']:,}",
                f"{short(rung['flops'])}FLOP" if rung["flops"] else "–",
                bytes_text(rung["bytes"]) if rung["bytes"] else "–",
                f"{rung['share_of_peak']:.0%}",
            )
        )
        before = step
    headings = ["rung", "a step", "over the one before", "launched", "computed", "moved", "of peak"]
    note = (
        "Launched: operations that Python dispatches, or instructions of the compiled step that are more "
        "than a name. Computed: as XLA counts operations before it chooses libraries. Moved: operands and "
        "results of what is launched, as XLA counts them, or as the step's own equations say where each runs "
        "alone; caches do the rest."
    )
    return page.table(headings, rows) + page.paragraph(note)


def _rung(rung: Mapping[str, Any]) -> str:
    parts = [page.words(rung["does"]), *(page.code(code["lines"], code["where"]) for code in rung["code"])]
    program = rung["program"]
    if program:
        kinds = ", ".join(f"{count} {kind}" for kind, count in rung["kinds"].items())
        lines = [
            f"{one['kind']:<15}{one['shape'][:34]:<36}{one['source'][:44] or one['name'][:44]}"
            for one in program[:MOST_INSTRUCTIONS]
        ]
        if len(program) > MOST_INSTRUCTIONS:
            lines.append(f"… {len(program) - MOST_INSTRUCTIONS} more")
        parts.append(page.code("\n".join(lines), f"the optimised program of a step: {kinds}"))
    else:
        told = (
            f"there is no program of a step: its {rung['operations']} equations are dispatched one by one, "
            f"and move {bytes_text(rung['unfused_bytes'])}"
        )
        parts.append(page.paragraph(told))
    if rung["next"]:
        parts.append(page.words(f"The next rung: {rung['next'][0].lower()}{rung['next'][1:]}"))
    return "\n".join(parts)
