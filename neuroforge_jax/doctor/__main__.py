"""What this machine has and what it lacks: `python -m neuroforge_jax.doctor [--json PATH] [--portability]`."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from neuroforge_jax.commands.outcome import leave, run_command
from neuroforge_jax.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    from rich.table import Table

    from neuroforge_jax.doctor.diagnosis import BackendRow, Device, Diagnosis, KernelRow

PROG = "python -m neuroforge_jax.doctor"
STYLES = {"ready": "green", "absent": "dim", "unavailable": "red"}


@dataclass(frozen=True)
class Flags:
    """Show what this machine has, which backends can train on it, and what would make it faster."""

    json: Path | None = None
    """Write the same for programs to this file; - is standard output, and then nothing else is written there."""
    portability: bool = False
    """Compile a training for TPUs and GPUs that need not be here, and show what it takes on each, instead."""
    config: Path | None = None
    """With --portability: the training of this config, on shapes like MNIST's (the defaults unless given)."""
    target: str | None = None
    """With --portability: this target alone, for example h200-8 or v5e-4."""
    mesh: str | None = None
    """With --portability: divided so over several chips, for example data=8, and what they send each other."""
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
    for name in ("config", "target", "mesh"):
        if getattr(flags, name) is not None and not flags.portability:
            raise ConfigError(f"--{name} is for --portability alone; add it, or leave --{name} out")
    if flags.portability:
        # Nothing is run on a device, and a plugin that finds none of its own complains and is left out.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # A look must not take the memory of a device, which another run may need.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        from neuroforge_jax.doctor.advice import advice
        from neuroforge_jax.doctor.diagnosis import diagnose, to_json
    except ImportError as error:
        raise DeviceError(f"jax cannot be imported ({error}); install this package again") from error

    if flags.portability:
        _tell_portability(flags)
        return
    seen = diagnose(flags.data_dir)
    sentences = advice(seen)
    _tell(flags.json, to_json(seen, sentences), lambda: _print(seen, sentences))


def _tell_portability(flags: Flags) -> None:
    from neuroforge_jax.commands.config_files import load_config
    from neuroforge_jax.config import TrainConfig
    from neuroforge_jax.portability import table

    config = load_config(flags.config) if flags.config else TrainConfig()
    if flags.mesh is not None:
        config = replace(config, mesh=flags.mesh)
    rows = table.portability_table(config, target=flags.target)
    records = [table.to_json(row) for row in rows]
    projected = config.mesh is not None or flags.target is not None
    _tell(flags.json, records, lambda: table.show(rows, projected=projected))


def _tell(path: Path | None, record: Any, show: Callable[[], None]) -> None:
    """Show it to a person, and write it for programs where a path is given."""
    text = json.dumps(record, indent=2)
    if str(path) == "-":
        print(text)
        return
    show()
    if path is not None:
        try:
            path.write_text(text + "\n")
        except OSError as error:
            raise ConfigError(f"--json {path}: cannot be written ({error.strerror or error})") from None
        print(f"written to {_at_home(str(path))}")


def _print(seen: "Diagnosis", sentences: Sequence[str]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(_rows(_facts(seen)))
    console.print(_backends(seen))
    console.print(_rows(_notes(seen)))
    console.print()
    lines = sentences or ("nothing is known that would make this machine faster",)
    console.print(_rows(("" if index else "faster", "-", line) for index, line in enumerate(lines)))


def _rows(lines: Iterable[tuple[str, ...]]) -> "Table":
    """A label and a text each, the user's home as ~; what goes on has no label."""
    from rich.table import Table

    table = Table.grid(padding=(0, 1))
    table.add_column(style="bold cyan", no_wrap=True, min_width=11)
    for line in lines:
        table.add_row(*(_at_home(cell) for cell in line))
    return table


def _at_home(text: str) -> str:
    home = os.environ.get("HOME") or "~"
    return re.sub(re.escape(home) + r"(?![\w.-])", "~", text)


def _facts(seen: "Diagnosis") -> Iterator[tuple[str, str]]:
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in seen.versions.items())
    yield "versions", f"neuroforge-jax {seen.neuroforge_jax}, Python {seen.python}, {versions}"
    for index, device in enumerate(seen.devices):
        yield "" if index else "devices", _device(device, seen)
    yield "cores", _cores(seen)
    yield "memory", _memory(seen)
    yield "precision", _precision(seen)
    yield "kernels", _kernels(seen)
    yield from _options(seen)
    variables = ", ".join(f"{name}={value}" for name, value in seen.variables.items())
    yield "settings", variables or "no variable of jax, XLA or oneDNN is set"
    yield "cache", _cache(seen)
    datasets = (
        f"{files.name} {files.state}" + (f" ({_size(files.size_bytes)})" if files.size_bytes else "")
        for files in seen.datasets
    )
    yield "data", f"{seen.data_folder}: {', '.join(datasets)}"


def _device(device: "Device", seen: "Diagnosis") -> str:
    kind = seen.processor if device.platform == "cpu" else device.kind
    text = f"{device.platform} ({kind})"
    if device.memory_bytes is not None:
        text += f", {_size(device.memory_in_use_bytes or 0)} of {_size(device.memory_bytes)} in use"
    return text + (f": fails ({device.trouble})" if device.trouble else "")


