"""How a run was carried out, saved with it, so that a resumed run needs none of the first command's flags.

`options.json` holds every option but those that only say which run it is; restored are those that say how it is
carried out. It also says where the first command was started, relative to the run's folder: a relative path of data
is found again from there.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import CheckpointError, ConfigError
from neuroforge_jax.system.files import read_json

NAMES_A_RUN = ("config", "run_dir", "resume", "debug")
JOINS = ("distributed", "coordinator", "num_processes", "process_id", "join_seconds", "heartbeat_seconds")
"""With whom a run is carried out, which is another matter each time."""

LOOKS_ONCE = ("verify", "tolerance", "benchmark", "benchmark_output", "memory_profile", "trace")
"""What a command looks at beside training is asked for each time."""

NOT_RESTORED = (*NAMES_A_RUN, *JOINS, *LOOKS_ONCE)
STARTED_IN = "started_in"


def describe_options(options: RunOptions, folder: Path) -> dict[str, Any]:
    """The contents of options.json."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    kept = {name: value for name, value in plain.items() if name not in (*NAMES_A_RUN, *JOINS)}
    return {**kept, STARTED_IN: os.path.relpath(Path.cwd(), folder.resolve())}


def resumed_folder(options: RunOptions) -> Path | None:
    """The folder of the run that these options go on with; None for a new run."""
    if options.resume not in (None, "auto"):
        return Path(options.resume)
    if options.resume == "auto" and options.run_dir and (options.run_dir / "config.json").exists():
        return options.run_dir
    return None


def saved_options(folder: Path) -> RunOptions:
    """The options of the run in this folder; the defaults where it is one of version 0.1, which saved none.

    Raises CheckpointError for a file that holds something else.
    """
    file = folder / "options.json"
    if not file.is_file():
        return RunOptions()
    saved = read_json(file)
    known = {field.name for field in fields(RunOptions)} - set(NOT_RESTORED)
    values = {name: value for name, value in saved.items() if name in known}
    try:
        if values.get("data_dir") is not None:
            values["data_dir"] = _found_again(Path(values["data_dir"]), saved, folder)
        return RunOptions(**values)
    except (ConfigError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file} does not describe a run ({error}); restore it from a copy, or remove it and give its flags"
        ) from None


def restore_options(options: RunOptions) -> RunOptions:
    """The options of a run that goes on: of each that is at its default, what its first command said."""
    folder = resumed_folder(options)
    if folder is None or not folder.is_dir():
        return options
    defaults, saved = asdict(RunOptions()), asdict(saved_options(folder))
    given = {name: value for name, value in asdict(options).items() if value != defaults[name]}
    return replace(options, **{**saved, **given})


def holds_out_by_class(options: RunOptions) -> bool:
    """Whether the run held out every class's share; one that goes on from version 0.2 did not."""
    folder = resumed_folder(options)
    if folder is None or not (folder / "config.json").is_file():
        return True
    return "task" in read_json(folder / "config.json")


def find_data(config: TrainConfig, options: RunOptions) -> TrainConfig:
    """The config of a run that goes on, its relative path of data found from where the first command was
    started. A dataset's name stays a name, whatever lies there.
    """
    from neuroforge_jax.data.datasets import DATASETS  # only who resumes needs it before the data are read

    folder = resumed_folder(options)
    if folder is None or config.dataset in DATASETS or not (folder / "options.json").is_file():
        return config
    if Path(config.dataset).exists():
        return config
    saved = read_json(folder / "options.json")
    found = _found_again(Path(config.dataset), saved, folder)
    return replace(config, dataset=str(found)) if found.exists() else config


def _found_again(path: Path, saved: Mapping[str, Any], folder: Path) -> Path:
    if path.is_absolute() or path.exists():
        return path
    return Path(os.path.normpath(folder.resolve() / str(saved.get(STARTED_IN, ".")) / path))
