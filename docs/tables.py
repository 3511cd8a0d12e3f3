"""Write every measured table and figure of README.md and docs/ from the records in benchmarks/.

    python docs/tables.py            rewrite what differs
    python docs/tables.py --check    write nothing; exit code 1 and the names of the files that differ

A Markdown file says where a table goes:

    <!-- table: speed -->
    <!-- end of table -->

Each function of TABLES makes the table of its name, and a line below it says which record it is from: machine,
versions, commit and date. A table whose record does not exist yet becomes one sentence that says so.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from claims import CLAIMED_BATCH, at_claimed_batch, original
from figures import FIGURES
from records import (
    Case,
    Record,
    Records,
    batches_of,
    between,
    duration,
    fastest,
    framework,
    named,
    paired,
    processor,
    quartiles,
    ratio_of,
    rounded,
    samples_a_second,
    share,
    size,
    source,
    table,
    timed,
    times,
)

from neuroforge_jax.report.formats import format_quantity, format_speed

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
BEGIN = "<!-- table: "

# Tables, in the order of the pages that show them.


def speed(records: Records) -> str:
    """Samples a second of every candidate at three batch sizes; of variants, the faster one."""
    record = records("bench_peers.json")
    variants = {
        "NeuroForge JAX, bf16": ("mixed",),
        "NeuroForge JAX, float32": ("optimized",),
        "PyTorch, the fastest of 4 modes": (
            "torch eager f32", "torch compiled f32", "torch eager bf16", "torch compiled bf16",
        ),
        "Keras, the faster of 2 modes": ("keras", "keras xla"),
        "Flax NNX": ("flax nnx",),
        "NumPy": ("numpy",),
        "scikit-learn": ("scikit-learn",),
    }  # fmt: skip
    batches = batches_of(record["cases"])
    rows = []
    for label, names in variants.items():
        cells = [fastest(record, batch, names) for batch in batches]
        if any(cells):
            rows.append([label, *(samples_a_second(case) for case in cells)])
            if label.startswith("PyTorch") and (earlier := records.optional("backends.json")):
                # Two records of one machine disagree about PyTorch in bf16: the reader sees both.
                sections = [earlier["peer"].get(str(batch)) for batch in batches]
                rates = [s and s["samples_per_second"][s["best_of_torch"]]["median"] for s in sections]
                rows.append(
                    ["PyTorch, in an earlier record", *(rounded(rate) if rate else "–" for rate in rates)]
                )
    head = ["samples a second", *(f"batch {batch:,}" for batch in batches)]
    return table(head, rows) + source(records, spread=True, sections=("peer",))


def ladder(records: Records) -> str:
    """Each backend against the slowest one, for the network whose times others have published."""
    record = records("bench_ladder.json")
    rows = []
    for case in timed(record["cases"]):
        if not case.get("published"):
            step = case["seconds_per_step"]
            rows.append(
                [
                    f"`{case['contender']}`" if case.get("backend") else named(case["contender"]),
                    samples_a_second(case, spread=False),
                    duration(step["median"]),
                    ratio_of(case),
                    share(case["share_of_peak"]),
                    size(case.get("peak_resident_bytes")),
                ]
            )
    first = record["cases"][0]["contender"]
    head = ["backend", "samples a second", "a step", f"times `{first}` (95 %)", "share of peak", "memory"]
    return table(head, rows) + source(records, "ladder")


def published(records: Records) -> str:
    """What others published for the network of the ladder, beside what was measured here for the same work."""
    record = records("bench_ladder.json")
    rows = [
        [named(case["contender"]), samples_a_second(case, spread=False)]
        for case in record["cases"]
        if case.get("published")
    ]
    ours = max(
        (case for case in timed(record["cases"]) if case.get("backend")),
        key=lambda case: case["samples_per_second"],
    )
    rows.append([f"`{ours['contender']}` here", samples_a_second(ours, spread=False)])
    whose = ", ".join(dict.fromkeys(case["published"] for case in record["cases"] if case.get("published")))
    note = f"All rows but the last: {whose}."
    return table(["implementation", "samples a second"], rows) + source(records, note=note)


def backends(records: Records) -> str:
    """Every backend that trains on the machine, at three batch sizes."""
    record = records("bench_backends.json")
    batches = batches_of(record["cases"])
    names = list(dict.fromkeys(case["contender"] for case in timed(record["cases"])))
    rows = []
    for name in names:
        row = [f"`{name}`"]
        for batch in batches:
            case = fastest(record, batch, (name,))
            row += [samples_a_second(case, spread=False), times(case)] if case else ["–", "–"]
        rows.append(row)
    head = ["backend"]
    for batch in batches:
        head += [f"batch {batch:,}", f"times `{names[0]}`"]
    return table(head, rows) + source(records, "backends")


def precision(records: Records) -> str:
    """float32, bf16 and fp16 by the same execution."""
    record = records("bench_precision.json")
    by_name = {case["name"]: case for case in timed(record["cases"])}
    dtypes = list(dict.fromkeys(name.rpartition("/")[2] for name in by_name))
    rows = []
    for batch in batches_of(record["cases"]):
        cases = [by_name[f"precision/b{batch}/{dtype}"] for dtype in dtypes]
        rows.append(
            [
                f"{batch:,}",
                *(samples_a_second(case, spread=False) for case in cases),
                *(ratio_of(case) for case in cases[1:]),
            ]
        )
    head = ["batch", *dtypes, *(f"{dtype} ÷ {dtypes[0]} (95 %)" for dtype in dtypes[1:])]
    return table(head, rows) + source(records, "precision")


def peers(records: Records) -> str:
    """Other frameworks from the same weights over the same batches; ratios taken round by round."""
    record = records("bench_peers.json")
    batches = batches_of(record["cases"])
    names = list(dict.fromkeys(case["contender"] for case in timed(record["cases"])))
    memory = {case["contender"]: case.get("peak_resident_bytes") for case in at_claimed_batch(record)}
    ours = {
        batch: fastest(record, batch, [case["contender"] for case in record["cases"] if case.get("backend")])
        for batch in batches
    }
    rows = []
    for name in names:
        row = [named(name)]
        for batch in batches:
            case, best = fastest(record, batch, (name,)), ours[batch]
            if case is None or best is None:
                row += ["–", "–"]
                continue
            row += [samples_a_second(case, spread=False), "1" if case is best else paired(case, best)]
        rows.append([*row, size(memory.get(name))])
    head = ["candidate"]
    for batch in batches:
        head += [f"batch {batch:,}", "ours ÷ it (95 %)"]
    versions = {named(c["contender"]): c["version"] for c in timed(record["cases"]) if c.get("version")}
    described = "; ".join(dict.fromkeys(f"{framework(name)} {version}" for name, version in versions.items()))
    note = f"Ours is the faster of `optimized` and `mixed` at that batch. Versions: {described}."
    head.append(f"memory at batch {CLAIMED_BATCH}")
    return table(head, rows) + source(records, "peers", note)


def amx(records: Records) -> str:
    """A CPU with matrix units, against PyTorch."""
    return _beside_torch(records, "backends_xeon.json")


def torch_earlier(records: Records) -> str:
    """The same comparison on a CPU without matrix units, by an earlier commit than the table `peers`."""
    return _beside_torch(records, "backends.json")


def _beside_torch(records: Records, name: str) -> str:
    record = records(name)
    rows = []
    for batch in (name for name in record["peer"] if name.isdecimal()):
        section = record["peer"][batch]
        rates = section["samples_per_second"]
        rows.append(
            [
                f"{int(batch):,}",
                *(rounded(rates[name]["median"]) for name in ("f32", "mixed")),
                rounded(rates[section["best_f32_of_torch"]]["median"]),
                rounded(rates[section["best_of_torch"]]["median"]),
                quartiles(section["f32_over_torch_f32"]),
                quartiles(section["best_over_best_of_torch"]),
            ]
        )
    head = [
        "batch", "float32", "bf16", "PyTorch, float32", "PyTorch, fastest", "float32 ÷ float32",
        "fastest ÷ fastest",
    ]  # fmt: skip
    note = f"Ratios with quartiles. PyTorch {record['peer']['torch']}."
    return table(head, rows) + source(records, note=note, sections=("peer",))


EARLIER = ("backends.json", "backends_xeon.json")
"""Records of two machines, of what no suite measures."""


def streaming(records: Records) -> str:
    """Data streamed from the host against data on the device; and a training set larger than memory allows."""
    found = [records(name) for name in EARLIER]
    rows = [
        [*key.split(), *(quartiles(record["pipelined"][key]["pipelined_over_scanned"]) for record in found)]
        for key in found[0]["pipelined"]
    ]
    large = [record["streaming"] for record in found]
    rows.append(
        [
            f"a mapped training set of {size(large[0]['training_set_bytes'])}",
            "bf16",
            *(
                f"{rounded(one['samples_per_second'])} samples a second, {size(one['extra_anonymous_bytes'])} more"
                for one in large
            ),
        ]
    )
    head = ["batch", "precision", *(processor(record) for record in found)]
    note = "Pipelined ÷ scanned, with quartiles; memory is the anonymous memory beyond what the process began with."
    return table(head, rows, numbers=(2, 3)) + source(records, note=note, sections=("pipelined", "streaming"))


def tiny(records: Records) -> str:
    """What one dispatch a step costs a small network."""
    found = [records(name) for name in EARLIER]
    names = {
        "scanned": "`optimized`: many steps a dispatch",
        "stepped": "`stepped`: one dispatch a step",
        "eager": "PyTorch, eager",
        "compiled": "PyTorch, compiled",
    }
    rows = [
        [
            label,
            *(duration(record["tiny"]["microseconds_per_step"][name]["median"] * 1e-6) for record in found),
        ]
        for name, label in names.items()
    ]
    head = ["a step of 64-32-10 at batch 32", *(processor(record) for record in found)]
    return table(head, rows) + source(records, sections=("tiny",))


def speedrun(records: Records) -> str:
    """MNIST to an accuracy, on every machine that has a record."""
    rows = []
    for name in ("bench_speedrun.json", "bench_speedrun_xeon.json"):
        record = records(name)
        goals = list(dict.fromkeys(case["name"].split("/")[1] for case in timed(record["cases"])))
        for goal in goals:
            cases = [case for case in timed(record["cases"]) if case["name"].split("/")[1] == goal]
            for mine in (True, False):
                group = [case for case in cases if case["contender"].startswith("ours") is mine]
                best = min(group, key=lambda case: case["seconds"]["median"], default=None)
                if best is not None:
                    rows.append(_speedrun_row(record, goal, best))
    head = ["machine", "goal", "candidate", "seconds, median (95 %)", "mean", "accuracy, mean", "runs"]
    return table(head, rows, numbers=(3, 4, 5, 6)) + source(records)


def _speedrun_row(record: Record, goal: str, case: Case) -> list[str]:
    seconds, accuracy = case["seconds"], case["accuracy"]
    mine = case["contender"].removeprefix("ours").strip()
    candidate = named(case["contender"])
    if case["contender"].startswith("ours"):
        candidate = f"NeuroForge JAX, {mine}" if mine else "NeuroForge JAX"
    return [
        processor(record),
        goal,
        candidate,
        f"{seconds['median']:.2f} {between(*seconds['interval'])}",
        f"{seconds['mean']:.2f}",
        f"{100 * accuracy['mean']:.2f} %",
        f"{seconds['repetitions']}",
    ]


def own_tables(records: Records) -> str:
    """What one config reaches on each table, and how long it trains, beside scikit-learn's network."""
    record = records("bench_tables.json")
    by_name = {case["name"]: case for case in timed(record["cases"])}
    rows = []
    for name, ours in by_name.items():
        if ours["contender"] != "ours":
            continue
        theirs = by_name[f"{name.rpartition('/')[0]}/scikit-learn"]
        metric = "accuracy" if ours["metric"] == "accuracy" else "RMSE"
        rows.append(
            [
                name.split("/")[1],
                metric,
                _score(ours),
                f"{'' if ours['reached'] else '**missed** '}{_goal(ours)}",
                _score(theirs),
                f"{ours['seconds']['median']:.2f}",
                f"{theirs['seconds']['median']:.2f}",
                times(theirs),
                f"{ours['seconds']['repetitions']}, {theirs['seconds']['repetitions']}",
            ]
        )
    head = [
        "table", "metric", "NeuroForge JAX", "goal", "scikit-learn", "seconds", "scikit-learn's seconds",
        "ours ÷ its", "trainings",
    ]  # fmt: skip
    return table(head, rows, numbers=range(2, 9)) + source(records, "tables", rounds=False)


