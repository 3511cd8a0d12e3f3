"""Every claim of the original with its verdict: the command that shows it, what was found, and what holds that."""

from collections.abc import Callable
from typing import NamedTuple

from records import Records, table
from verdicts import (
    PEERS,
    Verdict,
    allocations,
    backend_on_a_gpu,
    beside_torch,
    by_tests,
    fused_kernels,
    memory_efficiency,
    mixed_precision,
    monitoring,
    overlap,
    regressions,
    speed_claim,
)

GPU_RUN = "python benchmarks/gpu.py"


class Claim(NamedTuple):
    """text: what the original says. command: that shows it. verdict: from the records."""

    text: str
    command: str
    verdict: Callable[[Records], Verdict]


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
        allocations,
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
