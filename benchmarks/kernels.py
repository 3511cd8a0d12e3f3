"""The kernels against XLA on the device that is here, and the table that `implementation="auto"` reads:

    python benchmarks/kernels.py --output FILE [--table neuroforge_jax/kernels/measured.json]

    layers      φ(x·W + b) forward, and with all gradients: layers of 784-1024-512-10 by batch, and 4096³
    elementwise bias and activation, forward and backward, beside a copy of as many bytes
    mlp         narrow MLPs in one kernel by batch, inference and training

Candidates take turns; a turn is many calls of a program that runs the operation SETS times in a row, each time on
other operands, so that what is timed is the device and not the dispatch. Inputs are normally distributed: a device
draws less power, and runs faster, on zeros. What won is written into the user's cache folder, and with --table into
a table like the package's. Each row is written as soon as it is measured. Where there is no device for kernels
nothing is measured, unless --small tries the script itself: interpreted, on small sizes.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from measuring import ratios, spread, take_turns, write_sections

from neuroforge_jax import kernels
from neuroforge_jax.kernels import choice
from neuroforge_jax.kernels.choice import Measured, entry_name
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS, KernelSet, describe_device, kernels_for
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.precision.policy import POLICIES, Policy

CANDIDATES = {
    "tpu": (Tiles(256, 256, 512), Tiles(512, 512, 512), Tiles(512, 1024, 512), Tiles(1024, 1024, 256)),
    "hopper": (Tiles(128, 64, 64), Tiles(64, 128, 64), Tiles(64, 256, 64)),
    "triton": (Tiles(64, 64, 32), Tiles(128, 64, 32), Tiles(128, 128, 32)),
    "interpret": (Tiles(64, 64, 64),),
}
"""Tiles that are tried, besides the target's own."""

SETS = 4
"""Operations in a program."""


@dataclass(frozen=True)
class Options:
    """Measure the kernels of this device, and write one JSON record and the table of what won."""

    output: Path
    """The record; sections that are not measured now are left as they are."""
    sections: tuple[str, ...] = ("layers", "elementwise", "mlp")
    """What to measure."""
    table: Path | None = None
    """Put what won into this table too; the package's is neuroforge_jax/kernels/measured.json."""
    repetitions: int = 7
    """Turns of each candidate."""
    seconds: float = 0.05
    """Of a turn, about."""
    batches: tuple[int, ...] = (128, 512, 2048, 8192)
    """Of the layers and the elementwise operations."""
    small: bool = False
    """Try the script, on small sizes, and remember nothing; kernels that the device has not are interpreted."""


