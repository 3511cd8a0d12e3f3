"""Where a kernel is faster than XLA, and with which tiles: by measurement on that device, never by belief.

`measured.json` beside this file is shipped, made by `benchmarks/kernels.py`; what the same script measured on the
user's own device lies over it, in the cache folder. An entry is for a device kind, a part of an operation, a dtype
and sizes up to the next power of two:

    {"format": 1, "devices": {"NVIDIA H200": {"dense bf16 8192×1024×1024": {"implementation": "hopper", …}}}}
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
from jax.typing import DTypeLike
from platformdirs import user_cache_path

from neuroforge_jax.errors import ConfigError
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS
from neuroforge_jax.kernels.tiling import Tiles
from neuroforge_jax.precision.policy import short_name
from neuroforge_jax.system.files import write_json

FORMAT = 1
SHIPPED = Path(__file__).with_name("measured.json")


@dataclass(frozen=True)
class Measured:
    """What was the fastest. tiles: None for the implementation's own. over_xla: how many times as fast as XLA."""

    implementation: str
    tiles: Tiles | None
    over_xla: float


def find_measurement(kind: str, part: str, dtype: DTypeLike, size: tuple[int, int, int]) -> Measured | None:
    """The entry for a device of this kind, or None where nothing was measured."""
    return entries_of(kind).get(entry_name(part, dtype, size))


def entries_of(kind: str) -> Mapping[str, Measured]:
    """All that was measured on devices of this kind, by the names of the entries."""
    return _table().get(kind, {})


def entry_name(part: str, dtype: DTypeLike, size: tuple[int, int, int]) -> str:
    """The name of the entry that is for this size: each axis up to the next power of two."""
    return f"{part} {short_name(dtype)} {'×'.join(str(1 << (n - 1).bit_length()) for n in size)}"


def default_kind() -> str:
    """The kind of device that programs are made for: that of an abstract mesh in force, else of jax's default."""
    abstract = jax.sharding.get_abstract_mesh().abstract_device
    return abstract.device_kind if abstract else jax.devices()[0].device_kind


def own_file() -> Path:
    """Where the measurements of the user's own device lie."""
    return user_cache_path("neuroforge-jax") / "kernels.json"


def remember(kind: str, entries: Mapping[str, Measured]) -> None:
    """Put these into the table of the user's own; they count for what is traced from now on."""
    try:
        table = read(own_file())
    except (OSError, ValueError):
        table = {}
    write(own_file(), table | {kind: table.get(kind, {}) | dict(entries)})
    _table.cache_clear()


def write(path: Path, devices: Mapping[str, Mapping[str, Measured]]) -> None:
    """A table as a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {kind: _plain(entries) for kind, entries in devices.items()}
    write_json(path, {"format": FORMAT, "devices": plain}, ConfigError)


def read(path: Path) -> dict[str, dict[str, Measured]]:
    """A table of a file: device kind → entry name → choice. Raises ValueError for what is no such table."""
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path} is no table of measured kernels in format {FORMAT}")
    try:
        return {
            kind: {name: _entry(entry) for name, entry in entries.items()}
            for kind, entries in found["devices"].items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no table of measured kernels: {error!r}") from None


@cache
def _table() -> dict[str, dict[str, Measured]]:
    table = read(SHIPPED)
    try:
        own = read(own_file())
    except FileNotFoundError:
        return table
    except (OSError, ValueError) as error:
        warnings.warn(f"the kernels measured here are left out: {error}; remove {own_file()}", stacklevel=2)
        return table
    return {kind: table.get(kind, {}) | own.get(kind, {}) for kind in {*table, *own}}


def _plain(entries: Mapping[str, Measured]) -> dict[str, Any]:
    return {name: asdict(choice) for name, choice in entries.items()}


def _entry(entry: Mapping[str, Any]) -> Measured:
    if entry["implementation"] not in ("xla", *KERNEL_SETS):
        raise TypeError(f"no implementation {entry['implementation']!r}")
    tiles = entry["tiles"] and Tiles(**entry["tiles"])
    if tiles and not all(isinstance(size, int) and size > 0 for size in asdict(tiles).values()):
        raise TypeError(f"no tiles {entry['tiles']!r}")
    return Measured(entry["implementation"], tiles, float(entry["over_xla"]))
