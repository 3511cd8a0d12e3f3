"""A page about a benchmark's record: what was measured and on what, bars, curves, the roofline, every number."""

from collections.abc import Mapping, Sequence
from typing import Any

from neuroforge_jax.report import page
from neuroforge_jax.report.charts import (
    Axis,
    Bar,
    Series,
    bar_chart,
    line_chart,
    percent,
    roofline_chart,
    short,
)
from neuroforge_jax.system.memory import text as bytes_text

Case = Mapping[str, Any]

MEMORY = ("peak_device_bytes", "peak_resident_bytes", "program_bytes")
"""Of a case, the first that is known: the device's peak, the process's, or what its program holds."""

EXPLAINED = (
    "A contender's turns alternate with those of the others, in a new order each round, so that what disturbs the "
    "machine disturbs them all. Bars and curves are medians; whiskers, bands and ± are 95 % bootstrap intervals of "
    "the median. Ratios are taken round by round. Outliers are counted and kept."
)


def bench_page(record: Mapping[str, Any]) -> str:
    """The whole page, from the record alone."""
    cases = [case for case in record["cases"] if "skipped" not in case]
    skipped = [(case["name"], case["skipped"]) for case in record["cases"] if "skipped" in case]
    environment = record["environment"]
    lead = (
        f"{environment['device']}, Python {environment['python']}, jax {environment['versions']['jax']}, "
        f"{record['date']}; {record['command']}"
    )
    sections = [
        _ceiling(record["ceiling"]),
        page.paragraph(" ".join([EXPLAINED, *(f"Note: {note}." for note in record.get("notes", ()))])),
        *(page.section(heading, page.grid(figures)) for heading, figures in _figures(cases)),
        page.section("Roofline", _roofline(cases, record["ceiling"])),
        page.section("Trainings", _trainings(cases)),
        page.section("Processes and runs", _others(cases)),
        *(
            page.section(f"Where the time of {case['name']} goes", _operations(case["operations"]))
            for case in cases
            if case.get("operations")
        ),
        page.section("Claims", _claims(record.get("claims", ()))),
        page.section("Not measured", page.table(["case", "reason"], skipped, words=True) if skipped else ""),
        page.section("Environment", page.table(["", ""], _environment(environment), words=True)),
    ]
    return page.document(f"Benchmark: {record['suite']}", lead, sections)


def _ceiling(ceiling: Mapping[str, Any]) -> str:
    facts = [
        (f"{short(rate)}FLOP/s", f"best {dtype} matrix product")
        for dtype, rate in ceiling["matmul_flops_per_second"].items()
    ]
    sizes = ceiling["bytes_per_second"]
    facts += [
        (f"{short(rate)}B/s", f"memory, working set of {bytes_text(size)}")
        for size, rate in (sizes[0], sizes[-1])
    ]
    facts.append((f"{1e6 * ceiling['dispatch_seconds']:.3g} µs", "one dispatch"))
    return page.tiles(facts)