@dataclass(frozen=True)
class Bench:
    """What is measured on: the kernels, the precision, and whether sizes are small."""

    options: Options
    target: KernelSet
    policy: Policy
    won: dict[str, Measured]

    @property
    def batches(self) -> tuple[int, ...]:
        return (40,) if self.options.small else self.options.batches

    def remember(self, entry: str, what: Measured) -> None:
        """For this process and, unless the script alone is tried, for later ones."""
        self.won[entry] = what
        kind = jax.devices()[0].device_kind
        if not self.options.small:
            choice.remember(kind, {entry: what})
        if self.options.table is not None:
            known = choice.read(self.options.table if self.options.table.exists() else choice.SHIPPED)
            choice.write(self.options.table, known | {kind: known.get(kind, {}) | self.won})

    def compilers(self) -> ThreadPoolExecutor:
        """Threads to compile in; interpreted kernels of Hopper run one at a time."""
        return ThreadPoolExecutor(1 if self.target.interpret else None)

    def race(self, candidates: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
        """Microseconds of one operation of each, in turn; a call is SETS of them. All are compiled side by side."""
        with self.compilers() as pool:
            list(pool.map(lambda run: jax.block_until_ready(run()), candidates.values()))
        rates = take_turns(
            {name: self._timed(run) for name, run in candidates.items()}, self.options.repetitions
        )
        return {name: [1e6 / (SETS * rate) for rate in values] for name, values in rates.items()}

    def _timed(self, run: Callable[[], Any]) -> Callable[[], float]:
        jax.block_until_ready(run())
        begun = time.perf_counter()
        jax.block_until_ready(run())
        calls = max(1, min(1000, int(self.options.seconds / (time.perf_counter() - begun))))

        def go() -> float:
            begun = time.perf_counter()
            for _ in range(calls):
                done = run()
            jax.block_until_ready(done)
            return calls / (time.perf_counter() - begun)

        return go

    def settle(
        self, part: str, size: tuple[int, int, int], times: dict[str, list[float]], **about: float
    ) -> Any:
        """The row of the record; the faster one is remembered, for the parts that `auto` chooses by."""
        ours, theirs = times[self.target.name], times["xla"]
        gain = ratios(theirs, ours)
        # What could as well be chance is left to XLA.
        wins = gain["quartiles"][0] > 1.02
        name = entry_name(part, self.policy.compute, size)
        if part in self.target.parts:
            self.remember(name, Measured(self.target.name if wins else "xla", None, gain["median"]))
        median = float(np.median(ours)) * 1e-6
        print(f"{name}: {1e6 * median:.1f} µs, {gain['median']:.2f} of XLA's speed", flush=True)
        return {
            "microseconds": {who: spread(values) for who, values in times.items()},
            "over_xla": gain,
            **{f"{unit}_per_second": amount / median for unit, amount in about.items()},
        }


def normal(at: int, *shape: int, dtype: Any = jnp.float32) -> jax.Array:
    return jax.random.normal(jax.random.key(at), shape, dtype)


def apply_in_turn(function: Callable[..., Any], operands: tuple[Any, ...]) -> Callable[[], Any]:
    """A call of a compiled program that applies the function to SETS sets of operands, one after another."""
    sets = [jax.tree.map(lambda x, at=at: jnp.roll(x, at, axis=-1), operands) for at in range(SETS)]

    def in_turn(sets: list[tuple[Any, ...]]) -> Any:
        results, done = [], None
        for operands in sets:
            # Each waits for the one before: XLA may neither join their products nor run them side by side.
            operands, done = jax.lax.optimization_barrier((operands, done))
            done = function(*operands)
            results.append(done)
        return results

    program = jax.jit(in_turn)
    return lambda: program(sets)


def with_gradients(function: Callable[..., jax.Array], operands: tuple[Any, ...]) -> Callable[[], Any]:
    """As `apply_in_turn`: the value and the gradients of all operands, from a dy that is neither 0 nor 1."""

    def both(dy: jax.Array, *operands: Any) -> Any:
        value, pull = jax.vjp(function, *operands)
        return value, pull(dy)

    like = jax.eval_shape(function, *operands)
    return apply_in_turn(both, (normal(9, *like.shape, dtype=like.dtype), *operands))


def layers(bench: Bench) -> Iterator[tuple[str, Any]]:
    sizes = [(b, i, o) for b in bench.batches for i, o in ((784, 1024), (1024, 512), (512, 10))]
    for batch, inputs, outputs in [(40, 61, 10)] if bench.options.small else [*sizes, (4096, 4096, 4096)]:
        operands = normal(0, batch, inputs), normal(1, inputs, outputs) / inputs**0.5, normal(2, outputs)
        size, flops = (batch, outputs, inputs), 2.0 * batch * inputs * outputs
        tune(bench, operands)

        def layer(how: str, *operands: jax.Array) -> jax.Array:
            return kernels.dense(*operands, "relu", bench.policy, how)

        for part, times_flops in (("dense", 3), ("forward", 1)):
            candidates = {}
            for how in (bench.target.name, "xla"):
                function = jax.tree_util.Partial(layer, how)
                candidates[how] = (with_gradients if part == "dense" else apply_in_turn)(function, operands)
            row = bench.settle(part, size, bench.race(candidates), flops=times_flops * flops)
            yield f"{part} {batch}×{inputs}×{outputs}", row


def tune(bench: Bench, operands: tuple[jax.Array, ...]) -> None:
    """The fastest tiles of each product of a layer, remembered for the layers that are measured next."""
    x, kernel, bias = (bench.policy.to_compute(operand) for operand in operands)
    bias, set_of, flag = bias.astype(jnp.float32), bench.target.kernels, bench.target.interpret
    (batch, inputs), outputs = x.shape, kernel.shape[1]
    dy = y = normal(3, batch, outputs)
    programs: dict[str, tuple[tuple[int, int, int], Callable[..., Any], tuple[Any, ...]]] = {
        "forward": (
            (batch, outputs, inputs),
            lambda t, x, w, b: set_of.forward(x, w, b, "relu", bench.policy.output, tiles=t, interpret=flag),
            (x, kernel, bias),
        ),
        "input_gradient": (
            (batch, inputs, outputs),
            lambda t, dy, y, w: set_of.input_gradient(dy, y, w, "relu", tiles=t, interpret=flag),
            (dy, y, kernel),
        ),
        "weight_gradient": (
            (inputs, outputs, batch),
            lambda t, x, dy, y: set_of.weight_gradient(x, dy, y, "relu", tiles=t, interpret=flag),
            (x, dy, y),
        ),
    }
    for part, (size, function, arguments) in programs.items():
        others = CANDIDATES[bench.target.name][: 1 if bench.options.small else None]
        tried: dict[str, Tiles | None] = {"own": None, **{str(tiles): tiles for tiles in others}}
        runs = {
            name: apply_in_turn(jax.tree_util.Partial(function, tiles), arguments)
            for name, tiles in tried.items()
        }
        with bench.compilers() as pool:
            reasons = dict(zip(runs, pool.map(failure, runs.values()), strict=True))
        for name, reason in reasons.items():
            if reason:
                print(f"{part} {name}: {reason}", flush=True)
        times = bench.race({name: run for name, run in runs.items() if not reasons[name]})
        best = min(times, key=lambda name: float(np.median(times[name])))
        entry = entry_name(part, bench.policy.compute, size)
        own = float(np.median(times["own"])) if "own" in times else float("nan")
        print(f"{entry}: tiles {best}, {own / float(np.median(times[best])):.2f} of its own", flush=True)
        bench.remember(entry, Measured(bench.target.name, tried[best], 1.0))


def failure(run: Callable[[], Any]) -> str:
    """Why a program does not run, "" where it does: tiles that do not fit this device are no candidate."""
    try:
        jax.block_until_ready(run())
    except Exception as error:
        return str(error).splitlines()[0]
    return ""


def elementwise(bench: Bench) -> Iterator[tuple[str, Any]]:
    for batch in bench.batches:
        z, bias = normal(0, batch, 1024, dtype=bench.policy.compute), normal(1, 1024)

        def both_ways(how: str, z: jax.Array, bias: jax.Array) -> jax.Array:
            return kernels.bias_activation(z, bias, "relu", how)

        candidates = {
            how: with_gradients(jax.tree_util.Partial(both_ways, how), (z, bias))
            for how in (bench.target.name, "xla")
        }
        # Read z, write y; read z and dy, write dz.
        times = bench.race(candidates | {"copy": apply_in_turn(jnp.copy, (z,))})
        row = bench.settle("bias_activation", (batch, 1024, 1), times, bytes=5.0 * z.nbytes)
        row["copy_bytes_per_second"] = 2e6 * z.nbytes / float(np.median(times["copy"]))
        yield f"{batch}×1024", row


def mlp(bench: Bench) -> Iterator[tuple[str, Any]]:
    for width in (64,) if bench.options.small else (64, 128):
        for batch in bench.batches if bench.options.small else (2**14, 2**17, 2**21):
            widths = (width,) * 5
            layered = [
                (normal(at, i, o) / i**0.5, normal(at + 9, o)) for at, (i, o) in enumerate(pairwise(widths))
            ]
            x = normal(0, batch, width, dtype=bench.policy.compute)
            flops = 2.0 * batch * width * width * 4

            def network(how: str, x: jax.Array, layered: Any) -> jax.Array:
                return kernels.mlp(x, layered, "relu", bench.policy, how)

            programs = {how: jax.tree_util.Partial(network, how) for how in (bench.target.name, "xla")}
            inference = bench.race({who: apply_in_turn(f, (x, layered)) for who, f in programs.items()})
            training = bench.race({who: with_gradients(f, (x, layered)) for who, f in programs.items()})
            size = (batch, width, 4)
            what = f"width {width}, batch {batch}"
            yield f"{what}, inference", bench.settle("mlp", size, inference, flops=flops)
            yield f"{what}, training", bench.settle("mlp", size, training, flops=4 * flops)


def main() -> None:
    options = tyro.cli(Options)
    device = jax.devices()[0]
    target = kernels_for(device) or (KERNEL_SETS["interpret"] if options.small else None)
    if target is None:
        raise SystemExit(
            f"there are no kernels for {describe_device(device)}; --small tries the script itself"
        )
    bench = Bench(options, target, POLICIES["bf16"], {})
    measure = {
        "layers": lambda: layers(bench),
        "elementwise": lambda: elementwise(bench),
        "mlp": lambda: mlp(bench),
    }
    write_sections(options.output, "python benchmarks/kernels.py --output FILE", measure, options.sections)


if __name__ == "__main__":
    main()
