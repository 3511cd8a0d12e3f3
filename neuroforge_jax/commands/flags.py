"""The flags of `train`: defaults < config file < flags."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.checkpoint.saved_options import find_data, resumed_folder, saved_options
from neuroforge_jax.commands.config_files import load_config, saved_config
from neuroforge_jax.commands.short_flags import write_out
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import ConfigError


@dataclass(frozen=True)
class _Flags:
    """Train a multilayer perceptron."""

    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    run: Annotated[RunOptions, tyro.conf.arg(name="")] = field(default_factory=RunOptions)


@dataclass(frozen=True)
class _FirstFlags:
    """What decides from where the others start."""

    config: Path | None = None
    run_dir: Path | None = None
    resume: str | None = None
    dataset: str = TrainConfig().dataset


def parse_flags(args: Sequence[str]) -> tuple[TrainConfig, RunOptions]:
    """The training and the run that a command line asks for; a run that is continued starts from its own config and
    options, and a flag that is given wins over them, its default value too.

    Raises ConfigError for a file or value that cannot be used, CheckpointError for a run that cannot be continued;
    a flag that does not exist ends the process with exit code 2, in tyro's words.
    """
    args = write_out(args)
    first, _ = tyro.cli(_FirstFlags, args=args, return_unknown_args=True, add_help=False)
    if first.resume == "auto" and first.run_dir is None:
        # It goes on in the folder that the same command began in.
        first = replace(first, run_dir=Path("runs", Path(first.config or first.dataset).stem))
    goes_on_in = resumed_folder(RunOptions(run_dir=first.run_dir, resume=first.resume))
    saved = saved_config(goes_on_in) if first.resume == "auto" and goes_on_in else None
    training = _first_config(first, saved)
    run = RunOptions() if goes_on_in is None else saved_options(goes_on_in)
    default = _Flags(training, run)
    flags = tyro.cli(_Flags, args=args, default=default, prog="python -m neuroforge_jax.train")
    Interval.parse(flags.run.checkpoint_every)
    training, run = flags.training, replace(flags.run, run_dir=first.run_dir)
    if saved and training.dataset == "auto":
        # What `auto` chose then stays chosen, whatever it would find now.
        training = replace(training, dataset=saved.dataset)
    return training if goes_on_in is None else find_data(training, run), run


def _first_config(first: _FirstFlags, saved: TrainConfig | None) -> TrainConfig:
    """What the flags override; saved: of the run that --resume auto has found."""
    if first.resume is not None and first.resume != "auto":
        if first.config is not None:
            raise ConfigError(
                f"--resume {first.resume} starts from that run's own config, and --config {first.config} names "
                "another; leave one of them out"
            )
        if first.run_dir is not None and first.run_dir != Path(first.resume):
            raise ConfigError(
                f"--resume {first.resume} goes on in its own folder, and --run-dir {first.run_dir} names another; "
                "leave one of them out"
            )
        return saved_config(Path(first.resume))
    if first.config is not None:
        return load_config(first.config)
    return saved or TrainConfig()