def _score(case: Case) -> str:
    """Mean and deviation of the trainings on test data."""
    score = case[case["metric"]]
    if case["metric"] == "accuracy":
        return f"{100 * score['mean']:.2f} ± {100 * score['deviation']:.2f} %"
    return f"{score['mean']:.3f} ± {score['deviation']:.3f}"


def _goal(case: Case) -> str:
    if case["metric"] == "accuracy":
        return f"≥ {100 * case['goal']:.1f} %"
    return f"≤ {case['goal']:.3g}"


def population(records: Records) -> str:
    """Networks trained in one program, against one by one."""
    record = records("bench_population.json")
    rows = [
        [
            case["group"].removeprefix("population "),
            f"{case['networks']:,}",
            samples_a_second(case, spread=False),
            ratio_of(case),
            share(case["share_of_peak"]),
        ]
        for case in timed(record["cases"])
    ]
    head = [
        "network",
        "networks at once",
        "samples a second, all together",
        "times one by one (95 %)",
        "share of peak",
    ]
    return table(head, rows) + source(records, "population")


def scaling(records: Records) -> str:
    """Time, share of the peak and memory over the batch, the width and the depth."""
    record = records("bench_scaling.json")
    rows = []
    points: dict[tuple[str, float], dict[str, Case]] = {}
    for case in timed(record["cases"]):
        ((axis, value),) = case["axis"].items()
        points.setdefault((axis, value), {})[case["contender"]] = case
    for (axis, value), cases in points.items():
        row = [f"{axis.replace('_size', '')} {value:,}"]
        for candidate in ("optimized", "mixed"):
            case = cases[candidate]
            step = case["seconds_per_step"]["median"]
            row += [duration(step), share(case["share_of_peak"]), size(case.get("program_bytes"))]
        rows.append(row)
    head = ["", "float32, a step", "of peak", "memory", "bf16, a step", "of peak", "memory"]
    return table(head, rows) + source(records, "scaling")


