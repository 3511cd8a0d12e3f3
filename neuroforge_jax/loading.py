"""Configuration files and flags: defaults < file < flags.

A `.py` file is code with a module-level `config = TrainConfig(...)`, and runs only when `--config` names it;
`.toml` and `.json` hold the same fields as data.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from neuroforge_jax.checkpointing.schedule import Schedule
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import CheckpointError, ConfigError, NotYetError, unknown


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
    """The training and the run that a command line asks for; a run that is continued starts from its own config.

    Raises ConfigError for a file or value that cannot be used, CheckpointError for a run that cannot be continued,
    NotYetError for a flag whose feature is not built; a flag that does not exist ends the process with exit code 2,
    in tyro's words.
    """
    first, _ = tyro.cli(_FirstFlags, args=args, return_unknown_args=True, add_help=False)
    if first.resume == "auto" and first.run_dir is None:
        # It goes on in the folder that the same command began in.
        first = replace(first, run_dir=Path("runs", Path(first.config or first.dataset).stem))
    file = (first.run_dir or Path()) / "config.json"
    saved = saved_config(file.parent) if first.resume == "auto" and file.exists() else None
    default = _Flags(training=_first_config(first, saved))
    flags = tyro.cli(_Flags, args=args, default=default, prog="python -m neuroforge_jax.train")
    _refuse_what_is_not_built(flags.run)
    Schedule.parse(flags.run.checkpoint_every)
    training = flags.training
    if saved and training.dataset == "auto":
        # What `auto` chose then stays chosen, whatever it would find now.
        training = replace(training, dataset=saved.dataset)
    return training, replace(flags.run, run_dir=first.run_dir)


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


def saved_config(folder: Path) -> TrainConfig:
    """The config of a run by its folder, without any Python being run. Raises CheckpointError."""
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(
            f"--resume {folder}: there is no run in this folder; give one that holds a config.json"
        )
    try:
        return load_config(file)
    except ConfigError as error:
        raise CheckpointError(
            f"{error}; restore it from a copy, or train anew in another --run-dir"
        ) from None


def load_config(path: Path) -> TrainConfig:
    """The config that a .py, .toml or .json file holds."""
    if path.suffix not in (".py", ".toml", ".json"):
        raise ConfigError(f"{path}: a config file ends in .py, .toml or .json")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such config file; give the path of a .py, .toml or .json file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: this config file cannot be read ({_reason(error)})") from None
    if path.suffix == ".py":
        return _from_python(path, text)
    return config_from_data(_from_data(path, text), str(path))


def config_from_data(data: object, source: str) -> TrainConfig:
    """The config that a mapping of field names to values describes; `source` is named in errors."""
    if not isinstance(data, dict):
        raise ConfigError(f"{source}: a config is a table of fields and values, not {type(data).__name__}")
    known = [item.name for item in fields(TrainConfig)]
    values: dict[str, Any] = {}
    for key, value in data.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"{source}: {unknown('field', str(key), known)}")
        values[name] = tuple(value) if isinstance(value, list) else value
    try:
        return TrainConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _from_data(path: Path, text: str) -> object:
    try:
        return tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid {path.suffix[1:].upper()}: {_reason(error)}") from None


def _from_python(path: Path, text: str) -> TrainConfig:
    namespace: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(text, str(path), "exec"), namespace)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except SyntaxError as error:
        raise ConfigError(f"{path}, line {error.lineno}: syntax error: {error.msg}") from None
    except Exception as error:
        line = _line_in(path, error)
        raise ConfigError(f"{path}{line}: {type(error).__name__}: {_reason(error)}") from error
    if "config" not in namespace:
        raise ConfigError(f"{path} defines no `config`; end it with config = TrainConfig(...)")
    config = namespace["config"]
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"{path}: `config` is of type {type(config).__name__}; it must be a TrainConfig")
    return config


def _line_in(path: Path, error: Exception) -> str:
    traceback, line = error.__traceback__, ""
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == str(path):
            line = f", line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line


def _reason(error: Exception) -> str:
    """The first line of an error, without the path that the system adds."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    return (text or type(error).__name__).splitlines()[0]


_LATER = {
    "distributed": "several processes",
}


def _refuse_what_is_not_built(options: RunOptions) -> None:
    defaults = RunOptions()
    for name, feature in _LATER.items():
        if getattr(options, name) != getattr(defaults, name):
            flag = "--" + name.replace("_", "-")
            raise NotYetError(f"{flag} ({feature}) is not built yet; leave it out")
