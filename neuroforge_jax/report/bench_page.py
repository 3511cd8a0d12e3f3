"""A page about a benchmark's record: what was measured and on what, bars, curves, the roofline, every number."""

from collections.abc import Mapping, Sequence
from typing import Any

from neuroforge_jax.report import page
from neuroforge_jax.report.axes import Axis
from neuroforge_jax.report.charts import Bar, draw_bar_chart, draw_line_chart, draw_roofline
from neuroforge_jax.report.formats import (
    format_bytes,
    format_duration,
    format_percent,
    format_quantity,
    format_speed,
    format_speed_interval,
)
from neuroforge_jax.report.series import Series

Case = Mapping[str, Any]

MEMORY = ("peak_device_bytes", "peak_resident_bytes", "program_bytes")
"""Of a case, the first that is known: the device's peak, the process's, or what its program holds."""

METHOD = (
    "The candidates take turns, in a new order each round, so that whatever disturbs the machine disturbs all of "
    "them. Bars and curves show medians; whiskers, bands and ± show 95 % bootstrap intervals of the median. Speeds "
    "are compared round by round. Outliers are counted and kept."
)


def render_bench_page(record: Mapping[str, Any]) -> str:
    """The whole page, from the record alone."""
    cases = [case for case in record["cases"] if "skipped" not in case]
    skipped = [(case["name"], case["skipped"]) for case in record["cases"] if "skipped" in case]
    environment = record["environment"]
    lead = (
        f"{environment['device']}, Python {environment['python']}, jax {environment['versions']['jax']}, "
        f"{record['date']}; {record['command']}"
    )
    sections = [
        _render_peaks(record["ceiling"]),
        page.render_note(" ".join([METHOD, *(f"Note: {note}." for note in record.get("notes", ()))])),
        *(
            page.render_section(heading, page.render_grid(figures))
            for heading, figures in _draw_figures(cases)
        ),
        page.render_section("Roofline", _draw_roofline(cases, record["ceiling"])),
        page.render_section("Trainings", _render_trainings(cases)),
        page.render_section("Processes and runs", _render_processes(cases)),
        *(
            page.render_section(
                f"Where the time of {case['name']} goes", _render_operations(case["operations"])
            )
            for case in cases
            if case.get("operations")
        ),
        page.render_section("Goals", _render_goals(cases)),
        page.render_section("Claims", _render_claims(record.get("claims", ()))),
        page.render_section(
            "Not measured", page.render_table(["case", "reason"], skipped, words=True) if skipped else ""
        ),
        page.render_section(
            "Environment", page.render_table(["", ""], _flatten_environment(environment), words=True)
        ),
    ]
    return page.render_document(f"Benchmark: {record['suite']}", lead, sections)


def _render_peaks(peaks: Mapping[str, Any]) -> str:
    facts = [
        (format_quantity(rate, "FLOP/s"), f"best {dtype} matrix product")
        for dtype, rate in peaks["matmul_flops_per_second"].items()
    ]
    sizes = peaks["bytes_per_second"]
    facts += [
        (format_quantity(rate, "B/s"), f"memory, working set of {format_bytes(size)}")
        for size, rate in (sizes[0], sizes[-1])
    ]
    facts.append((format_duration(peaks["dispatch_seconds"]), "one dispatch"))
    return page.render_tiles(facts)