def peaks(records: Records) -> str:
    """What the machine can do at most, as it was measured beside the trainings."""
    record = records("bench_scaling.json")
    ceiling = record["ceiling"]
    rows = [
        [f"matrix products, {dtype}", format_quantity(rate, "FLOP/s")]
        for dtype, rate in ceiling["matmul_flops_per_second"].items()
    ]
    rows += [
        [f"memory, working set of {size(working_set)}", format_quantity(rate, "B/s")]
        for working_set, rate in ceiling["bytes_per_second"]
    ]
    rows.append(["one dispatch", duration(ceiling["dispatch_seconds"])])
    return table(["what", "peak"], rows) + source(records, rounds=False)


def startup(records: Records) -> str:
    """What a command does before its first step."""
    record = records("bench_quick.json")
    rows = []
    for case in record["cases"]:
        if case["group"] == "startup" and "seconds" in case:
            seconds = case["seconds"]
            low, high = seconds["interval"]
            what = case["name"].rpartition("/")[2]
            rows.append(
                [what, f"{seconds['median']:.2f} s", f"{low:.2f}–{high:.2f}", f"{seconds['repetitions']}"]
            )
    head = ["a process that does this and ends", "median", "95 %", "runs"]
    return table(head, rows) + source(records, "startup", rounds=False)


