"""How much a run survives: `python benchmarks/reliability.py --output benchmarks/reliability.json`.

kills      kill -9 at random moments of runs that save as often as the disk takes it; the newest step must load,
           must not be older than one that was seen before the kill, and the run must reach its end
flips      single bits flipped in checkpoints of runs; each must be found
fuzz       damaged and random inputs for each parser; each must be read, or refused by a declared error
overhead   configs/mixed.py on MNIST as a command, saving every epoch and not at all, in turn
signals    SIGTERM to the end of the process, in training
"""

import gzip
import io
import json
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measuring import ROOT, ratios, spread, write_sections

from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.commands.config_files import load_config
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.readers.arrays import load_npz
from neuroforge_jax.data.readers.idx import parse_idx
from neuroforge_jax.errors import UserError
from neuroforge_jax.model.io import load

sys.path.insert(0, str(ROOT))
from tests.reliability.processes import QUICK, start, steps, stop, wait_for, write_data

RUN = [
    *QUICK,
    "--run-dir",
    "run",
    "--resume",
    "auto",
    "--backend",
    "stepped",
    "--checkpoint-every",
    "40 steps",
]


@dataclass(frozen=True)
class Options:
    """Kill, flip, fuzz, measure; write the record."""

    output: Path
    sections: tuple[str, ...] = ("kills", "flips", "fuzz", "overhead", "signals")
    kills: int = 200
    flips: int = 1000
    inputs: int = 100_000
    """Of each parser."""
    repetitions: int = 5
    stops: int = 20


