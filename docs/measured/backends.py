"""Tables of the backends of this project, by batch, precision, width, depth and number of networks."""

from records import (
    Case,
    Records,
    batches_of,
    duration,
    fastest,
    named,
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

from neuroforge_jax.report.formats import format_quantity


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


def lookup(records: Records) -> str:
    """A training step with categories as ones and zeros, and looked up."""
    record = records("lookup.json")
    rows = [
        [
            f"{row['levels']}",
            f"{row['batch']}",
            "-".join(map(str, row["hidden"])),
            duration(row["step_seconds"]["product"]["median"]),
            duration(row["step_seconds"]["lookup"]["median"]),
            f"{row['lookup_to_product']['median']:.2f}",
        ]
        for row in record["steps"].values()
    ]
    head = ["levels", "batch", "hidden", "ones and zeros", "looked up", "looked up ÷ ones and zeros"]
    return table(head, rows) + source(records, rounds=False)


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
