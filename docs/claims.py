"""Every claim of the original with its verdict: the command that shows it, what was found, and where that is held.

A verdict is computed from the records in benchmarks/. One that rests on tests names them, and they must be there.
What only a GPU can say is "needs a GPU: rehearsed" until a record of one lies in benchmarks/.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from records import Case, Record, Records, named, processor, rounded, size, table, timed

ROOT = Path(__file__).parents[1]
REHEARSED = "needs a GPU: rehearsed"
GPU_RUN = "python benchmarks/gpu.py"
REHEARSAL = "`benchmarks/gpu.py --rehearse`"
PEERS = "python -m neuroforge_jax.bench --suite peers"

CLAIMED_BATCH = 64
"""Of the training that the original gives times and memory for."""


class Verdict(NamedTuple):
    """found: what was. held_by: the record or the tests. command: that shows it, where it is not the claim's."""

    found: str
    held_by: str
    command: str = ""


class Claim(NamedTuple):
    """text: what the original says. command: that shows it. verdict: from the records."""

    text: str
    command: str
    verdict: Callable[[Records], Verdict]


def by_tests(found: str, *tests: str) -> Callable[[Records], Verdict]:
    """A claim about behaviour, which these tests hold."""
    for test in tests:
        if not (ROOT / test).exists():
            raise FileNotFoundError(test)
    return lambda records: Verdict(found, ", ".join(f"`{test}`" for test in tests))


def speed_claim(name: str) -> Callable[[Records], Verdict]:
    """One of the nine: by a ladder of a GPU where one was measured, else by the peers on a CPU."""

    def verdict(records: Records) -> Verdict:
        gpus = sorted(path.name for path in (ROOT / "benchmarks").glob("bench_ladder_*.json"))
        for file in [*gpus, "bench_peers.json"]:
            claim = next(claim for claim in records(file)["claims"] if claim["claim"] == name)
            if claim["verdict"] == "not measured":
                continue
            if file in gpus:
                return Verdict(f"{claim['verdict']}: {claim['measured']}", f"`{file}`")
            cores = records(file)["environment"]["processors"]
            found = f"{claim['verdict']}, on {cores} CPU cores: {claim['measured']}"
            return Verdict(found, f"`{file}`", PEERS)
        return Verdict(REHEARSED, REHEARSAL)

    return verdict


def at_claimed_batch(record: Record) -> list[Case]:
    """The cases that were measured at the batch size of the original's figures."""
    return [case for case in timed(record["cases"]) if case.get("batch_size") == CLAIMED_BATCH]


def memory_efficiency(records: Records) -> Verdict:
    """Of the peers: whose process is the smallest."""
    cases = [
        case for case in at_claimed_batch(records("bench_peers.json")) if case.get("peak_resident_bytes")
    ]
    smallest = min(cases, key=_resident)
    ours = min((case for case in cases if case.get("backend")), key=_resident)
    text = f"at batch {CLAIMED_BATCH} a process of ours peaks at {size(_resident(ours))}"
    if smallest is ours:
        return Verdict(f"yes: {text}", "`bench_peers.json`")
    theirs = f"one of {named(smallest['contender'])} at {size(_resident(smallest))}"
    return Verdict(f"no: {text}, {theirs}", "`bench_peers.json`")


def _resident(case: Case) -> int:
    return int(case["peak_resident_bytes"])


def beside_torch(records: Records) -> Verdict:
    """Training to 98 % of MNIST on two kinds of CPU, and the step at which we gain least or lose most."""
    runs, steps = ("bench_speedrun.json", "bench_speedrun_xeon.json"), ("backends.json", "backends_xeon.json")
    gains = [_speedrun_gain(records(name)) for name in runs]
    least, what = min(_least_gain_of_a_step(records(name)) for name in steps)
    text = (
        f"on two CPU cores {min(gains):.1f} to {max(gains):.1f} × as fast to 98.0 % of MNIST, by kind of CPU; a "
        f"step {least:.2f} × as fast where that is least ({what})"
    )
    return Verdict(text, ", ".join(f"`{name}`" for name in (*runs, *steps)))


def _speedrun_gain(record: Record) -> float:
    seconds = {
        case["contender"]: case["seconds"]["median"]
        for case in record["cases"]
        if case["name"].startswith("speedrun/98 %/") and "seconds" in case
    }
    ours = min(value for name, value in seconds.items() if name.startswith("ours"))
    return min(value for name, value in seconds.items() if name.startswith("torch")) / ours