def _cores(seen: "Diagnosis") -> str:
    cores = seen.cores
    text = f"{cores.allowed} of {cores.machine} for this process"
    if cores.quota is not None:
        text += f", the time of {cores.quota:g} by its control group"
    return (
        text
        if cores.busy_with_others is None
        else f"{text}; {cores.busy_with_others:.1f} busy with other work"
    )


def _memory(seen: "Diagnosis") -> str:
    memory = seen.memory
    if memory.total_bytes is None or memory.available_bytes is None:
        return "this system does not say"
    text = f"{_size(memory.available_bytes)} of {_size(memory.total_bytes)} free"
    return text if memory.limit_bytes is None else f"{text}; {_size(memory.limit_bytes)} by its control group"


def _cache(seen: "Diagnosis") -> str:
    folder, reason = seen.compilation_cache.folder, seen.compilation_cache.reason
    if folder is None:
        return f"compiled programs are not kept: {reason}"
    from neuroforge_jax.backends.compiler import ONEDNN, REPAYS_FROM_FLOPS  # with jax

    onednn = any(ONEDNN in row.options for row in seen.compile_options)
    f32, bf16 = (f"{REPAYS_FROM_FLOPS[in_bf16] / 1e12:g}" for in_bf16 in (False, True))
    but = (
        f"; those through oneDNN cannot be, so that only trainings of {f32} TFLOP and more ({bf16} in bf16) use it"
        if onednn
        else ""
    )
    return f"compiled programs are kept in {folder}{f' ({reason})' if reason else ''}{but}"


def _size(count: int) -> str:
    from neuroforge_jax.system.memory import text  # with jax

    return text(count)


def _precision(seen: "Diagnosis") -> str:
    precision = seen.precision
    if precision.bf16_from_step_flops is None:
        return precision.reason
    if not precision.bf16_from_step_flops:
        reason = precision.reason
        return f"bf16 should be the faster one, but {reason}" if reason else "bf16 is the faster one"
    return (
        f"bf16 is the faster one from {precision.bf16_from_step_flops / 1e6:g} MFLOP a step on, float32 below "
        f"({', '.join(precision.bf16_flags)})"
    )


def _kernels(seen: "Diagnosis") -> str:
    kernels = seen.kernels
    if kernels.name is None:
        return (
            "none for this device: XLA computes the layers; --kernels interpret runs the TPU's as plain jax"
        )
    left = f"; {', '.join(kernels.left_to_xla)}: XLA" if kernels.left_to_xla else ""
    return f"{kernels.name} for {', '.join(kernels.multiplied)}{left}; {kernels.measured} sizes measured"


def _options(seen: "Diagnosis") -> Iterator[tuple[str, str]]:
    """A line for each precision, or for each of its batch sizes where they differ."""
    told: dict[str, str] = {}
    for precision in dict.fromkeys(row.precision for row in seen.compile_options):
        rows = [row for row in seen.compile_options if row.precision == precision]
        alike = all(row.options == rows[0].options for row in rows)
        for row in rows[:1] if alike else rows:
            options = " ".join(f"{name}={value!r}" for name, value in row.options.items()) or "none"
            name = precision if alike else f"{precision}, batch {row.batch_size}"
            shown = f"as {told[options]}" if options in told and row.options else options
            yield "" if told else "options", f"{name}: {shown}"
            told.setdefault(options, name)


def _backends(seen: "Diagnosis") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("backend", "execution", "precision", "kernels", "platform", "here"):
        table.add_column(heading, overflow="fold")
    for row in seen.backends:
        axes = (row.execution, row.precision, row.kernels, row.platform)
        table.add_row(row.name, *axes, Text(row.status, style=STYLES[row.status]))
    return table


def _notes(seen: "Diagnosis") -> Iterator[tuple[str, str]]:
    """What `auto` takes, where plugins come from, and why what is not ready is not: a line for each reason."""
    yield "auto", f"takes {seen.auto}"
    for row in seen.backends:
        if row.origin and row.status == "ready":
            yield "plugin", f"{row.name} comes from {row.origin}"
    for kernel in seen.kernel_plugins:
        if kernel.status == "ready":
            yield "plugin", f"--kernels {kernel.name} ({', '.join(kernel.dtypes)}) comes from {kernel.origin}"
    names: dict[tuple[str, str], list[str]] = {}
    for row in seen.backends:
        if row.status != "ready":
            name = f"{row.name} of {row.origin}" if row.origin else row.name
            names.setdefault((row.status, _because(row)), []).append(name)
    for kernel in seen.kernel_plugins:
        if kernel.status != "ready":
            name = f"--kernels {kernel.name} of {kernel.origin}"
            names.setdefault((kernel.status, _because(kernel)), []).append(name)
    for (status, reason), those in names.items():
        yield status, f"{', '.join(those)}: {reason}"


def _because(row: "BackendRow | KernelRow") -> str:
    """The reason without the name, and without what else one could do."""
    if row.status == "unavailable":
        return row.reason.partition(" is unavailable: ")[2]
    reason = row.reason.rpartition(" cannot be used: ")[2]
    return reason.removeprefix(f"backend {row.name!r} ").partition(";")[0]


if __name__ == "__main__":
    leave(main())