def _draw_figures(cases: Sequence[Case]) -> list[tuple[str, list[str]]]:
    """By heading, a bar chart for each set of candidates, or curves where a group has an axis."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case["group"], []).append(case)
    found = []
    for group, members in groups.items():
        axes = {name for case in members for name in case["axis"]}
        if len(axes) == 1 and len({tuple(case["axis"].values()) for case in members}) > 2:
            figures = _draw_curves(members, axes.pop())
        else:
            sets: dict[str, list[Case]] = {}
            for case in members:
                sets.setdefault(case["name"].rpartition("/")[0], []).append(case)
            figures = [_draw_bars(name, those) for name, those in sets.items()]
        found.append((group.capitalize(), figures))
    return found


def _draw_bars(name: str, cases: Sequence[Case]) -> str:
    if "seconds" in cases[0]:
        bars = [
            Bar(
                case["contender"],
                case["seconds"]["median"],
                tuple(case["seconds"]["interval"]),
                _format_accuracy(case),
            )
            for case in cases
        ]
        return page.render_figure(
            draw_bar_chart(bars, title=name, show=lambda value: f"{value:.3g} s"), f"{name}: seconds"
        )
    bars = []
    for case in cases:
        interval = case["seconds_per_step"].get("interval")
        rates = tuple(case["batch_size"] / value for value in reversed(interval)) if interval else None
        note = "published" if case.get("published") else _format_ratio(case)
        bars.append(Bar(case["contender"], case["samples_per_second"], rates, note))
    widths = "-".join(map(str, cases[0]["widths"]))
    caption = f"{name}: samples per second, {widths}, batch {cases[0]['batch_size']:,}"
    baseline = next((case["ratio"]["to"] for case in cases if case.get("ratio")), "")
    versus = f"; faster or slower than {baseline.rpartition('/')[2]}" if baseline else ""
    return page.render_figure(draw_bar_chart(bars, title=caption), caption + versus)


def _format_ratio(case: Case) -> str:
    return format_speed(case["ratio"]["median"]) if case.get("ratio") else ""


def _format_accuracy(case: Case) -> str:
    if case.get("rmse"):
        return f"RMSE {case['rmse']['mean']:.4g}"
    if case.get("r2"):
        return f"R² {case['r2']['mean']:.4f}"
    return f"{case['accuracy']['mean']:.2%}" if case.get("accuracy") else ""


def _draw_curves(cases: Sequence[Case], axis: str) -> list[str]:
    """Time of a step, share of the peak and memory of the program over the axis."""
    times, shares, sizes = [], [], []
    for name in dict.fromkeys(case["contender"] for case in cases):
        own = sorted(
            (case for case in cases if case["contender"] == name), key=lambda case: case["axis"][axis]
        )
        places = [case["axis"][axis] for case in own]
        steps = [case["seconds_per_step"] for case in own]
        low, high = ([step["interval"][end] for step in steps] for end in (0, 1))
        times.append(Series(name, places, [step["median"] for step in steps], low, high))
        shares.append(Series(name, places, [case["share_of_peak"] for case in own]))
        if all(case.get("program_bytes") for case in own):
            sizes.append(Series(name, places, [case["program_bytes"] for case in own]))
    label = axis.replace("_", " ")

    def draw(series: Sequence[Series], y: Axis, caption: str) -> str:
        drawing = draw_line_chart(series, Axis(label, log=True), y, title=f"{y.label} by {label}")
        return page.render_figure(drawing, caption)

    figures = [
        draw(
            times,
            Axis("seconds per step", log=True),
            f"seconds per step by {label}, both axes logarithmic",
        ),
        draw(
            shares,
            Axis("share of peak", show=format_percent),
            f"share of the measured matrix-product peak by {label}",
        ),
    ]
    if sizes:
        in_bytes = Axis("memory", log=True, show=format_bytes)
        figures.append(draw(sizes, in_bytes, f"memory of the program by {label}, the samples included"))
    return figures


def _draw_roofline(cases: Sequence[Case], peaks: Mapping[str, Any]) -> str:
    points = [
        (
            case["name"],
            case["contender"],
            case["flops_per_step"] / case["bytes_per_step"],
            case["flops_per_second"],
        )
        for case in cases
        if case.get("bytes_per_step") and case.get("flops_per_second")
    ]
    if not points:
        return ""
    bandwidth = max(rate for _, rate in peaks["bytes_per_second"])
    drawing = draw_roofline(peaks["matmul_flops_per_second"], bandwidth, points, title="roofline")
    caption = (
        "each training's operations per second over its operations per byte that must move; the flat roofs are the "
        "measured peaks, the slope is the bandwidth of the fastest memory, a cache"
    )
    return page.render_figure(drawing, caption)


def _render_trainings(cases: Sequence[Case]) -> str:
    trainings = [case for case in cases if "seconds_per_step" in case]
    headings = (
        "case", "step time", "±", "samples/s", "of peak", "of roofline", "vs baseline", "95 % interval",
        "compilation", "first step", "memory", "outliers",
    )  # fmt: skip
    return page.render_table(headings, map(_format_training, trainings)) if trainings else ""


def _format_training(case: Case) -> list[str]:
    step, ratio = case["seconds_per_step"], case.get("ratio")
    interval = step.get("interval")
    spread = (
        f"{(interval[1] - interval[0]) / 2 / step['median']:.1%}" if interval else case.get("published", "")
    )
    memory = next((case[name] for name in MEMORY if case.get(name)), None)
    return [
        case["name"],
        format_duration(step["median"]),
        spread,
        f"{case['samples_per_second']:,.0f}",
        f"{case['share_of_peak']:.0%}" if case.get("share_of_peak") else "–",
        f"{case['share_of_roofline']:.0%}" if case.get("share_of_roofline") else "–",
        _format_ratio(case) or "–",
        format_speed_interval(*ratio["interval"]) if ratio else "–",
        format_duration(case["compile_seconds"]) if case.get("compile_seconds") else "–",
        format_duration(case["first_step_seconds"]) if case.get("first_step_seconds") else "–",
        format_bytes(memory) if memory else "–",
        f"{step['outliers']} of {step['repetitions']}" if interval else "–",
    ]


def _render_processes(cases: Sequence[Case]) -> str:
    rows = [
        (
            case["name"],
            format_duration(case["seconds"]["median"]),
            " to ".join(map(format_duration, case["seconds"]["interval"])),
            f"{case['seconds']['repetitions']}",
            _format_accuracy(case) or "–",
            _format_ratio(case) or "–",
        )
        for case in cases
        if "seconds" in case
    ]
    headings = ["case", "median", "95 % interval", "repetitions", "accuracy", "vs baseline"]
    return page.render_table(headings, rows) if rows else ""


def _render_operations(operations: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            operation["name"],
            operation["source"],
            format_duration(operation["seconds_per_step"]),
            f"{operation['share']:.1%}",
        )
        for operation in operations
    ]
    lead = page.render_note("The longest operations of a step. Tracing slows them down.")
    return lead + page.render_table(["operation", "source", "time per step", "share"], rows, words=True)


def _render_goals(cases: Sequence[Case]) -> str:
    rows = [
        (
            case["name"],
            goal["what"],
            goal["wanted"],
            goal["found"],
            "reached" if goal["reached"] else "missed",
        )
        for case in cases
        for goal in case.get("goals", ())
    ]
    headings = ["case", "what", "wanted", "found", "verdict"]
    return page.render_table(headings, rows, words=True) if rows else ""


def _render_claims(claims: Sequence[Mapping[str, str]]) -> str:
    rows = [(claim["claim"], claim["baseline"], claim["measured"], claim["verdict"]) for claim in claims]
    headings = ["the original claims", "measured on", "found", "verdict"]
    return page.render_table(headings, rows, words=True) if rows else ""


def _flatten_environment(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _flatten_environment(value, f"{before}{name}: ")
        else:
            rows.append((f"{before}{name}".replace("_", " "), "–" if value is None else str(value)))
    return rows
