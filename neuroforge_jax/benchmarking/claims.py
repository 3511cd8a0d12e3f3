"""What others say: the original's claims beside what was measured, and figures that were published."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from neuroforge_jax.benchmarking.options import BenchOptions
from neuroforge_jax.benchmarking.suites import FLAGSHIP

Case = Mapping[str, Any]

MNIST_SAMPLES, EPOCHS, BATCH = 60_000, 10, 64
STEPS = EPOCHS * -(-MNIST_SAMPLES // BATCH)
"""Of the work that the claims are about: ten epochs of MNIST; the original names no batch, its pipeline has 64."""

SECONDS = (
    ("training in 0.5 to 2 s", "ours", (0.5, 2.0)),
    ("NumPy takes 60 to 120 s", "numpy", (60.0, 120.0)),
    ("PyTorch on CUDA takes 2 to 5 s", "torch cuda", (2.0, 5.0)),
    ("TensorFlow with XLA takes 3 to 8 s", "keras xla", (3.0, 8.0)),
    ("CUDA C with cuBLAS takes 1 to 3 s", "CUDA C", (1.0, 3.0)),
)
TIMES = (
    ("naive on CUDA, 10 to 50 ×", ("cuda-naive",), (10.0, 50.0)),
    ("library products on CUDA, 50 to 200 ×", ("cuda-optimized",), (50.0, 200.0)),
    ("asynchronous on CUDA, 100 to 300 ×", ("cuda-async",), (100.0, 300.0)),
    ("mixed precision on CUDA, 200 to 500 ×", ("cuda-mixed-precision",), (200.0, 500.0)),
)
"""How many times as fast as a CPU baseline, which the original does not name: here NumPy by hand."""

PUBLISHED = (
    # what, where, seconds of ten epochs
    ("PyTorch", "RTX 3090", 0.5),
    ("NumPy", "CPU beside an RTX 3090", 12.0),
    ("C", "CPU beside an RTX 3090", 90.6),
    ("naive CUDA", "RTX 3090", 0.9),
    ("cuBLAS", "RTX 3090", 0.4),
    ("streams, TF32", "RTX 3090", 0.3),
    ("fused GEMM", "RTX 3090", 0.6),
    ("FP16", "RTX 3090", 0.3),
    ("PyTorch", "Tesla T4", 3.3),
    ("NumPy", "CPU beside a T4", 22.4),
    ("naive CUDA", "Tesla T4", 1.6),
    ("cuBLAS", "Tesla T4", 0.76),
    ("FP16", "Tesla T4", 0.38),
)
SOURCE = "published by Infatoshi/mnist-cuda, not measured here"
LADDER_WIDTHS, LADDER_BATCH, LADDER_SAMPLES = [784, 1024, 10], 32, 10_000


def published_names() -> list[str]:
    """Of the rows."""
    return [f"ladder/b{LADDER_BATCH}/{what}, {where}" for what, where, _ in PUBLISHED]


def published_cases(options: BenchOptions, reference: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Rows of the suite ladder that nobody measured here, marked as such."""
    steps = EPOCHS * -(-LADDER_SAMPLES // LADDER_BATCH)
    for name, (what, where, seconds) in zip(published_names(), PUBLISHED, strict=True):
        if options.selects(name):
            yield {
                "name": name,
                "group": "ladder",
                "contender": f"{what}, {where}",
                "axis": {},
                "widths": LADDER_WIDTHS,
                "batch_size": LADDER_BATCH,
                "seconds_per_step": {"median": seconds / steps},
                "samples_per_second": steps * LADDER_BATCH / seconds,
                "published": SOURCE,
            }


def claims_of(cases: Sequence[Case]) -> list[dict[str, str]]:
    """The original's ranges beside what these cases of the flagship at batch 64 say; most need a GPU."""
    widths = [784, *FLAGSHIP, 10]
    measured = {
        case["contender"]: case["seconds_per_step"]["median"]
        for case in cases
        if "skipped" not in case and case.get("widths") == widths and case.get("batch_size") == BATCH
    }
    ours = [case["contender"] for case in cases if case.get("backend") and case["contender"] in measured]
    rows = []
    for claim, who, limits in SECONDS:
        names = ours if who == "ours" else [name for name in measured if name.startswith(who)]
        if names:
            name = min(names, key=lambda name: measured[name])
            seconds = measured[name] * STEPS
            work = f"784-1024-512-10, batch 64, {EPOCHS} epochs"
            rows.append(_row(claim, work, f"{seconds:.3g} s ({name})", seconds, limits))
        else:
            rows.append(_not_measured(claim))
    for claim, names_of, limits in TIMES:
        if "numpy" in measured and (found := [name for name in names_of if name in measured]):
            times = measured["numpy"] / measured[found[0]]
            beside = "NumPy by hand, on the CPU beside it"
            rows.append(_row(claim, beside, f"{times:.3g} × ({found[0]})", times, limits))
        else:
            rows.append(_not_measured(claim))
    return rows


def _row(
    claim: str, baseline: str, measured: str, value: float, limits: tuple[float, float]
) -> dict[str, str]:
    low, high = limits
    verdict = "as claimed" if low <= value <= high else "less" if value < low else "more"
    return {"claim": claim, "baseline": baseline, "measured": measured, "verdict": verdict}


def _not_measured(claim: str) -> dict[str, str]:
    return {"claim": claim, "baseline": "–", "measured": "–", "verdict": "not measured"}