def _least_gain_of_a_step(record: Record) -> tuple[float, str]:
    """How many times as fast as PyTorch, where that is least, and where it is so."""
    ratios = {"f32_over_torch_f32": "float32", "best_over_best_of_torch": "the fastest of each"}
    return min(
        (section[ratio]["median"], f"{label}, batch {int(batch):,}, {processor(record)}")
        for batch, section in record["peer"].items()
        if batch.isdecimal()
        for ratio, label in ratios.items()
    )


def overlap(records: Records) -> Verdict:
    """How far reading ahead comes, at the batch where that is least."""
    found = [
        row["of_the_ideal"] for name, row in records("overlap.json").items() if name.startswith("batch ")
    ]
    ahead, loop = (min(row[what]["median"] for row in found) for what in ("async", "one after the other"))
    text = f"{ahead:.0%} of the longer of reading and computing; a loop reaches {loop:.0%}"
    return Verdict(text, "`overlap.json`")


def mixed_precision(records: Records) -> Verdict:
    """The gain of bf16 at batch 512, on a CPU and on a GPU."""
    case = next(
        case for case in records("bench_precision.json")["cases"] if case["name"] == "precision/b512/bf16"
    )
    gpu = records("gpu_h200.json")["training"]["backends"]
    gain = gpu["cuda-mixed-precision"]["samples_per_second"] / gpu["cuda-optimized"]["samples_per_second"]
    text = f"{case['ratio']['median']:.2f} × float32 on a CPU with bf16 units; on an H200, once, {gain:.2f} ×"
    return Verdict(text, "`bench_precision.json`, `gpu_h200.json`")


def fused_kernels(records: Records) -> Verdict:
    """Hand-written kernels against XLA, on the GPU that was met."""
    ((layer, parts),) = records("gpu_h200.json")["kernels"]["layers"].items()
    forward, gradients = (found["over_xla"] for found in parts.values())
    text = (
        f"built; on an H200, for one size ({layer}), {forward:.2f} of XLA's speed, {gradients:.2f} with gradients: "
        "tiles not tuned, and measured before dz was made once for both gradients"
    )
    return Verdict(text, "`gpu_h200.json`")


def backend_on_a_gpu(name: str) -> Callable[[Records], Verdict]:
    """That it trains MNIST there."""

    def verdict(records: Records) -> Verdict:
        found = records("gpu_h200.json")["training"]["backends"][name]
        text = f"trains on an H200: {found['test_accuracy']:.2%} of MNIST after an epoch"
        return Verdict(text, "`gpu_h200.json`")

    return verdict


def regressions(records: Records) -> Verdict:
    """What a comparison of two records finds."""
    found = records("regression.json")
    planted, false = found["planted, found in every case"], found["same, with a false alarm"]
    text = (
        f"slow-downs of {found['slow_down'] - 1:.0%} found in {planted} of {found['trials']} trials, "
        f"false alarms in {false}; `bench --against` fails on larger ones"
    )
    return Verdict(text, "`regression.json`")


def monitoring(records: Records) -> Verdict:
    """What a span costs."""
    cost = records("monitor.json")["span"]["seconds_on"]["median"]
    return Verdict(f"built; a span costs {rounded(1e6 * cost)} µs", "`monitor.json`")


