"""Records as scalars for TensorBoard, by the step: `tensorboard --logdir RUN_DIR/tensorboard`."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neuroforge_jax.callbacks.metrics_log import RecordWriter
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.training.progress import Record

GROUPS = ("train", "validation", "test")


class TensorBoard(RecordWriter):
    """Writes into `folder` from the first record on; what an earlier process wrote from that step on is void.

    Raises ConfigError where tensorboardX is not installed.
    """

    def __init__(self, folder: Path, log_every: int = 0) -> None:
        if find_spec("tensorboardX") is None:
            raise ConfigError(
                "--tensorboard needs tensorboardX: python -m pip install tensorboardX, or leave the flag out"
            )
        super().__init__(log_every)
        self._folder = folder
        self._writer: Any = None

    def write(self, record: Record) -> None:
        """Each number but those that count the steps, as train/loss, test/accuracy and the like."""
        step = record["step"]
        if self._writer is None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        numbers = {name: value for name, value in record.items() if isinstance(value, int | float)}
        for name, value in numbers.items():
            if name not in ("step", "epoch"):
                group, _, rest = name.partition("_")
                tag = f"{group}/{rest}" if group in GROUPS and rest != "seconds" else f"run/{name}"
                self._writer.add_scalar("step/loss" if record["event"] == "step" else tag, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file, where there is one."""
        if self._writer is not None:
            self._writer.close()