def kills(options: Options) -> dict[str, Any]:
    """Two machines' worth at a time; each folder is killed ten times and then brought to its end."""
    folders = -(-options.kills // 10)
    with ThreadPoolExecutor(2) as pool:
        counts = sum(pool.map(_killed_ten_times, range(folders)), Counter())
    return {
        "execution": "stepped",
        "when": "three in ten while starting, compiling or restoring; the others up to 0.5 s after a new step",
        **counts,
    }


def _killed_ten_times(seed: int) -> Counter[str]:
    rng, counts = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        while counts["tried"] < 10:
            before = max(steps(folder / "run"), default=0)
            process = start([*RUN, "--epochs", "100000"], folder)
            starting = rng.random() < 0.3
            if not starting:
                wait_for(lambda before=before: max(steps(folder / "run"), default=0) > before, process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.2, 3.0) if starting else rng.uniform(0, 0.5))
            seen = max(steps(folder / "run"), default=0)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            counts["tried"] += 1
            counts["while starting" if starting else "in training"] += 1
            saved, damaged = (
                files.newest(folder / "run" / "checkpoints") if (folder / "run").is_dir() else (None, [])
            )
            if saved is not None:
                saved.arrays()
            counts["survived"] += not damaged and (saved.progress["step"] if saved else 0) >= seen
        reached = max(steps(folder / "run"), default=0)
        process = start([*RUN, "--epochs", str(reached // 50 + 2)], folder)
        process.communicate(timeout=300)
        counts["runs"] += 1
        counts["runs brought to their end"] += process.returncode == 0
    return counts


def flips(options: Options) -> dict[str, Any]:
    """Half of them spread over the files evenly, half by size; the checkpoint is that of a small Adam run."""
    found, where = 0, Counter[str]()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        start([*QUICK, "--run-dir", "run", "--epochs", "3"], folder).communicate()
        step = folder / "run" / "checkpoints" / str(steps(folder / "run")[0])
        paths = [path for path in sorted(step.rglob("*")) if path.is_file() and path.stat().st_size]
        sizes = np.asarray([path.stat().st_size for path in paths])
        for count in range(options.flips):
            at = count % len(paths) if count % 2 else int(rng.choice(len(paths), p=sizes / sizes.sum()))
            content = bytearray(paths[at].read_bytes())
            index, bit = int(rng.integers(len(content))), int(rng.integers(8))
            content[index] ^= 1 << bit
            paths[at].write_bytes(content)
            try:
                files.read(step).arrays()
            except files.DamagedError as error:
                found += paths[at].name in str(error)
            content[index] ^= 1 << bit
            paths[at].write_bytes(content)
            kind = "array data" if "d" in paths[at].parts else paths[at].name
            where[kind] += 1
        files.read(step).arrays()
    return {"tried": options.flips, "found and named": found, "files": dict(where)}


def fuzz(options: Options) -> dict[str, Any]:
    """Each input is a valid one with bytes changed, cut, doubled or put in, or plain noise."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        start([*QUICK, "--run-dir", "run", "--epochs", "1"], folder).communicate()
        run = folder / "run"
        step = run / "checkpoints" / str(steps(run)[0])
        header = struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4)
        packed = io.BytesIO()
        np.savez(packed, x=np.arange(20, dtype=np.float32).reshape(10, 2), y=np.arange(10) % 2)
        table = b"height,width,kind\n" + b"".join(
            b"%d,%d,%s\n" % (i, 2 * i, b"ab"[i % 2 :][:1]) for i in range(12)
        )
        parsers: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
            "idx": (header + bytes(24), lambda content: parse_idx(content)),
            "idx.gz": (gzip.compress(header + bytes(24)), lambda content: parse_idx(content)),
            "npz": (packed.getvalue(), _from(folder / "a.npz", load_npz)),
            "csv": (table, _from(folder / "a.csv", load_dataset)),
            "config.json": ((run / "config.json").read_bytes(), _from(folder / "a.json", load_config)),
            "config.toml": (
                b'hidden = [8]\nepochs = 3\nbackend = "mixed"\n',
                _from(folder / "a.toml", load_config),
            ),
            "model.json": ((run / "model.json").read_bytes(), _from(run / "model.json", lambda _: load(run))),
            "params.safetensors": (
                (run / "params.safetensors").read_bytes(),
                _from(run / "params.safetensors", lambda _: load(run)),
            ),
            "checkpoint manifest": (
                (step / "manifest").read_bytes(),
                _from(step / "manifest", lambda _: files.read(step)),
            ),
            "--checkpoint-every": (b"500 steps", lambda content: Interval.parse(content.decode("latin1"))),
        }
        return {parser: _fuzzed(options.inputs, valid, parse) for parser, (valid, parse) in parsers.items()}


def _from(path: Path, parse: Callable[[Path], object]) -> Callable[[bytes], object]:
    def go(content: bytes) -> object:
        path.write_bytes(content)
        return parse(path)

    return go


def _fuzzed(inputs: int, valid: bytes, parse: Callable[[bytes], object]) -> dict[str, Any]:
    rng, counts, others = random.Random(0), Counter[str](), Counter[str]()
    begun = time.perf_counter()
    for _ in range(inputs):
        content = _changed(rng, valid)
        try:
            parse(content)
            counts["read"] += 1
        except UserError as error:
            counts["refused in one line" if "\n" not in str(error) else "refused in several lines"] += 1
        except Exception as error:
            others[f"{type(error).__name__}: {str(error)[:80]}"] += 1
    parse(valid)
    return {"inputs": inputs, **counts, "other errors": dict(others), "seconds": time.perf_counter() - begun}


def _changed(rng: random.Random, valid: bytes) -> bytes:
    if rng.random() < 0.05:
        return rng.randbytes(rng.randrange(64))
    content = bytearray(valid)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(content):
            content[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, *b'"{}[],:.-e0919'))
        elif kind == 2:
            del content[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            content[at:at] = content[at : at + rng.randrange(1, 17)]
        else:
            content[at:at] = rng.choice((b"NaN", b"-1", b"1e999", b"\xff\xfe", b"\n", b'"', rng.randbytes(4)))
    return bytes(content)


def overhead(options: Options) -> dict[str, Any]:
    """Seconds of the whole command and of its training, saving every epoch and never, in turn."""
    seconds: dict[str, list[float]] = {"epoch": [], "never": []}
    train: dict[str, list[float]] = {"epoch": [], "never": []}
    with tempfile.TemporaryDirectory() as name:
        for _ in range(options.repetitions):
            for every in seconds:
                run = Path(name) / "run"
                command = ["--config", str(ROOT / "configs" / "mixed.py"), "--run-dir", str(run)]
                begun = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "neuroforge_jax.train", *command, "--checkpoint-every", every],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                seconds[every].append(time.perf_counter() - begun)
                result = json.loads((run / "result.json").read_text())
                train[every].append(result["train_seconds"])
                shutil.rmtree(run)
    return {
        "dataset": result["dataset"],
        "command_seconds": {every: spread(values) for every, values in seconds.items()},
        "train_seconds": {every: spread(values) for every, values in train.items()},
        "command_epoch_to_never": ratios(seconds["epoch"], seconds["never"]),
        "train_epoch_to_never": ratios(train["epoch"], train["never"]),
    }


def signals(options: Options) -> dict[str, Any]:
    """Of a run of 784-1024-512-10 that trains on with Adam: what it saves has 16 MB."""
    seconds = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, samples=4000, inputs=784, classes=10)
        for count in range(options.stops):
            flags = [
                "--dataset",
                "data.npz",
                "--optimizer",
                "adam",
                "--batch-size",
                "64",
                "--epochs",
                "20000",
            ]
            process = start([*flags, "--run-dir", f"run{count}"], folder)
            wait_for((folder / f"run{count}" / "metrics.jsonl").exists, process)
            wait_for(lambda log=folder / f"run{count}" / "metrics.jsonl": log.stat().st_size, process)
            time.sleep(random.Random(count).uniform(0, 1))
            code, _, spent = stop(process, signal.SIGTERM, 60)
            assert code == 143
            seconds.append(spent)
    return {"phase": "training", "seconds": spread(seconds)}


def main() -> None:
    options = tyro.cli(Options)
    measure = {
        section.__name__: lambda section=section: section(options)
        for section in (kills, flips, fuzz, overhead, signals)
    }
    command = "python benchmarks/reliability.py --output FILE"
    write_sections(options.output, command, measure, options.sections)


if __name__ == "__main__":
    main()
