"""Joining the other processes of a run, by jax's own distributed runtime: once, before jax is first used."""

import socket
import sys
from typing import Any

import jax

from neuroforge_jax.config import RunOptions
from neuroforge_jax.errors import ConfigError, DeviceError, first_line

_claims: list[socket.socket] = []
"""What keeps a second process 0 off a port of this machine, until this process ends."""


def join(options: RunOptions) -> None:
    """Join the processes that the options name; nothing where they name none, or have been joined already.

    Raises ConfigError where --distributed auto finds no launcher, DeviceError where jax is in use already or the
    coordinator's address cannot be used. A coordinator that does not answer, and two processes of one id, end the
    process: jax knows no other way, and `LossWatch` puts it in words.
    """
    if not options.joins or jax.distributed.is_initialized():
        return
    # Its handler of SIGTERM would take the place of the one that saves.
    jax.config.update("jax_enable_preemption_service", False)
    # It warns of proxies, which are named where they are in the way.
    jax.config.update("jax_check_proxy_envs", False)
    where: dict[str, Any] = {}
    if options.coordinator is not None:
        if options.process_id == 0:
            _claim(options.coordinator)
        where = {
            "coordinator_address": options.coordinator,
            "num_processes": options.num_processes,
            "process_id": options.process_id,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(
            **where,
            initialization_timeout=options.join_seconds,
            heartbeat_timeout_seconds=options.heartbeat_seconds,
        )
    except (ValueError, RuntimeError) as error:
        raise _explain(error, options) from None


def _explain(error: Exception, options: RunOptions) -> ConfigError | DeviceError:
    text = first_line(error)
    if "before" in text and "backend" in text:
        return DeviceError("jax is in use already: join the other processes before anything is computed")
    if options.distributed is None:
        return DeviceError(
            f"--coordinator {options.coordinator}: process {options.process_id} cannot use that address ({text}); "
            "give a host and a free port of process 0"
        )
    return ConfigError(
        "--distributed auto finds no launcher (Open MPI, Slurm, Kubernetes, Cloud TPU) that tells of other "
        f"processes ({text}); start by one, or give --coordinator, --num-processes and --process-id"
    )


def _claim(coordinator: str) -> None:
    """Raise DeviceError where another process 0 listens at this port of this machine.

    The service shares its port with anyone who asks, so that two would take turns with the others: a name that the
    system gives only once, and takes back when the process ends, tells them apart. Linux has such names.
    """
    if sys.platform != "linux":
        return
    port = coordinator.rpartition(":")[2]
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0neuroforge-coordinator-{port}")
    except OSError:
        claim.close()
        raise DeviceError(
            f"--process-id 0: another process 0 listens at {coordinator} already; give each process an id of its "
            "own, or another port"
        ) from None
    _claims.append(claim)
