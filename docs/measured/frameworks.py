"""Tables of trainings beside other frameworks, from the same weights over the same batches."""

from records import (
    Record,
    Records,
    batches_of,
    fastest,
    framework,
    named,
    paired,
    quartiles,
    rounded,
    samples_a_second,
    size,
    source,
    table,
    timed,
    with_interval,
)
from verdicts import CLAIMED_BATCH, at_claimed_batch


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
            times = "1" if case is best else with_interval(paired(case, best))
            row += [samples_a_second(case, spread=False), times]
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


def claims(records: Records) -> str:
    """The original's ranges beside what was measured on a CPU."""
    return table_of_claims(records("bench_peers.json")) + source(records)


def table_of_claims(record: Record) -> str:
    """The original's ranges beside what this record has of them."""
    rows = [
        [claim[key] for key in ("claim", "baseline", "measured", "verdict")] for claim in record["claims"]
    ]
    return table(["the original's claim", "measured on", "found", "verdict"], rows, numbers=())
