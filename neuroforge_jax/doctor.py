"""What this machine has and what it lacks: `python -m neuroforge_jax.doctor [--json PATH]`."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from neuroforge_jax.command import run_command
from neuroforge_jax.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from neuroforge_jax.diagnosis import BackendRow, Device, Diagnosis

PROG = "python -m neuroforge_jax.doctor"
STYLES = {"ready": "green", "not yet": "yellow", "absent": "dim", "unavailable": "red"}


@dataclass(frozen=True)
class Flags:
    """Show devices, versions, backends, compile options, memory and data, and what would make this machine faster."""

    json: Path | None = None
    """Write the same for programs to this file; - is standard output, and then nothing else is written there."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""
    debug: bool = False
    """Show tracebacks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Look, and tell what was seen; returns the exit code, which is 0 wherever jax starts."""
    args = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _doctor(args), debug="--debug" in args)


def _doctor(args: Sequence[str]) -> None:
    flags = tyro.cli(Flags, args=args, prog=PROG)
    try:
        from neuroforge_jax.diagnosis import diagnose, to_json
    except ImportError as error:
        raise DeviceError(f"jax cannot be imported ({error}); install this package again") from error

    seen = diagnose(flags.data_dir)
    text = json.dumps(to_json(seen), indent=2)
    if str(flags.json) == "-":
        print(text)
        return
    _print(seen)
    if flags.json is not None:
        try:
            flags.json.write_text(text + "\n")
        except OSError as error:
            raise ConfigError(f"--json {flags.json}: cannot be written ({error.strerror or error})") from None
        print(f"written to {flags.json}")


def _print(seen: "Diagnosis") -> None:
    from rich.console import Console

    from neuroforge_jax.diagnosis import advice

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_facts(seen))
    console.print(_backends(seen))
    sentences = advice(seen)
    console.print("faster" if sentences else "faster: nothing is known that would make this machine faster")
    _bullets(console, sentences)


def _facts(seen: "Diagnosis") -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column()
    for label, text in _lines(seen):
        table.add_row(label, text)
    return table


def _lines(seen: "Diagnosis") -> Iterator[tuple[str, str]]:
    """A label and a text each; what goes on has no label."""
    from neuroforge_jax.observe.memory import text as size

    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in seen.versions.items())
    yield "versions", f"neuroforge-jax {seen.neuroforge_jax}, Python {seen.python}, {versions}"
    for index, device in enumerate(seen.devices):
        yield "" if index else "devices", _device(device, seen)
    yield "cores", _cores(seen)
    memory = seen.memory
    free = f"{size(memory.available)} of " if memory.available is not None else ""
    limit = f"; the control group allows {size(memory.limit)}" if memory.limit is not None else ""
    yield "memory", f"{free}{size(memory.total)} free{limit}" if memory.total is not None else "not told"
    yield "precision", _precision(seen)
    yield from _options(seen)
    variables = ", ".join(f"{name}={value}" for name, value in seen.variables.items())
    yield "settings", variables or "no variable that jax, XLA or oneDNN would heed"
    yield (
        "cache",
        f"compiled programs in {_home(seen.compilation_cache)}"
        if seen.compilation_cache
        else ("compiled programs are not kept (jax's compilation cache is off)"),
    )
    yield (
        "data",
        f"{_home(seen.data_folder)}: "
        + ", ".join(
            f"{files.name} {files.state}{f' ({size(files.size)})' if files.size else ''}"
            for files in seen.datasets
        ),
    )


def _device(device: "Device", seen: "Diagnosis") -> str:
    from neuroforge_jax.observe.memory import text as size

    kind = seen.processor if device.platform == "cpu" else device.kind
    used = f", {size(device.memory_in_use)} in use" if device.memory_in_use is not None else ""
    memory = f", {size(device.memory)} for jax{used}" if device.memory is not None else ""
    return f"{device.platform} ({kind}){memory}" + (f": fails ({device.trouble})" if device.trouble else "")


def _cores(seen: "Diagnosis") -> str:
    cores = seen.cores
    quota = f", the time of {cores.quota:g} by its control group" if cores.quota is not None else ""
    busy = f"; other work takes {cores.busy:.1f} now" if cores.busy is not None else ""
    return f"{cores.allowed} of {cores.machine} for this process{quota}{busy}"


def _precision(seen: "Diagnosis") -> str:
    precision = seen.precision
    if precision.bf16_from_step_flops is None:
        return precision.reason
    if not precision.bf16_from_step_flops:
        return "bf16 is the faster one"
    return (
        f"bf16 units ({', '.join(precision.bf16_flags)}): bf16 is the faster one from "
        f"{precision.bf16_from_step_flops / 1e6:g} MFLOP a step on, float32 below"
    )


def _options(seen: "Diagnosis") -> Iterator[tuple[str, str]]:
    """A line for each precision, or for each batch size where it matters."""
    label = "options"
    for precision in dict.fromkeys(row.precision for row in seen.compile_options):
        rows = [row for row in seen.compile_options if row.precision == precision]
        alike = all(row.options == rows[0].options for row in rows)
        for row in rows[:1] if alike else rows:
            options = " ".join(f"{name}={value!r}" for name, value in row.options.items())
            batch = "" if alike else f", batch {row.batch_size}"
            yield label, f"{precision}{batch}: {options or 'none'}"
            label = ""


def _backends(seen: "Diagnosis") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("backend", "execution", "precision", "kernels", "platform", ""):
        table.add_column(heading, overflow="fold")
    for row in seen.backends:
        table.add_row(
            row.name, row.execution, row.precision, row.kernels, row.platform,
            Text(_availability(row), style=STYLES[row.status]),
        )  # fmt: skip
    table.add_row("auto", "", "", "", "", f"takes {seen.auto}")
    return table


def _availability(row: "BackendRow") -> str:
    """`not yet: …` without what the row says already and what else one could do."""
    reason = row.reason.removeprefix(f"backend {row.name!r} ").removeprefix(
        f"of {row.origin} is unavailable: "
    )
    if row.status != "unavailable":
        reason = reason.partition(";")[0]
    return row.status + (row.origin and f", from {row.origin}") + (reason and f": {reason}")


def _bullets(console: "Console", sentences: Sequence[str]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    for sentence in sentences:
        table.add_row("-", sentence)
    console.print(table)


def _home(path: str | Path) -> str:
    """The path with ~ for the user's home."""
    try:
        return str("~" / Path(path).relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
