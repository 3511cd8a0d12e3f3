"""What a training takes on its device, told before anything is compiled, and what fits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax

from neuroforge_jax.backends.executors.pipelined import Streaming
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.shuffle import steps_per_epoch
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import count
from neuroforge_jax.system import memory
from neuroforge_jax.system.memory import memory as host_memory
from neuroforge_jax.training.step import Training

OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory")
"""XLA's words for it; a CPU's come as an internal error."""


@dataclass(frozen=True)
class Estimate:
    """Bytes on the device. data: samples that lie there; kept: weights and optimizer; gradients: of every weight;
    sample: of every unit, for each sample of a batch, its value in both dtypes and its gradient.
    """

    data: int
    kept: int
    gradients: int
    sample: int
    batch: int

    @property
    def step(self) -> int:
        """What a step takes beside what is kept."""
        return self.gradients + self.batch * self.sample

    @property
    def total(self) -> int:
        """All of it."""
        return self.data + self.kept + self.step

    def __str__(self) -> str:
        return (
            f"about {memory.text(self.total)} on the device: data {memory.text(self.data)}, weights and optimizer "
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
    config: TrainConfig,
    backend: Backend,
    dataset: Dataset,
    model: Model,
    training: Training,
    streaming: Streaming,
) -> Estimate:
    """From shapes alone: nothing is allocated."""
    sample = dataset.train.inputs[:1].nbytes
    if backend.execution == "pipelined":
        chunk = streaming.steps_of_chunk(
            config.batch_size, config.epochs * steps_per_epoch(len(dataset.train), config.batch_size)
        )
        resident = streaming.buffers * chunk * config.batch_size
    else:
        resident = config.batch_size if backend.execution == "eager" else len(dataset.train)
    kept = jax.eval_shape(lambda: _kept(model, training))
    return Estimate(
        data=resident * sample + dataset.test.inputs.nbytes,
        kept=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept)),
        gradients=4 * count(model.mlp),
        sample=sum((model.mlp.inputs, *model.mlp.hidden, model.mlp.outputs)) * 12,
        batch=config.batch_size // config.accumulate,
    )


def available_bytes(device: jax.Device) -> int | None:
    """Memory that is free on the device; of a CPU, the host's. None where it is not told."""
    stats = device.memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if device.platform != "cpu":
        return None
    host = host_memory()
    known = [size for size in (host.available_bytes, host.limit_bytes) if size is not None]
    return min(known, default=None)


def check_fits(needed: Estimate, device: jax.Device) -> None:
    """Raises DeviceError where the device has not got the memory, with a batch size that fits."""
    available = available_bytes(device)
    if available is not None and needed.total > available:
        raise DeviceError(
            f"this training needs {needed}; {memory.text(available)} are free there; {_advice(needed, available)}"
        )


@contextmanager
def told_in_bytes(needed: Estimate, device: jax.Device) -> Iterator[None]:
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


def _kept(model: Model, training: Training) -> object:
    params = model.init(jax.random.key(0))
    return params, training.optimizer.init(params)
