"""Damaged and random inputs for each parser: each must be read, or refused by a declared error in one line.

Inputs are tried in processes of their own, two at a time: a library that ends the process ends that one alone. What
ended in something else is kept in the working folder, as `fuzz-PARSER-….input`.
"""

import gzip
import io
import json
import multiprocessing
import random
import shutil
import struct
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import ROOT
from PIL import Image

from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.commands.config_files import load_config
from neuroforge_jax.commands.prediction import PredictOptions, run_predictions
from neuroforge_jax.data.datasets import load_dataset
from neuroforge_jax.data.readers.idx import parse_idx
from neuroforge_jax.errors import UserError
from neuroforge_jax.model.io import load

sys.path.insert(0, str(ROOT))
from tests.data.readers import fuzz_csv
from tests.data.readers.damage import PIECES, damage
from tests.reliability.processes import QUICK, start, steps, write_data

PROCESSES, MOST_A_PROCESS = 2, 10_000
"""At a time; inputs of one."""

COLUMNS = {
    "size": [None, *map(float, range(23))],
    "count": list(range(7, 31)),
    "town": ["Rome", "Oslo", None, "Bern"] * 6,
    "level": pa.array(["low", "high", "low"] * 8).dictionary_encode(),
    "day": pa.array(np.arange(24) + 19_000, pa.int32()).cast(pa.date32()),
    "kind": ["a", "b"] * 12,
}
TSV = b"name\tsaid\tn\ty\n" + b'"O""Hara"\t"a\tb, ""c"""\t1,5\ta\nM\xc3\xbcller\t"two\nlines"\t2\tb\n' * 8
ROWS = b"height,width,kind\n" + b"".join(b"%d,%d,%s\n" % (i, 2 * i, b"ab"[i % 2 :][:1]) for i in range(12))


@dataclass(frozen=True)
class Parser:
    """whole: inputs that are not damaged, the first of which is read. parse: is tried with those that are.

    pieces: what they are damaged with.
    """

    whole: Sequence[bytes]
    parse: Callable[[bytes], object]
    pieces: Sequence[bytes] = PIECES


