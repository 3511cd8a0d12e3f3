"""The verdicts on the original's claims: what was found, and the records or tests that hold it.

One that rests on tests names them, and they must be there.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from outcomes import outcomes_on_a_gpu
from records import Case, Record, Records, named, processor, rounded, size, timed

ROOT = Path(__file__).parents[1]
PEERS = "python -m neuroforge_jax.bench --suite peers"

GPU_LADDER = "bench_ladder_gpu_h200.json"

CLAIMED_BATCH = 64
"""Of the training that the original gives times and memory for."""


class Verdict(NamedTuple):
    """found: what was. held_by: the record or the tests. command: that shows it, where it is not the claim's."""

    found: str
    held_by: str
    command: str = ""


def by_tests(found: str, *tests: str) -> Callable[[Records], Verdict]:
    """A claim about behaviour, which these tests hold."""
    for test in tests:
        if not (ROOT / test).exists():
            raise FileNotFoundError(test)
    return lambda records: Verdict(found, ", ".join(f"`{test}`" for test in tests))


def speed_claim(name: str) -> Callable[[Records], Verdict]:
    """One of the nine: by the ladder of a GPU where that measured it, else by the peers on a CPU.

    Raises ValueError where neither measured it.
    """

    def verdict(records: Records) -> Verdict:
        for file in (GPU_LADDER, "bench_peers.json"):
            claim = next(claim for claim in records(file)["claims"] if claim["claim"] == name)
            if claim["verdict"] == "not measured":
                continue
            if file == GPU_LADDER:
                return Verdict(_verdict_on_a_gpu(claim, records(file)), f"`{file}`")
            cores = records(file)["environment"]["processors"]
            found = f"{claim['verdict']}, on {cores} CPU cores: {claim['measured']}"
            return Verdict(found, f"`{file}`", PEERS)
        raise ValueError(f"no record measures {name!r}")

    return verdict


def _verdict_on_a_gpu(claim: Mapping[str, str], record: Record) -> str:
    """With the device that it is of: NumPy's seconds are those of the CPU beside the GPU."""
    gpu, beside = processor(record), f"the {record['environment']['processors']} CPU cores beside"
    device = f"{beside} an {gpu}" if claim["measured"].endswith("(numpy)") else f"an {gpu}"
    than = f", against NumPy on {beside} it" if claim["baseline"].startswith("NumPy") else ""
    return f"{claim['verdict']}, on {device}: {claim['measured']}{than}"


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
    """Training to 98 % of MNIST on two kinds of CPU and a GPU, and the step at which we gain least or lose most."""
    runs, steps = ("bench_speedrun.json", "bench_speedrun_xeon.json"), ("backends.json", "backends_xeon.json")
    gpu = "bench_speedrun_gpu_h200.json"
    gains = [_speedrun_gain(records(name)) for name in runs]
    least, what = min(_least_gain_of_a_step(records(name)) for name in steps)
    text = (
        f"on two CPU cores {min(gains):.1f} to {max(gains):.1f} × as fast to 98.0 % of MNIST, by kind of CPU; a "
        f"step {least:.2f} × as fast where that is least ({what}); on an {processor(records(gpu))} "
        f"{_speedrun_gain(records(gpu)):.0f} × as fast to 98.0 %"
    )
    return Verdict(text, ", ".join(f"`{name}`" for name in (*runs, *steps, gpu)))


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
    """The gain of bf16 at batch 512 on a CPU, and at batch 64 on a GPU."""
    case = next(
        case for case in records("bench_precision.json")["cases"] if case["name"] == "precision/b512/bf16"
    )
    steps = _steps_on_a_gpu(records)
    text = (
        f"at batch 512 {case['ratio']['median']:.2f} × float32 on a CPU with bf16 units; at batch {CLAIMED_BATCH} "
        f"on an H200 {steps['cuda-optimized'] / steps['cuda-mixed-precision']:.2f} ×"
    )
    return Verdict(text, f"`bench_precision.json`, `{GPU_LADDER}`")


def _steps_on_a_gpu(records: Records) -> dict[str, float]:
    """Seconds of a step by candidate."""
    cases = at_claimed_batch(records(GPU_LADDER))
    return {case["contender"]: case["seconds_per_step"]["median"] for case in cases}


def fused_kernels(records: Records) -> Verdict:
    """Hand-written kernels against XLA, on the GPU that was met."""
    ((layer, parts),) = records("gpu_h200.json")["kernels"]["layers"].items()
    forward, gradients = (found["over_xla"] for found in parts.values())
    steps = _steps_on_a_gpu(records)
    text = (
        f"built, and on an H200 slower than XLA: a step at batch {CLAIMED_BATCH} takes "
        f"{steps['pallas'] / steps['cuda-mixed-precision']:.2f} × as long; one size alone ({layer}) had "
        f"{forward:.2f} of XLA's speed, {gradients:.2f} with gradients, before dz was made once for "
        "both. Tiles are not tuned"
    )
    return Verdict(text, f"`{GPU_LADDER}`, `gpu_h200.json`")


def allocations(records: Records) -> Verdict:
    """What a thousand steps ask for: counted on a CPU; on a GPU by a test, for as long as it ends as it did."""
    name = "test_a_thousand_steps_allocate_nothing"
    failed = sum(how == "failed" for test, how in outcomes_on_a_gpu(records).items() if test.startswith(name))
    commit = records("gpu_tests_gpu_h200.json")["environment"]["commit"][:8]
    text = (
        "on a CPU 1,000 steps more ask malloc at most a tenth more often and hold at most 1 MB more; on an H200 "
        f"the test of the pool failed at commit {commit} in {failed} cases, and its reason was not seen: "
        "[what is known](profiling.md#memory---memory-profile)"
    )
    of_the_pool = ("tests/kernels/test_on_gpu.py", "tests/kernels/test_pool_use.py")
    return by_tests(text, "tests/reliability/test_allocations.py", *of_the_pool)(records)


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