def start(records: Records) -> str:
    """From the command to an accuracy: when each line is seen, and what is imported until the end."""
    record = records("start.json")["start"]
    until, packages = record["seconds_until"], record["import_seconds"]
    rows, before = [], 0.0
    for name, seconds in until.items():
        if name == "the end":  # which waits for what --benchmark measures
            continue
        rows.append([name, f"{seconds['median']:.2f} s", f"{seconds['median'] - before:.2f} s"])
        before = seconds["median"]
    shown = ", ".join(f"{package} {seconds:.2f} s" for package, seconds in [*packages.items()][:8])
    runs = next(iter(until.values()))["n"]
    note = (
        f"Medians of {runs} runs. Imports of one more, each package without those that it imports: {shown}."
    )
    return table(["seen", "after", "of which since the line above"], rows) + source(records, note=note)


def reliability(records: Records) -> str:
    """What was done to runs, and how many survived."""
    record = records("reliability.json")
    kills, flips, fuzz = record["kills"], record["flips"], record["fuzz"]
    stops, cost = record["signals"]["seconds"], record["overhead"]["command_epoch_to_never"]
    inputs = sum(kind["inputs"] for kind in fuzz.values())
    other = sum(sum(kind["other errors"].values()) for kind in fuzz.values())
    rows = [
        [
            f"`kill -9` at random moments, {kills['while starting']} of them before the first step",
            f"{kills['survived']} of {kills['tried']} continued from the newest saved step",
        ],
        [
            f"one bit flipped in a saved file, in {len(flips['files'])} kinds of file",
            f"{flips['found and named']:,} of {flips['tried']:,} found, with the name of the file",
        ],
        [
            f"damaged or random inputs of {len(fuzz)} kinds: {', '.join(fuzz)}",
            f"{inputs:,} tried; {other} ended in anything but a result or one line of error",
        ],
        ["SIGTERM while training: seconds until the process has saved and ended", quartiles(stops)],
        [
            f"a checkpoint at the end of every epoch of {record['overhead']['dataset']}: time of the command "
            "relative to none",
            quartiles(cost),
        ],
    ]
    return table(["what was done", "what happened"], rows, numbers=()) + source(records)


