"""Tables of GPUs: what was measured on one, and what a kernel cannot be faster than."""

from records import Records, duration, rounded, source, table

from neuroforge_jax.report.formats import format_quantity, format_speed


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
