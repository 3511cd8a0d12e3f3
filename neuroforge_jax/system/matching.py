"""What processes that train as one must have in common, found out before they begin: one sentence on each."""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax

from neuroforge_jax import __version__
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.config.checks import flag_of
from neuroforge_jax.errors import CheckpointError, ConfigError, DataError, DeviceError
from neuroforge_jax.system.peers import Peers
from neuroforge_jax.system.provenance import installed_version

SEE_SECONDS = 5.0
"""How long a process looks for what another has written."""

OF_A_PROCESS = frozenset(
    (
        *("config", "data_dir", "run_dir", "resume", "benchmark_output", "debug"),
        *("process_id", "coordinator", "join_seconds", "heartbeat_seconds"),
    )
)
"""Options that may differ: where files lie on a machine, who a process is, and how it came here."""

FOR_ONE_PROCESS = ("verify", "benchmark", "benchmark_output", "memory_profile", "trace", "debug_nans")
"""Options that run programs of their own, in which the other processes would have no part."""


def spread(peers: Peers, config: TrainConfig, options: RunOptions) -> TrainConfig:
    """The config of several processes: over all their devices, unless it says otherwise. That of one as it is.

    Raises ConfigError for options that are for one process.
    """
    if not peers.are_several:
        return config
    for name in FOR_ONE_PROCESS:
        if getattr(options, name):
            raise ConfigError(
                f"{flag_of(name)} looks at one process; leave it out, or train in one, over its devices by --mesh"
            )
    return config if config.mesh is not None else replace(config, mesh="auto")


def check_same_command(peers: Peers, config: TrainConfig, options: RunOptions) -> None:
    """Compare versions, config and options of all processes, and then their devices: only then are these asked for,
    for jax would wait for the devices of one that has failed before.

    Raises DeviceError where versions or numbers of devices differ, ConfigError where flags do; on every process
    alike.
    """
    if not peers.are_several:
        return
    versions = {
        "version of neuroforge_jax": __version__,
        "version of jax": jax.__version__,
        "version of jaxlib": installed_version("jaxlib"),
    }
    flags = asdict(config) | {
        name: value for name, value in asdict(options).items() if name not in OF_A_PROCESS
    }
    said = [json.loads(text) for text in peers.gather(json.dumps([versions, flags], default=str))]
    _check_machines(peers, [versions for versions, _ in said])
    for process, name, theirs, ours in _differences([flags for _, flags in said]):
        raise ConfigError(
            f"process {process} of {peers.count} was started with {flag_of(name)} {theirs}, and process 0 with "
            f"{ours}; start all with the same flags and config"
        )
    devices = {"platform": jax.default_backend(), "number of devices": jax.local_device_count()}
    _check_machines(peers, [json.loads(text) for text in peers.gather(json.dumps(devices))])


def _check_machines(peers: Peers, said: list[dict[str, Any]]) -> None:
    for process, name, theirs, ours in _differences(said):
        raise DeviceError(
            f"process {process} of {peers.count} has another {name} than process 0, {theirs} and not {ours}; give "
            "all the same"
        )


def check_same_data(peers: Peers, identify: Callable[[], Mapping[str, Any]]) -> None:
    """Compare the data of all processes. identify: their name, number of samples and digest.

    Raises DataError where they differ, on every process alike.
    """
    if not peers.are_several:
        return
    said = [json.loads(text) for text in peers.gather(json.dumps(identify()))]
    for process, theirs in enumerate(said):
        if theirs["sha256"] != said[0]["sha256"]:
            what, first = (f"{data['name']}, {data['samples']:,} samples" for data in (theirs, said[0]))
            how = f"{what}, and process 0 {first}" if what != first else f"{what}, and others than process 0"
            raise DataError(f"process {process} of {peers.count} has {how}; give all the same data")


def share_folder(peers: Peers, folder: Path | None) -> Path | None:
    """The folder of the run, by process 0, once every process has been seen to see it. folder: on process 0.

    Raises CheckpointError where one does not, on every process alike.
    """
    if not peers.are_several:
        return folder
    token = secrets.token_hex(8)
    if folder is not None and peers.process == 0:
        (folder / _token_name(token)).write_text(token)
    text = peers.decide(lambda: None if folder is None else [str(folder.absolute()), token])
    if text is None:
        return None
    path, name = Path(text[0]), _token_name(text[1])
    blind = [process for process, sees in enumerate(peers.gather(_see(path / name))) if sees != text[1]]
    if peers.process == 0:
        (path / name).unlink(missing_ok=True)
    if blind:
        raise CheckpointError(
            f"process {blind[0]} of {peers.count} does not see the run's folder {path} of process 0; name one that "
            "lies in a file system that all of them share, by --run-dir"
        )
    return path


def _token_name(token: str) -> str:
    return f".seen-{token}.tmp"


def _see(file: Path) -> str:
    """What is in a file that another process has written; a shared file system may show it a moment later."""
    until = time.monotonic() + SEE_SECONDS
    while True:
        try:
            return file.read_text()
        except OSError:
            if time.monotonic() > until:
                return ""
            time.sleep(0.1)


def _differences(said: list[dict[str, Any]]) -> Iterator[tuple[int, str, Any, Any]]:
    """Process, name, its value and that of process 0."""
    for process, theirs in enumerate(said):
        for name in {**said[0], **theirs}:
            if theirs.get(name) != said[0].get(name):
                yield process, name, theirs.get(name), said[0].get(name)
