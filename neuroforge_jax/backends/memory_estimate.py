"""What a training takes on its device, told before anything is compiled, and what fits."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from neuroforge_jax.backends.executors.base import Execution, ExecutorSpec
from neuroforge_jax.data.batch import bucket
from neuroforge_jax.data.types import Split
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.nn.mlp import MLP, abstract_params
from neuroforge_jax.system import memory

OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory")
"""XLA's words for it; a CPU's come as an internal error."""


@dataclass(frozen=True)
class Estimate:
    """Bytes on a device. data: samples that lie there; kept: weights and optimizer; gradients: of every weight;
    sample: of every unit, for each sample of a batch, its value in both dtypes and its gradient. batch: of all
    devices together; devices: how many there are.
    """

    data: int
    kept: int
    gradients: int
    sample: int
    batch: int
    devices: int = 1

    @property
    def step(self) -> int:
        """What a step takes beside what is kept."""
        return self.gradients + self.batch * self.sample

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.kept + self.step

    def __str__(self) -> str:
        where = "the device" if self.devices == 1 else f"each of {self.devices} devices"
        return (
            f"about {memory.text(self.total)} on {where}: data {memory.text(self.data)}, weights and optimizer "
            f"{memory.text(self.kept)}, a step {memory.text(self.step)}"
        )

    def largest_batch(self, available: int) -> int:
        """The largest power of two, below the batch asked for, with which all fits into these bytes; else 0."""
        room = available - self.data - self.kept - self.gradients
        batch = 1 << max(self.batch - 1, 0).bit_length()
        while batch >= self.batch or batch * self.sample > room:
            batch //= 2
            if batch == 0:
                break
        return batch


def estimate(
    spec: ExecutorSpec, execution: Execution, mlp: MLP, others: Sequence[Split] = (), parts: int = 1
) -> Estimate:
    """From shapes alone: nothing is allocated. others: splits that lie on the device beside; parts: of a batch."""
    sample, state, place = spec.train.inputs[:1].nbytes, spec.state_like, spec.placement
    members = place.round_up(spec.members or 1, "members") // place.parts("members")
    biases = (leaves["bias"] for leaves in abstract_params(mlp).values())
    units = mlp.inputs + sum(place.round_up(b.shape[0], b.axes[0]) // place.parts(b.axes[0]) for b in biases)
    return Estimate(
        data=sample * sum(map(bucket, (execution.resident(spec), *map(len, others)))),
        kept=_bytes_of_a_device((state.params, state.opt_state)),
        gradients=_bytes_of_a_device(state.params),
        sample=max(units * 12 * members // (parts * place.parts("batch")), 1),
        batch=spec.batch_size,
        devices=place.devices,
    )


def _bytes_of_a_device(like: Any) -> int:
    """Of arrays of these shapes and dtypes what lies on one device."""
    shapes = (
        (leaf, leaf.sharding.shard_shape(leaf.shape) if leaf.sharding else leaf.shape)
        for leaf in jax.tree.leaves(like)
    )
    return sum(math.prod(shape) * leaf.dtype.itemsize for leaf, shape in shapes)


UNCHECKED_BYTES = 64 << 20
"""An estimate below this is not compared with what is free: to read that takes longer than an epoch of a small
training."""


def available_bytes(device: jax.Device) -> int | None:
    """Memory that is free on the device; of a CPU, the host's. None where it is not told."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if device.platform != "cpu":
        return None
    host = memory.memory()
    known = [size for size in (host.available_bytes, host.limit_bytes) if size is not None]
    return min(known, default=None)


def check_fits(needed: Estimate, device: jax.Device) -> None:
    """Raises DeviceError where the device has not got the memory, with a batch size that fits."""
    if needed.total < UNCHECKED_BYTES:
        return
    available = available_bytes(device)
    if available is not None and device.platform == "cpu":
        available //= needed.devices  # they share the memory of the host
    if available is not None and needed.total > available:
        raise DeviceError(
            f"this training needs {needed}; {memory.text(available)} are free there; {_advice(needed, available)}"
        )


@contextmanager
def explain_out_of_memory(needed: Estimate, device: jax.Device) -> Iterator[None]:
    """Memory that runs out inside is a DeviceError with the estimate, and a batch size that fits."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in OUT_OF_MEMORY):
            raise
        # The estimate knows nothing of fragments and of other programs: less than half of it must go.
        fits = needed.largest_batch(
            min(available_bytes(device) or needed.total, needed.data + needed.kept + needed.step // 2)
        )
        raise DeviceError(
            f"the memory ran out: this training was estimated at {needed}; {_batch(fits)}"
        ) from error


def _advice(needed: Estimate, available: int) -> str:
    return _batch(needed.largest_batch(available))


def _batch(fits: int) -> str:
    if fits:
        return f"--batch-size {fits} fits"
    return (
        "no batch size fits: make --hidden smaller, take fewer --train-samples, or stream them by --async-ops"
    )
