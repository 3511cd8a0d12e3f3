"""How one run of a training is carried out."""

from dataclasses import dataclass
from pathlib import Path

from neuroforge_jax.config.checks import Range, check_choice, check_number, check_whole, convert_fields
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
    """Join other processes, as host:port,count,rank."""
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
        check_choice(self, "on_save_error", "stop", "continue")
        check_choice(self, "on_divergence", "stop", "skip")
