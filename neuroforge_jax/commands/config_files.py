"""Configuration files: a `.py` file is code with a module-level `config = TrainConfig(...)`, and runs only when
`--config` names it; `.toml` and `.json` hold the same fields as data.
"""

import json
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import CheckpointError, ConfigError, unknown


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
