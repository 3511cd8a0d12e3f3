"""Where the memory of a run is: in its programs, in the arrays that are alive, on the device and on the host."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from neuroforge_jax.backends.executors.base import Run, programs_of
from neuroforge_jax.system.memory import heap, peak_resident_bytes, resident_bytes, text
from neuroforge_jax.system.memory_pool import VARIABLES

POOL = {
    "bytes_in_use": "in use now",
    "peak_bytes_in_use": "in use at most",
    "largest_alloc_size": "the largest piece that was asked for",
    "largest_free_block_bytes": "the largest piece that is free",
    "pool_bytes": "taken of the device",
    "bytes_limit": "that it may take",
}
"""By the name of what the pool of a GPU tells: what it is."""

PARTS = ("argument", "output", "temporary", "aliased", "code")
MOST_SHAPES = 12
"""Of the table for people; the record has all of them."""


def memory_profile(run: Run, device: jax.Device) -> dict[str, Any]:
    """What there is to know now, in bytes, for a record.

    programs: of each, what the compiler says of its arguments, outputs, temporaries, of the arguments whose memory
    an output takes over (donated), of its code, and of the peak while it runs. arrays: what is alive in jax by
    dtype and shape, the largest sum first. device: what its pool tells, None where it has none. host: resident
    memory of the process, now and at most, and what malloc holds, None where the C library does not tell.
    allocator: the variables that set the pool of a GPU.
    """
    pool = heap()
    return {
        "programs": {name: program_bytes(program) for name, program in programs_of(run).items()},
        "arrays": live_arrays(),
        "device": device.memory_stats(),
        "platform": device.platform,
        "host": {
            "resident": resident_bytes(),
            "peak_resident": peak_resident_bytes(),
            "heap": pool and asdict(pool),
        },
        "allocator": {variable: os.environ.get(variable) for variable in VARIABLES},
    }


def program_bytes(program: jax.stages.Compiled) -> dict[str, int] | None:
    """By part; None where this platform's compiler tells nothing."""
    told = program.memory_analysis()
    if told is None:
        return None
    names = ("argument", "output", "temp", "alias", "generated_code")
    sizes = {
        part: int(getattr(told, f"{name}_size_in_bytes")) for part, name in zip(PARTS, names, strict=True)
    }
    held = sizes["argument"] + sizes["output"] + sizes["temporary"] - sizes["aliased"]
    # XLA's CPU compiler leaves the temporaries out of the peak that it tells (jax 0.12).
    return {**sizes, "peak": max(int(getattr(told, "peak_memory_in_bytes", 0)), held)}


def live_arrays() -> list[dict[str, Any]]:
    """Every array that jax holds and that has not been given away, by dtype and shape, the largest sum first."""
    kinds = Counter(
        (str(array.dtype), array.shape, array.nbytes)
        for array in jax.live_arrays()
        if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    )
    rows = [
        {"dtype": dtype, "shape": list(shape), "count": count, "bytes": count * size}
        for (dtype, shape, size), count in kinds.items()
    ]
    return sorted(rows, key=lambda row: (-row["bytes"], row["shape"]))


def write_pprof(path: Path) -> None:
    """What is allocated now and by which lines, for `pprof -http=: FILE`."""
    jax.profiler.save_device_memory_profile(str(path))


def format_profile(profile: Mapping[str, Any]) -> str:
    """The profile as tables of at most 80 columns."""
    lines = ["program           argument    output temporary   aliased      code      peak"]
    for name, sizes in profile["programs"].items():
        parts = (
            "it tells nothing" if sizes is None else "".join(f"{text(size):>10}" for size in sizes.values())
        )
        lines.append(f"{name:<16}{parts}")
    if not profile["programs"]:
        lines[:] = ["nothing was compiled as a whole: this backend dispatches every operation on its own"]
    arrays = profile["arrays"]
    total, count = sum(row["bytes"] for row in arrays), sum(row["count"] for row in arrays)
    lines += ["", f"arrays alive at the end: {count} of {text(total)} in all"]
    for row in arrays[:MOST_SHAPES]:
        shape = f"{row['dtype']}[{', '.join(map(str, row['shape']))}]"
        lines.append(f"{row['count']:>6} × {shape:<40}{text(row['bytes']):>12}")
    if rest := arrays[MOST_SHAPES:]:
        lines.append(
            f"{sum(row['count'] for row in rest):>6} of other shapes{text(sum(row['bytes'] for row in rest)):>45}"
        )
    host = profile["host"]
    now = "" if host["resident"] is None else f"{text(host['resident'])} resident now, "
    lines += ["", f"process: {now}{text(host['peak_resident'])} at most"]
    if pool := host["heap"]:
        free = text(pool["free_bytes"])
        lines.append(f"heap: {text(pool['in_use_bytes'])} in use, {free} free for what is allocated next")
    lines.append(_format_device(profile))
    return "\n".join(lines)


def _format_device(profile: Mapping[str, Any]) -> str:
    stats = profile["device"]
    if stats is None:
        return f"device: the memory of a {profile['platform']} is the system's, which keeps no count for jax"
    held = [
        f"pool: {text(stats[name]):>10}  {meaning}"
        for name, meaning in POOL.items()
        if stats.get(name) is not None
    ]
    if "num_allocs" in stats:
        held.append(f"pool: {stats['num_allocs']:>10,}  times that it was asked for memory")
    variables = [
        f"{variable}={profile['allocator'][variable] or unset} ({meaning})"
        for variable, (unset, meaning) in VARIABLES.items()
    ]
    return "\n".join(held + variables)
