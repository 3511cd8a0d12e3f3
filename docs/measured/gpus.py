"""Tables of GPUs: what was measured on one, and what a kernel cannot be faster than."""

from outcomes import outcomes_on_a_gpu
from records import (
    Case,
    Records,
    between,
    duration,
    host,
    named,
    paired,
    rounded,
    share,
    source,
    table,
    timed,
    unit_of,
)

from measured.frameworks import table_of_claims
from neuroforge_jax.report.formats import format_quantity, format_speed, format_speed_interval

LADDER, SPEEDRUN = "bench_ladder_gpu_h200.json", "bench_speedrun_gpu_h200.json"
BESIDE = ("torch cuda eager f32", "CUDA C")
"""What each row of the ladder is compared with."""


def gpu_ladder(records: Records) -> str:
    """Each backend on an NVIDIA GPU, beside PyTorch, CUDA C and NumPy on the CPU next to it."""
    record = records(LADDER)
    cases = timed(record["cases"])
    others = [next(case for case in cases if case["contender"] == name) for name in BESIDE]
    rows = [
        [
            f"`{case['contender']}`" if case.get("backend") else on_a_gpu(case["contender"]),
            _spread(case["seconds_per_step"]),
            rounded(case["samples_per_second"]),
            share(case["share_of_peak"]),
            *(_beside(case, other) for other in others),
        ]
        for case in cases
    ]
    first = cases[0]
    peaks = ", ".join(
        f"{format_quantity(peak, 'FLOP/s')} in {dtype}"
        for dtype, peak in record["ceiling"]["matmul_flops_per_second"].items()
    )
    note = (
        f"{'-'.join(map(str, first['widths']))} at batch {first['batch_size']}, plain SGD; float32 is float32, "
        f"nowhere TF32. Share of peak: of the fastest product of its dtype, {peaks}; of float32's for NumPy, which "
        f"ran on {host(record)}. A dispatch by jax takes {duration(record['ceiling']['dispatch_seconds'])} there. "
        f"Ratios are taken round by round, with 95 % intervals. PyTorch "
        f"{_version(cases, 'torch')}; CUDA {_version(cases, 'CUDA C')}. `{record['command']}`."
    )
    head = ["backend", "a step (95 %)", "samples a second", "share of peak", *map(_than, BESIDE)]
    return table(head, rows) + source(records, note=note)


def _than(name: str) -> str:
    return f"than {on_a_gpu(name)}"


def _version(cases: list[Case], name: str) -> str:
    return next(str(case["version"]) for case in cases if case["contender"].startswith(name))


def on_a_gpu(candidate: str) -> str:
    """Its name, without the word that a table of a GPU need not repeat."""
    return named(candidate.replace(" cuda", ""))


def _beside(case: Case, other: Case) -> str:
    """How much faster or slower the first is, round by round."""
    if case is other:
        return "–"
    ratio = paired(other, case)
    return f"{format_speed(ratio.median)} ({format_speed_interval(*ratio.interval)})"


def _spread(seconds: Case) -> str:
    """A median and its interval, in the median's unit."""
    _, scale = unit_of(seconds["median"])
    low, high = (value / scale for value in seconds["interval"])
    return f"{duration(seconds['median'])} {between(low, high, 1)}"


def gpu_speedrun(records: Records) -> str:
    """MNIST to an accuracy on an NVIDIA GPU, beside every mode of PyTorch."""
    record = records(SPEEDRUN)
    cases = timed(record["cases"])
    rows = [
        [
            case["name"].split("/")[1],
            on_a_gpu(case["contender"]).replace("ours", "NeuroForge JAX,"),
            _spread(case["seconds"]),
            format_speed(case["ratio"]["median"]) if "ratio" in case else "–",
            f"{100 * case['accuracy']['mean']:.2f} %",
            str(case["seconds"]["repetitions"]),
        ]
        for case in cases
    ]
    torch = next(case for case in cases if case["contender"].startswith("torch"))
    missing = "" if any("98.5" in row[0] for row in rows) else " Time ended the run before 98.5 %."
    note = (
        "Seconds of training alone, compilation and evaluation apart. "
        f"PyTorch {torch['version']}, the same recipe, its data on the GPU too. `{record['command']}`.{missing}"
    )
    head = ["goal", "candidate", "median (95 %)", "than the fastest of ours", "accuracy, mean", "runs"]
    return table(head, rows, numbers=(2, 3, 4, 5)) + source(records, note=note)


def gpu_claims(records: Records) -> str:
    """The original's ranges beside what was measured on an NVIDIA GPU."""
    return table_of_claims(records(LADDER)) + source(records, rounds=False)


def gpu_tests(records: Records) -> str:
    """How the tests of the GPU suite ended that came to their turn."""
    ended = outcomes_on_a_gpu(records)
    names = list(dict.fromkeys(test.partition("[")[0] for test in ended))
    kinds = ("passed", "failed", "skipped")
    rows = [
        [
            name.removeprefix("test_").replace("_", " "),
            *(
                str(sum(kind == how for test, how in ended.items() if test.partition("[")[0] == name))
                for kind in kinds
            ),
        ]
        for name in sorted(names)
    ]
    rows.append(["in all", *(str(sum(kind == how for how in ended.values())) for kind in kinds)])
    note = "Two runs, each cut off by time; one that failed in either counts as failed."
    return table(["test", *kinds], rows) + source(records, note=note)


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