def fuzz(inputs: int, names: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each parser, or those of these names, with what became of so many inputs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        _train_runs(folder)
        for name in names or PARSERS:
            begun = time.perf_counter()
            chunk = min(MOST_A_PROCESS, -(-inputs // PROCESSES))
            sizes = [min(chunk, inputs - first) for first in range(0, inputs, chunk)]
            with ThreadPoolExecutor(PROCESSES) as pool:
                found = list(pool.map(partial(_try_apart, folder, name), range(len(sizes)), sizes))
            counts = sum((Counter(chunk["counts"]) for chunk in found), Counter())
            others = sum((Counter(chunk["others"]) for chunk in found), Counter())
            slowest = max(chunk["slowest"] for chunk in found)
            seconds = time.perf_counter() - begun
            row = {"inputs": inputs, **counts, "other errors": dict(others), "slowest_seconds": slowest}
            print(f"  {name}: {row}", flush=True)
            yield name, row | {"seconds": seconds}


def _train_runs(folder: Path) -> None:
    """Two small runs: of arrays, whose files are damaged, and of a table, which predicts."""
    write_data(folder)
    (folder / "rows.csv").write_bytes(ROWS)
    start([*QUICK, "--run-dir", "arrays", "--epochs", "1"], folder).communicate()
    table = ["--dataset", "rows.csv", "--hidden", "4", "--epochs", "1"]
    start([*table, "--run-dir", "table"], folder).communicate()


def _try_apart(folder: Path, name: str, seed: int, inputs: int) -> dict[str, Any]:
    """What becomes of some inputs, in a process of their own."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        for run in ("arrays", "table"):
            shutil.copytree(folder / run, here / run)
        process = multiprocessing.get_context("spawn").Process(target=_try, args=(here, name, seed, inputs))
        process.start()
        process.join()
        if process.exitcode == 0:
            return json.loads((here / "found.json").read_text())
        if (here / "last.input").exists():
            shutil.copy(here / "last.input", f"fuzz-{name}-{seed}.input")
        ended = {f"the process ended with {process.exitcode}": 1}
        return {"counts": {}, "others": ended, "slowest": 0.0}


def _try(folder: Path, name: str, seed: int, inputs: int) -> None:
    parser = PARSERS[name](folder)
    rng, counts, others, slowest = random.Random(seed), Counter[str](), Counter[str](), 0.0
    with warnings.catch_warnings(action="error"):
        for _ in range(inputs):
            content = damage(rng, parser.whole, parser.pieces)
            (folder / "last.input").write_bytes(content)
            begun = time.perf_counter()
            try:
                parser.parse(content)
                counts["read"] += 1
            except UserError as error:
                counts["refused in one line" if "\n" not in str(error) else "refused in several lines"] += 1
            except Exception as error:
                others[f"{type(error).__name__}: {str(error)[:80]}"] += 1
                _keep(content, name, error)
            slowest = max(slowest, time.perf_counter() - begun)
    parser.parse(parser.whole[0])
    found = {"counts": counts, "others": others, "slowest": slowest}
    (folder / "found.json").write_text(json.dumps(found))


def _keep(content: bytes, name: str, error: Exception) -> None:
    """An input that ended in something else, in the working folder: the first of each type of error."""
    path = Path(f"fuzz-{name}-{type(error).__name__}.input")
    if not path.exists():
        path.write_bytes(content)


def _file(path: Path, whole: Sequence[bytes], parse: Callable[[Path], object], **more: Any) -> Parser:
    """A parser of a file of that name."""

    def go(content: bytes) -> object:
        path.write_bytes(content)
        return parse(path)

    return Parser(whole, go, **more)


def _idx(_: Path) -> Parser:
    return Parser([_idx_bytes()], parse_idx)


def _idx_gz(_: Path) -> Parser:
    return Parser([gzip.compress(_idx_bytes())], parse_idx)


def _idx_bytes() -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, 2, 3, 4) + bytes(24)


def _npz(folder: Path) -> Parser:
    x, y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10) % 2
    packed = io.BytesIO(), io.BytesIO()
    np.savez(packed[0], x=x, y=y)
    np.savez_compressed(packed[1], x_train=x, y_train=y, x_test=x, y_test=y)
    return _file(folder / "a.npz", [file.getvalue() for file in packed], load_dataset)


def _npy(folder: Path) -> Parser:
    """A folder of mapped arrays, one of which is damaged."""
    mapped = folder / "mapped"
    mapped.mkdir()
    for part in ("train", "test"):
        np.save(mapped / f"x_{part}.npy", np.arange(20, dtype=np.float32).reshape(10, 2))
        np.save(mapped / f"y_{part}.npy", np.arange(10) % 2)
    whole = [(mapped / "x_train.npy").read_bytes()]
    return _file(mapped / "x_train.npy", whole, lambda path: load_dataset(path.parent))


def _table(ending: str, *whole: bytes) -> Callable[[Path], Parser]:
    pieces = (*fuzz_csv.PIECES, *PIECES)
    return lambda folder: _file(folder / f"a.{ending}", whole, load_dataset, pieces=pieces)


def _parquet(folder: Path) -> Parser:
    whole = []
    for options in ({}, {"compression": "none", "use_dictionary": False}, {"data_page_version": "2.0"}):
        file = io.BytesIO()
        pq.write_table(pa.table(COLUMNS), file, **options)
        whole.append(file.getvalue())
    return _file(folder / "a.parquet", whole, load_dataset)


def _arrow(ending: str, compression: str | None) -> Callable[[Path], Parser]:
    """A stream, and a file."""

    def make(folder: Path) -> Parser:
        whole, options = [], pa.ipc.IpcWriteOptions(compression=compression)
        for kind in (pa.ipc.new_stream, pa.ipc.new_file):
            file, data = io.BytesIO(), pa.table(COLUMNS)
            with kind(file, data.schema, options=options) as writer:
                writer.write_table(data)
            whole.append(file.getvalue())
        return _file(folder / f"a.{ending}", whole, load_dataset)

    return make


def _pictures(kind: str) -> Callable[[Path], Parser]:
    """A folder of pictures by class, one of which is damaged."""

    def make(folder: Path) -> Parser:
        whole, levels = [], np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
        for pixels in (levels, np.stack([levels, levels[::-1], 255 - levels], axis=-1)):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, kind)
            whole.append(file.getvalue())
        for name in ("cats", "dogs"):
            (folder / "pictures" / name).mkdir(parents=True)
            for at in range(2):
                (folder / "pictures" / name / f"{at}.{kind}").write_bytes(whole[0])
        damaged = folder / "pictures" / "cats" / f"1.{kind}"
        return _file(damaged, whole, lambda _: load_dataset(folder / "pictures"))

    return make


def _standard_input(folder: Path) -> Parser:
    """Rows that a model of a table is asked about, as they come."""

    def parse(content: bytes) -> None:
        sys.stdin = io.TextIOWrapper(io.BytesIO(content))
        _ask(folder / "table", "-")

    return Parser([ROWS, ROWS.replace(b",", b";"), gzip.compress(ROWS)], parse, (*fuzz_csv.PIECES, *PIECES))


def _rows(save: Callable[[io.BytesIO, np.ndarray], None], ending: str) -> Callable[[Path], Parser]:
    """Rows of an array that a model of arrays is asked about."""

    def make(folder: Path) -> Parser:
        file = io.BytesIO()
        save(file, np.arange(36, dtype=np.float32).reshape(3, 12))
        path = folder / f"rows.{ending}"
        return _file(path, [file.getvalue()], lambda path: _ask(folder / "arrays", str(path)))

    return make


def _ask(run: Path, source: str) -> None:
    """`predict`, as a command does it."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        run_predictions(PredictOptions(str(run), (source,)), metrics_first=False)


def _config(ending: str) -> Callable[[Path], Parser]:
    def make(folder: Path) -> Parser:
        toml = b'hidden = [8]\nepochs = 3\nbackend = "mixed"\n'
        whole = toml if ending == "toml" else (folder / "arrays" / "config.json").read_bytes()
        return _file(folder / f"a.{ending}", [whole], load_config)

    return make


def _model(name: str) -> Callable[[Path], Parser]:
    def make(folder: Path) -> Parser:
        run = folder / "arrays"
        return _file(run / name, [(run / name).read_bytes()], lambda _: load(run))

    return make


def _manifest(folder: Path) -> Parser:
    checkpoints = folder / "arrays" / "checkpoints"
    step = checkpoints / str(steps(folder / "arrays")[0])
    return _file(step / "manifest", [(step / "manifest").read_bytes()], lambda _: files.read(step))


def _interval(_: Path) -> Parser:
    return Parser([b"500 steps"], lambda content: Interval.parse(content.decode("latin1")))


PARSERS: dict[str, Callable[[Path], Parser]] = {
    "idx": _idx,
    "idx.gz": _idx_gz,
    "npz": _npz,
    "npy": _npy,
    "csv": _table("csv", ROWS, *fuzz_csv.SEEDS),
    "csv.gz": _table("csv.gz", gzip.compress(ROWS)),
    "tsv": _table("tsv", TSV),
    "parquet": _parquet,
    "arrow": _arrow("arrow", None),
    "feather": _arrow("feather", "zstd"),
    "png": _pictures("png"),
    "jpeg": _pictures("jpeg"),
    "rows from standard input": _standard_input,
    "rows.npy": _rows(np.save, "npy"),
    "rows.npz": _rows(lambda file, x: np.savez(file, x=x), "npz"),
    "config.json": _config("json"),
    "config.toml": _config("toml"),
    "model.json": _model("model.json"),
    "params.safetensors": _model("params.safetensors"),
    "checkpoint manifest": _manifest,
    "--checkpoint-every": _interval,
}
"""What is damaged → its parser, in a folder of its own."""