def regression(records: Records) -> str:
    """Whether `--compare` finds a slow-down, and whether it raises false alarms."""
    record, monitor = records("regression.json"), records("monitor.json")
    slower, trials = record["slow_down"] - 1, record["trials"]
    span = monitor["span"]["seconds_on"]
    rows = [
        [
            f"a planted slow-down of {100 * slower:.0f} %",
            f"{record['planted, found in every case']} of {trials} found",
        ],
        ["the same code measured twice", f"{record['same, with a false alarm']} of {trials} called slower"],
        ["one span of `PerformanceMonitor`", duration(span["median"])],
    ]
    return table(["trial", "outcome"], rows) + source(records)


def roofline(records: Records) -> str:
    """What a fused kernel cannot be faster than, worked out on paper."""
    record = records("roofline.json")
    chips = [ceiling["name"] for ceiling in record["ceilings"]]
    rows = []
    for kernel in record["kernels"]:
        if kernel["size"].endswith("×784×1024"):
            bounds = [
                f"{duration(kernel['microseconds'][chip] * 1e-6)}, {kernel['bound'][chip]}" for chip in chips
            ]
            rows.append([kernel["kernel"], kernel["size"], *bounds])
    lines = "; ".join(
        f"{peak['name']} {format_quantity(peak['flops_per_second'], 'FLOP/s')} and "
        f"{format_quantity(peak['bytes_per_second'], 'B/s')}, {peak['source']}"
        for peak in record["ceilings"]
    )
    below = f"\nFrom `benchmarks/roofline.json`. Peaks: {lines}.\n"
    return table(["kernel", "batch × inputs × outputs", *chips], rows) + below


def overlap(records: Records) -> str:
    """Reading and computing one after the other, and at once, with a source that has to be waited for."""
    record = records("overlap.json")
    rows = []
    for batch in sorted(int(name.removeprefix("batch ")) for name in record if name.startswith("batch ")):
        found = record[f"batch {batch}"]
        seconds, reached = found["seconds_of_a_chunk"], found["of_the_ideal"]
        rows.append(
            [
                f"{batch:,}",
                *(
                    duration(seconds[what]["median"])
                    for what in ("read", "compute", "one after the other", "async")
                ),
                *(f"{reached[what]['median']:.0%}" for what in ("one after the other", "async")),
            ]
        )
    head = [
        "batch",
        "read",
        "compute",
        "one after the other",
        "`async`",
        "longer ÷ one after the other",
        "longer ÷ `async`",
    ]
    return table(head, rows) + source(records, note=f"`{record['command']}`.")


def claims(records: Records) -> str:
    """The original's ranges beside what was measured."""
    record = records("bench_peers.json")
    rows = [
        [claim["claim"], claim["baseline"], claim["measured"], claim["verdict"]] for claim in record["claims"]
    ]
    head = ["the original's claim", "measured on", "found", "verdict"]
    return table(head, rows, numbers=()) + source(records)