CLAIMS = (
    Claim(
        "one interface over CPU, CUDA and future accelerators",
        "python -m pytest -m portability",
        by_tests("compiled for TPU v5e, v6e, H200 and A100 from one source", "tests/portability/test_compiled.py"),
    ),
    Claim(
        "memory-safe",
        "python -m pytest tests/backends/test_executions.py",
        by_tests("a donated state is deleted, and jax refuses it", "tests/backends/test_executions.py"),
    ),
    Claim(
        "plugins for own backends and accelerators",
        "python -m neuroforge_jax.verify --plugin NAME",
        by_tests(
            "backends and kernels, each checked",
            "tests/verification/test_backend_claims.py",
            "tests/verification/test_kernel_claims.py",
        ),
    ),
    Claim("training in 0.5 to 2 s", GPU_RUN, speed_claim("training in 0.5 to 2 s")),
    Claim("the best memory efficiency", PEERS, memory_efficiency),
    Claim("faster than PyTorch", "python -m neuroforge_jax.bench --suite speedrun", beside_torch),
    Claim("PyTorch on CUDA 2 to 5 s", GPU_RUN, speed_claim("PyTorch on CUDA takes 2 to 5 s")),
    Claim("TensorFlow (XLA) 3 to 8 s", GPU_RUN, speed_claim("TensorFlow with XLA takes 3 to 8 s")),
    Claim("CUDA C (cuBLAS) 1 to 3 s", GPU_RUN, speed_claim("CUDA C with cuBLAS takes 1 to 3 s")),
    Claim("NumPy 60 to 120 s", GPU_RUN, speed_claim("NumPy takes 60 to 120 s")),
    Claim(
        "a script downloads MNIST; one build command",
        "python -m neuroforge_jax.data get mnist",
        by_tests("mirrors in turn, digests checked", "tests/data/test_download.py"),
    ),
    Claim(
        "`cpu`: development and CI",
        "python -m neuroforge_jax.train --backend cpu",
        by_tests("the same", "tests/backends/test_table.py"),
    ),
    Claim("`cuda-naive` 10 to 50 ×", GPU_RUN, speed_claim("naive on CUDA, 10 to 50 ×")),
    Claim("`cuda-optimized` 50 to 200 ×", GPU_RUN, speed_claim("library products on CUDA, 50 to 200 ×")),
    Claim("`cuda-async` 100 to 300 ×", GPU_RUN, speed_claim("asynchronous on CUDA, 100 to 300 ×")),
    Claim("`cuda-mixed-precision` 200 to 500 ×", GPU_RUN, speed_claim("mixed precision on CUDA, 200 to 500 ×")),
    Claim(
        "the default command trains on the GPU",
        "python -m neuroforge_jax.train --backend cuda-optimized",
        backend_on_a_gpu("cuda-optimized"),
    ),
    Claim(
        "`--backend cuda-mixed-precision --mixed-precision`",
        "python -m neuroforge_jax.train --backend cuda-mixed-precision",
        backend_on_a_gpu("cuda-mixed-precision"),
    ),
    Claim(
        "`--backend cuda-async … --async-ops --benchmark`",
        "python -m neuroforge_jax.train --backend cuda-async",
        backend_on_a_gpu("cuda-async"),
    ),
    Claim(
        "every flag with its default",
        "python -m neuroforge_jax.train --help",
        by_tests("the same but `--backend`, which is `auto`", "tests/test_config.py"),
    ),
    Claim(
        "persistent buffers, memory pooling",
        "python -m pytest -m slow tests/reliability/test_allocations.py",
        by_tests(
            "1,000 steps more ask malloc at most a tenth more often and hold at most 1 MB more; on a GPU rehearsed",
            "tests/reliability/test_allocations.py",
            "tests/kernels/test_on_gpu.py",
        ),
    ),
    Claim("asynchronous pipelining", "python benchmarks/overlap.py --output FILE", overlap),
    Claim("mixed precision", "python -m neuroforge_jax.bench --suite precision", mixed_precision),
    Claim("fused operations, tiled GEMM", "python benchmarks/kernels.py --output FILE", fused_kernels),
    Claim(
        "four operations of a backend",
        "nf.parts(config, model, dataset)",
        by_tests("the same, as pure functions", "tests/backends/test_table.py"),
    ),
    Claim(
        "`PerformanceProfiler`",
        "nf.PerformanceProfiler",
        by_tests("the same two methods, `measure` and `analyze`", "tests/profiling/test_profiler.py"),
    ),
    Claim("`PerformanceMonitor`", "python -m neuroforge_jax.train --benchmark", monitoring),
    Claim(
        "the pipeline in code",
        "python -m pytest -m docs",
        by_tests("runs as this page shows it", "tests/docs/test_blocks.py"),
    ),
    Claim(
        "automatic correctness checks",
        "python -m neuroforge_jax.verify",
        by_tests("a float64 oracle; planted faults are found", "tests/verification/test_checks.py"),
    ),
    Claim("regression tests", "python -m neuroforge_jax.bench --compare OLD NEW", regressions),
    Claim(
        "benchmarks with statistics",
        "python -m neuroforge_jax.bench",
        by_tests("interleaved rounds, bootstrap intervals", "tests/benchmarking/test_statistics.py"),
    ),
)  # fmt: skip


def original(records: Records) -> str:
    """The table."""
    rows = []
    for claim in CLAIMS:
        verdict = claim.verdict(records)
        rows.append([claim.text, f"`{verdict.command or claim.command}`", verdict.found, verdict.held_by])
    head = ["the original", "command", "found", "held by"]
    end = "\nMachines and versions are in the records, which are in `benchmarks/`.\n"
    return table(head, rows, numbers=()) + end
