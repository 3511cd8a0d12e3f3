"""The backends against each other and against PyTorch, on a CPU:

    python benchmarks/backends.py --torch-python VENV/bin/python --output benchmarks/backends.json

    peer        784-1024-512-10 on MNIST, plain SGD, per batch size: f32 and mixed against PyTorch's best
    tiny        64-32-10 at batch 32: scanned, stepped and PyTorch
    pipelined   streamed from the host against data on the device, where the data fit, per batch size
    chunks      the same at batch 64 by chunk size and depth, which is where their defaults come from
    streaming   a mapped training set of 4 GB: rate, and anonymous memory beyond the first dispatch
    ladder      naive → stepped → async → optimized → mixed at batch 64, drawn as benchmarks/ladder.png
    profile     where a step's time goes: its products at the measured peak, its weights at the measured bandwidth

Contenders take turns, a fraction of a second each, so that a ratio is of neighbours in time. Needs MNIST in the
data folder and an idle machine; `peer` and `tiny` need a Python with torch, whose process sleeps while jax trains
and the other way round.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from measuring import ROOT, interleaved, ratios, spread, stretches, write_sections
from streamed import write_copies
from torch_process import Peer

import neuroforge_jax as nf
from neuroforge_jax.backends import BACKENDS
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.nn.mlp import count, train_flops
from neuroforge_jax.observe.ceiling import matmul_peak_flops

SECTIONS = ("peer", "tiny", "pipelined", "chunks", "streaming", "ladder", "profile")
BATCHES = (8, 32, 64, 128, 512, 2048)
MODES = ("eager f32", "compiled f32", "eager bf16", "compiled bf16")


@dataclass(frozen=True)
class Options:
    """Measure, and write or update one JSON record."""

    output: Path
    """The record; sections that are not measured now are left as they are."""
    sections: tuple[str, ...] = SECTIONS
    """What to measure."""
    torch_python: Path | None = None
    """A Python that has torch."""
    repetitions: int = 9
    """Turns of each contender."""
    samples: int = 10_000
    """Samples of a turn."""
    stream_gigabytes: float = 4.0
    """Size of the mapped training set."""


def peer(options: Options) -> dict[str, Any]:
    dataset = nf.load_dataset("mnist")
    record: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        torch = Peer(_torch(options), dataset, Path(folder))
        record["torch"] = torch.version
        for batch in BATCHES:
            config = nf.TrainConfig(batch_size=batch)
            rates = interleaved(
                {
                    "f32": stretches(
                        dataclasses.replace(config, backend="optimized"), dataset, options.samples
                    ),
                    "mixed": stretches(
                        dataclasses.replace(config, backend="mixed"), dataset, options.samples
                    ),
                    **{
                        mode: torch.contender([784, 1024, 512, 10], batch, mode, options.samples)
                        for mode in MODES
                    },
                },
                options.repetitions,
            )
            ours = max(("f32", "mixed"), key=lambda name: np.median(rates[name]))
            theirs = max(MODES, key=lambda name: np.median(rates[name]))
            their_f32 = max(MODES[:2], key=lambda name: np.median(rates[name]))
            record[str(batch)] = {
                "samples_per_second": {name: spread(values) for name, values in rates.items()},
                "best": ours,
                "best_of_torch": theirs,
                "best_over_best_of_torch": ratios(rates[ours], rates[theirs]),
                "best_f32_of_torch": their_f32,
                "f32_over_torch_f32": ratios(rates["f32"], rates[their_f32]),
            }
            medians = {name: round(float(np.median(values))) for name, values in rates.items()}
            best = record[str(batch)]["best_over_best_of_torch"]["median"]
            f32 = record[str(batch)]["f32_over_torch_f32"]["median"]
            print(batch, medians, f"best {best:.2f}, f32 {f32:.2f}", flush=True)
        torch.close()
    return record


def tiny(options: Options) -> dict[str, Any]:
    dataset = nf.load_dataset("digits")
    config = nf.TrainConfig(hidden=(32,), batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        torch = Peer(_torch(options), dataset, Path(folder))
        rates = interleaved(
            {
                "scanned": stretches(dataclasses.replace(config, backend="optimized"), dataset, 200_000),
                "stepped": stretches(dataclasses.replace(config, backend="stepped"), dataset, 50_000),
                **{
                    mode: torch.contender([64, 32, 10], 32, f"{mode} f32", 20_000)
                    for mode in ("eager", "compiled")
                },
            },
            options.repetitions,
        )
        torch.close()
    print({name: f"{32e6 / np.median(values):.1f} µs" for name, values in rates.items()}, flush=True)
    return {
        "microseconds_per_step": {
            name: spread([32e6 / rate for rate in values]) for name, values in rates.items()
        },
        "scanned_over_stepped": ratios(rates["scanned"], rates["stepped"]),
        "scanned_over_torch_eager": ratios(rates["scanned"], rates["eager"]),
        "scanned_over_torch_compiled": ratios(rates["scanned"], rates["compiled"]),
    }


def pipelined(options: Options) -> dict[str, Any]:
    dataset = nf.load_dataset("mnist")
    record = {}
    for batch in BATCHES:
        for precision in ("f32", "bf16"):
            config = nf.TrainConfig(batch_size=batch, precision=precision)
            rates = interleaved(
                {
                    name: stretches(dataclasses.replace(config, backend=name), dataset, 2 * options.samples)
                    for name in ("optimized", "async")
                },
                options.repetitions,
            )
            record[f"{batch} {precision}"] = {
                "scanned_samples_per_second": spread(rates["optimized"]),
                "pipelined_samples_per_second": spread(rates["async"]),
                "pipelined_over_scanned": ratios(rates["async"], rates["optimized"]),
            }
            print(
                batch,
                precision,
                f"{record[f'{batch} {precision}']['pipelined_over_scanned']['median']:.3f}",
                flush=True,
            )
    return record


def chunks(options: Options) -> dict[str, Any]:
    """Chunk sizes in samples, and chunks read ahead, against data on the device."""
    dataset = nf.load_dataset("mnist")
    config = nf.TrainConfig(batch_size=64, backend="async")
    contenders = {
        "scanned": stretches(dataclasses.replace(config, backend="optimized"), dataset, 2 * options.samples)
    }
    for samples in (512, 2048, 8192, 32_768):
        for ahead in (1, 2, 4):
            how = nf.Streaming(samples // config.batch_size, ahead)
            name = f"{samples} samples, {ahead} ahead"
            contenders[name] = stretches(config, dataset, 2 * options.samples, streaming=how)
    rates = interleaved(contenders, options.repetitions)
    record = {
        name: {"samples_per_second": spread(values), "over_scanned": ratios(values, rates["scanned"])}
        for name, values in rates.items()
    }
    for name, row in record.items():
        print(name, f"{row['over_scanned']['median']:.3f}", flush=True)
    return record


def streaming(options: Options) -> dict[str, Any]:
    """In a process of its own, so that the memory is that of the training alone."""
    with tempfile.TemporaryDirectory() as folder:
        samples = int(options.stream_gigabytes * 1e9 / 784)
        write_copies(Path(folder), samples)
        done = subprocess.run(
            [sys.executable, "streamed.py", folder],
            cwd=ROOT / "benchmarks",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        )
    record = json.loads(done.stdout.splitlines()[-1])
    print(record, flush=True)
    return record


LADDER = ("naive", "stepped", "async", "optimized", "mixed")


def ladder(options: Options) -> dict[str, Any]:
    dataset = nf.load_dataset("mnist")
    config = nf.TrainConfig(batch_size=64)
    rates = interleaved(
        {
            name: stretches(
                dataclasses.replace(config, backend=name),
                dataset,
                options.samples // (4 if name == "naive" else 1),
            )
            for name in LADDER
        },
        options.repetitions,
    )
    record = {
        name: {"samples_per_second": spread(rates[name]), "over_naive": ratios(rates[name], rates["naive"])}
        for name in LADDER
    }
    draw_ladder(record, ROOT / "benchmarks" / "ladder.png")
    return record


def draw_ladder(record: dict[str, Any], path: Path) -> None:
    """A bar a backend, with its samples a second and its gain over the first."""
    figure = Figure(figsize=(8, 3), dpi=150, layout="constrained")
    axes = figure.subplots()
    names = list(reversed(record))
    medians = [record[name]["samples_per_second"]["median"] for name in names]
    bars = axes.barh(names, medians, color="#4c72b0")
    labels = [
        f"{median:,.0f}   ({record[name]['over_naive']['median']:.1f} ×)"
        for name, median in zip(names, medians, strict=True)
    ]
    axes.bar_label(bars, labels, padding=4, fontsize=9)
    axes.set_xlim(0, max(medians) * 1.22)
    axes.set_xlabel("samples a second, 784-1024-512-10, batch 64, two CPU cores")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def profile(options: Options) -> dict[str, Any]:
    """A step against what it cannot be faster than: its products at the peak, its weights through memory."""
    dataset = nf.load_dataset("mnist")
    large = np.ones(2**26, np.float32)
    copied = np.empty_like(large)
    copy_rates = []
    for _ in range(9):
        begun = time.perf_counter()
        np.copyto(copied, large)
        copy_rates.append(2 * large.nbytes / (time.perf_counter() - begun))
    record: dict[str, Any] = {"copy_bytes_per_second_one_core": spread(copy_rates)}
    for batch in BATCHES:
        for name in ("optimized", "mixed"):
            backend, config = BACKENDS[name], nf.TrainConfig(batch_size=batch, backend=name)
            model, state = nf.init(config, dataset)
            parts = nf.parts(config, model, dataset)
            samples = Batch(
                jnp.asarray(dataset.train.inputs[:batch]),
                jnp.asarray(dataset.train.targets[:batch]),
                jnp.ones(batch),
            )
            compiler_options = dict(backend.options(batch)) or None
            forward = jax.jit(parts.forward, compiler_options=compiler_options)
            backward = jax.jit(parts.backward, compiler_options=compiler_options)
            peak = matmul_peak_flops(
                backend.device,
                model.policy.multiplied_in(backend.device.platform),
                backend.options(max(batch, 512)),
                model.policy.precision,
            )
            rates = stretches(config, dataset, options.samples)
            flops, weights = train_flops(model.mlp) * batch, 4 * count(model.mlp)
            record[f"{batch} {name}"] = {
                "step_microseconds": spread([1e6 * batch / rates() for _ in range(options.repetitions)]),
                "forward_microseconds": _microseconds(
                    lambda run=forward, state=state, x=samples.inputs: run(state.params, x)
                ),
                "forward_and_backward_microseconds": _microseconds(
                    lambda run=backward, state=state, x=samples: run(state, x)
                ),
                "products_at_peak_microseconds": 1e6 * flops / peak,
                "peak_flops_per_second": peak,
                # Read forward, read backward (but for the first layer), read and written by the update.
                "weight_bytes": 4 * weights - 4 * 784 * 1024,
            }
            print(batch, name, record[f"{batch} {name}"], flush=True)
    return record


def _microseconds(run: Callable[[], Any]) -> dict[str, Any]:
    """Of a call whose result is waited for."""
    jax.block_until_ready(run())
    times = []
    for _ in range(30):
        begun = time.perf_counter()
        jax.block_until_ready(run())
        times.append(1e6 * (time.perf_counter() - begun))
    return spread(times)


def _torch(options: Options) -> Path:
    if options.torch_python is None:
        raise SystemExit("--torch-python: give a Python that has torch, or leave these --sections out")
    return options.torch_python


def main() -> None:
    options = tyro.cli(Options)
    measure = {
        "peer": lambda: peer(options),
        "tiny": lambda: tiny(options),
        "pipelined": lambda: pipelined(options),
        "chunks": lambda: chunks(options),
        "streaming": lambda: streaming(options),
        "ladder": lambda: ladder(options),
        "profile": lambda: profile(options),
    }
    command = "python benchmarks/backends.py --torch-python PYTHON --output FILE"
    write_sections(options.output, command, measure, options.sections)


if __name__ == "__main__":
    main()