def _figures(cases: Sequence[Case]) -> list[tuple[str, list[str]]]:
    """By heading, a bar chart for each set of contenders, or curves where a group has an axis."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case["group"], []).append(case)
    found = []
    for group, members in groups.items():
        axes = {name for case in members for name in case["axis"]}
        if len(axes) == 1 and len({tuple(case["axis"].values()) for case in members}) > 2:
            figures = _lines(members, axes.pop())
        else:
            sets: dict[str, list[Case]] = {}
            for case in members:
                sets.setdefault(case["name"].rpartition("/")[0], []).append(case)
            figures = [_bars(name, those) for name, those in sets.items()]
        found.append((group.capitalize(), figures))
    return found


def _bars(name: str, cases: Sequence[Case]) -> str:
    if "seconds" in cases[0]:
        bars = [
            Bar(
                case["contender"],
                case["seconds"]["median"],
                tuple(case["seconds"]["interval"]),
                _reached(case),
            )
            for case in cases
        ]
        return page.figure(
            bar_chart(bars, title=name, show=lambda value: f"{value:.3g} s"), f"{name}: seconds"
        )
    bars = []
    for case in cases:
        interval = case["seconds_per_step"].get("interval")
        rates = tuple(case["batch_size"] / value for value in reversed(interval)) if interval else None
        ratio = f"{case['ratio']['median']:.3g} ×" if case.get("ratio") else ""
        published = "published" if case.get("published") else ratio
        bars.append(Bar(case["contender"], case["samples_per_second"], rates, published))
    widths = "-".join(map(str, cases[0]["widths"]))
    caption = f"{name}: samples a second, {widths}, batch {cases[0]['batch_size']:,}"
    baseline = next((case["ratio"]["to"] for case in cases if case.get("ratio")), "")
    versus = f"; × is against {baseline.rpartition('/')[2]}" if baseline else ""
    return page.figure(bar_chart(bars, title=caption), caption + versus)


def _reached(case: Case) -> str:
    return f"{case['accuracy']['mean']:.2%}" if case.get("accuracy") else ""


def _lines(cases: Sequence[Case], axis: str) -> list[str]:
    """Time of a step, share of the peak and memory of the program over the axis."""
    names = list(dict.fromkeys(case["contender"] for case in cases))
    times, shares, sizes = [], [], []
    for name in names:
        those = sorted(
            (case for case in cases if case["contender"] == name), key=lambda case: case["axis"][axis]
        )
        places = [case["axis"][axis] for case in those]
        steps = [case["seconds_per_step"] for case in those]
        times.append(
            Series(
                name,
                places,
                [step["median"] for step in steps],
                [step["interval"][0] for step in steps],
                [step["interval"][1] for step in steps],
            )
        )
        shares.append(Series(name, places, [case["share_of_peak"] for case in those]))
        if all(case.get("program_bytes") for case in those):
            sizes.append(Series(name, places, [case["program_bytes"] for case in those]))
    label, across = axis.replace("_", " "), Axis(axis.replace("_", " "), log=True)
    seconds = line_chart(times, across, Axis("seconds a step", log=True), title=f"seconds a step by {label}")
    share = line_chart(shares, across, Axis("share of peak", show=percent), title=f"share of peak by {label}")
    in_bytes = Axis("memory", log=True, show=bytes_text)
    memory = line_chart(sizes, across, in_bytes, title=f"memory by {label}") if sizes else ""
    return [
        page.figure(seconds, f"seconds a step by {label}: a straight line is work that grows with it"),
        page.figure(share, f"share of the measured matrix-product peak by {label}"),
        *([page.figure(memory, f"memory of the program by {label}, the samples in it")] if memory else ()),
    ]


def _roofline(cases: Sequence[Case], ceiling: Mapping[str, Any]) -> str:
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
    bandwidth = max(rate for _, rate in ceiling["bytes_per_second"])
    drawing = roofline_chart(ceiling["matmul_flops_per_second"], bandwidth, points, title="roofline")
    caption = (
        "what each training computes a second over what it computes a byte that must move; the roofs are measured "
        "here, the slope is the fastest memory, a cache's"
    )
    return page.figure(drawing, caption)


def _trainings(cases: Sequence[Case]) -> str:
    trainings = [case for case in cases if "seconds_per_step" in case]
    headings = (
        "case", "a step", "±", "samples/s", "of peak", "of roofline", "ratio", "interval", "compile", "first step",
        "memory", "outliers",
    )  # fmt: skip
    return page.table(headings, map(_row, trainings)) if trainings else ""


def _row(case: Case) -> list[str]:
    step, ratio = case["seconds_per_step"], case.get("ratio")
    interval = step.get("interval")
    spread = (
        f"{(interval[1] - interval[0]) / 2 / step['median']:.1%}" if interval else case.get("published", "")
    )
    memory = next((case[name] for name in MEMORY if case.get(name)), None)
    return [
        case["name"],
        duration(step["median"]),
        spread,
        f"{case['samples_per_second']:,.0f}",
        f"{case['share_of_peak']:.0%}" if case.get("share_of_peak") else "–",
        f"{case['share_of_roofline']:.0%}" if case.get("share_of_roofline") else "–",
        f"{ratio['median']:.2f} ×" if ratio else "–",
        f"{ratio['interval'][0]:.2f} to {ratio['interval'][1]:.2f}" if ratio else "–",
        duration(case["compile_seconds"]) if case.get("compile_seconds") else "–",
        duration(case["first_step_seconds"]) if case.get("first_step_seconds") else "–",
        bytes_text(memory) if memory else "–",
        f"{step['outliers']} of {step['repetitions']}" if interval else "–",
    ]


def _others(cases: Sequence[Case]) -> str:
    rows = [
        (
            case["name"],
            duration(case["seconds"]["median"]),
            f"{duration(case['seconds']['interval'][0])} to {duration(case['seconds']['interval'][1])}",
            f"{case['seconds']['repetitions']}",
            _reached(case) or "–",
            f"{case['ratio']['median']:.2f} ×" if case.get("ratio") else "–",
        )
        for case in cases
        if "seconds" in case
    ]
    return (
        page.table(["case", "median", "interval", "repetitions", "accuracy", "ratio"], rows) if rows else ""
    )


def _operations(operations: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (told["name"], told["source"], duration(told["seconds_per_step"]), f"{told['share']:.1%}")
        for told in operations
    ]
    lead = page.paragraph("The longest operations of a step, traced, which slows them down.")
    return lead + page.table(["operation", "of", "a step", "share"], rows, words=True)


def _claims(claims: Sequence[Mapping[str, str]]) -> str:
    rows = [(claim["claim"], claim["baseline"], claim["measured"], claim["verdict"]) for claim in claims]
    headings = ["the original says", "against", "measured here", "verdict"]
    return page.table(headings, rows, words=True) if rows else ""


def _environment(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _environment(value, f"{before}{name}: ")
        else:
            rows.append((f"{before}{name}".replace("_", " "), "–" if value is None else str(value)))
    return rows


def duration(seconds: float) -> str:
    """`1.5 s`, `20 ms`, `350 µs`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
