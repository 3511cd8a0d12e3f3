"""How one run of a training is carried out."""

from dataclasses import dataclass
from pathlib import Path

from neuroforge_jax.config.checks import (
    Range,
    check_choice,
    check_number,
    check_whole,
    convert_fields,
    flag_of,
)
from neuroforge_jax.errors import ConfigError


@dataclass(frozen=True)
class RunOptions:
    """How one run is carried out; only `on_divergence` changes what is computed, where a step diverges."""

    config: Path | None = None
    """A .py, .toml or .json file to start from; flags override it."""
    data_dir: Path | None = None
    """Folder of the datasets (else NEUROFORGE_DATA_DIR, else the user's cache folder)."""
    run_dir: Path | None = None
    """Folder to write the run to (else a new one under runs/)."""
    resume: str | None = None
    """Continue the run in this folder, or auto: the one of --run-dir if it is there, else a new one."""
    checkpoint_every: str = "1 minute"
    """Save every '500 steps', '2 epochs', '10 minutes' or the like, and at the end; or never."""
    keep_latest: int = 2
    """Checkpoints to keep: the latest N."""
    keep_best: int = 1
    """Checkpoints to keep beside: the best M by validation, of those saved at the end of an epoch."""
    on_save_error: str = "stop"
    """What to do when a checkpoint cannot be written: stop, or continue and try again when the next one is due."""
    chunk_steps: int | None = None
    """Steps of one dispatch of a pipelined run (else about 8,192 samples)."""
    read_ahead: int = 2
    """Chunks that a pipelined run reads ahead of the device."""
    log_every: int = 0
    """Write a line of metrics every N steps (0: one an epoch)."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard too, into tensorboard/ of the run's folder."""
    benchmark: bool = False
    """Show where the time went: a tree of spans, and a step taken apart into data, forward, backward, optimizer."""
    benchmark_output: Path | None = None
    """Write the same, the result and the environment to this JSON file."""
    memory_profile: bool = False
    """Show where the memory is: programs, arrays, device and process; in memory.json and memory.pprof too."""
    memory_fraction: float | None = None
    """Share of a GPU's memory that the command may take (0.75)."""
    preallocate: bool | None = None
    """Take that memory at once, or as it is needed (at once)."""
    trace: int | None = None
    """Trace so many steps for Perfetto or XProf, and show the operations that took longest."""
    verify: bool = False
    """Check the backend against the float64 oracle first."""
    tolerance: float | None = None
    """Relative error in norm that --verify accepts in float32 (1e-6)."""
    on_divergence: str = "stop"
    """What to do about a step whose gradients are no numbers: stop at it, or skip its update."""
    debug_nans: bool = False
    """Train a step that diverged again, operation by operation, and name the one that made the first NaN."""
    distributed: str | None = None
    """Join the processes that a launcher started: auto, for Open MPI, Slurm, Kubernetes and Cloud TPU."""
    coordinator: str | None = None
    """Join processes that were started one by one: HOST:PORT, where process 0 listens."""
    num_processes: int | None = None
    """How many processes there are, with --coordinator."""
    process_id: int | None = None
    """Which of them this one is, from 0, with --coordinator."""
    join_seconds: int = 60
    """How long to wait until all processes are there."""
    heartbeat_seconds: int = 30
    """After how long without a sign of life a process is taken for lost, which ends the others."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        convert_fields(self)
        check_whole(self, "log_every", 0, 2**31 - 1)
        check_number(self, "tolerance", Range(0, 1, above=True), optional=True)
        check_number(self, "memory_fraction", Range(0, 1, above=True), optional=True)
        if self.tolerance is not None and not self.verify:
            raise ConfigError("--tolerance is what --verify accepts; add --verify or leave it out")
        check_whole(self, "trace", 1, 1_000_000, optional=True)
        check_whole(self, "chunk_steps", 1, 1_000_000, optional=True)
        check_whole(self, "read_ahead", 1, 1000)
        check_whole(self, "keep_latest", 1, 1_000_000)
        check_whole(self, "keep_best", 0, 1_000_000)
        check_whole(self, "join_seconds", 1, 86_400)
        check_whole(self, "heartbeat_seconds", 3, 86_400)
        self._check_processes()
        check_choice(self, "on_save_error", "stop", "continue")
        check_choice(self, "on_divergence", "stop", "skip")

    @property
    def joins(self) -> bool:
        """Whether other processes are to be joined."""
        return self.distributed is not None or self.coordinator is not None

    def _check_processes(self) -> None:
        if self.distributed is not None:
            check_choice(self, "distributed", "auto")
        check_whole(self, "num_processes", 1, 2**20, optional=True)
        check_whole(self, "process_id", 0, 2**20, optional=True)
        by_hand = {
            flag_of(name): getattr(self, name) for name in ("coordinator", "num_processes", "process_id")
        }
        given = [flag for flag, value in by_hand.items() if value is not None]
        if given and self.distributed is not None:
            raise ConfigError(
                f"--distributed auto asks the launcher for what {given[0]} says; leave one of them out"
            )
        if given and len(given) < len(by_hand):
            absent = next(flag for flag in by_hand if flag not in given)
            raise ConfigError(
                f"{', '.join(by_hand)} go together, and {absent} is not given; give all or none"
            )
        if self.coordinator is None or self.num_processes is None or self.process_id is None:
            return
        _, colon, port = self.coordinator.rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise ConfigError(
                f"--coordinator {self.coordinator}: it takes HOST:PORT of process 0, such as node1:7654"
            )
        if self.process_id >= self.num_processes:
            raise ConfigError(
                f"--process-id {self.process_id}: of {self.num_processes} processes the last is "
                f"{self.num_processes - 1}; they are counted from 0"
            )