def gpu(records: Records) -> str:
    """Each backend for one epoch of MNIST on an NVIDIA GPU: does it run, is it right, how fast."""
    record = records("gpu_h200.json")
    training, rows, notes = record["training"], [], []
    for name, figures in training["backends"].items():
        compiled = figures["compile_seconds"]
        rows.append(
            [
                f"`{name}`" + (" ¹" if "note" in figures else ""),
                rounded(figures["samples_per_second"]),
                f"{figures['train_loss']:.4f}",
                f"{100 * figures['test_accuracy']:.2f} %",
                "–" if compiled is None else f"{compiled:.3g} s",
            ]
        )
        notes += [f"¹ {figures['note']}."] if "note" in figures else []
    notes = [f"One epoch each, measured once: `{training['command']}`.", *notes]
    head = ["backend", "samples a second", "training loss", "test accuracy", "compilation"]
    return table(head, rows) + source(records, note=" ".join(notes), sections=("training",))


def gpu_kernels(records: Records) -> str:
    """Hand-written kernels against XLA on an NVIDIA GPU."""
    record = records("gpu_h200.json")
    rows = [
        [layer, part, duration(found["microseconds"] * 1e-6), format_speed(found["over_xla"])]
        for layer, parts in record["kernels"]["layers"].items()
        for part, found in parts.items()
    ]
    note = f"`{record['kernels']['command']}`, {record['kernels']['note']}."
    head = ["operation, batch × inputs × outputs", "what is computed", "kernel", "against XLA"]
    return table(head, rows, numbers=(2, 3)) + source(records, note=note, sections=("kernels",))


def gpu_loop(records: Records) -> str:
    """What the loop of steps costs on an NVIDIA GPU under several compile options."""
    record = records("gpu_h200.json")
    configs = record["loop"]["configs"]
    ways = list(dict.fromkeys(way for ways in configs.values() for way in ways))
    rows = [
        [way, *(duration(ways[way]["microseconds_per_step"]["median"] * 1e-6) for ways in configs.values())]
        for way in ways
    ]
    note = f"`{record['loop']['command']}`, {record['loop']['note']}."
    return table(["a step of", *configs], rows) + source(records, note=note, sections=("loop",))


TABLES: Mapping[str, Callable[[Records], str]] = {
    "speed": speed,
    "ladder": ladder,
    "published": published,
    "backends": backends,
    "precision": precision,
    "peers": peers,
    "amx": amx,
    "torch-earlier": torch_earlier,
    "streaming": streaming,
    "overlap": overlap,
    "tiny": tiny,
    "speedrun": speedrun,
    "tables": own_tables,
    "population": population,
    "scaling": scaling,
    "peaks": peaks,
    "startup": startup,
    "start": start,
    "reliability": reliability,
    "regression": regression,
    "roofline": roofline,
    "claims": claims,
    "original": original,
    "gpu": gpu,
    "gpu-kernels": gpu_kernels,
    "gpu-loop": gpu_loop,
}


# Files.


def filled(text: str, folder: Path) -> str:
    """The text with every table made again. Raises ValueError for an unknown name or a marker without its end."""

    def made(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES:
            raise ValueError(f"no table {name!r}: there are {', '.join(TABLES)}")
        try:
            content = TABLES[name](Records(folder))
        except FileNotFoundError as error:
            content = f"No record yet: `benchmarks/{Path(error.filename).name}` has not been measured.\n"
        return f"{match[1]}\n{content}\n{match[4]}"

    if text.count(BEGIN) != len(MARKED.findall(text)):
        raise ValueError("a table begins and does not end: <!-- end of table --> is missing")
    return MARKED.sub(made, text)


def outputs(root: Path) -> dict[Path, str]:
    """Every file that holds something measured, and what should be in it."""
    records = root / "benchmarks"
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    found = {}
    for page in pages:
        try:
            found[page] = filled(page.read_text(encoding="utf-8"), records)
        except ValueError as error:
            raise SystemExit(f"{page.relative_to(root)}: {error}") from None
    return found | {root / name: draw(Records(records)) for name, draw in FIGURES.items()}


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the files, or say which differ; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Write the measured tables and figures from benchmarks/*.json."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where a file differs"
    )
    check = parser.parse_args(argv).check
    differing = [
        (path, text)
        for path, text in outputs(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in differing:
        name = path.relative_to(root)
        if check:
            print(f"{name} is not what its records say: run python docs/tables.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"written: {name}")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
