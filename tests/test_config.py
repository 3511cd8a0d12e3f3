"""Configurations: numbers are checked when they are made, and an error says what is allowed."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroforge_jax.commands.config_files import config_from_data, load_config
from neuroforge_jax.commands.flags import parse_flags
from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import ConfigError, UserError

pytestmark = pytest.mark.smoke

WRONG = [
    ({"learning_rate": float("nan")}, "--learning-rate nan: it takes a finite number above 0"),
    ({"learning_rate": 0.0}, "--learning-rate 0.0: it takes a finite number above 0"),
    ({"learning_rate": -1.0}, "--learning-rate -1.0"),
    ({"learning_rate": float("inf")}, "--learning-rate inf"),
    ({"learning_rate": 1e9}, "--learning-rate 1000000000.0"),
    ({"batch_size": 0}, "--batch-size 0: it takes a whole number from 1"),
    ({"batch_size": -3}, "--batch-size -3"),
    ({"batch_size": 2**40}, "--batch-size 1099511627776"),
    ({"batch_size": 8.0}, "batch_size is 8.0: it takes a whole number"),
    ({"batch_size": True}, "batch_size is True: it takes a whole number"),
    ({"epochs": 0}, "--epochs 0"),
    ({"hidden": (64, 0)}, "hidden 0: widths are whole numbers from 1"),
    ({"hidden": (64, -1)}, "hidden -1"),
    ({"hidden": (10**9,)}, "hidden 1000000000"),
    ({"hidden": {64}}, "hidden is {64}: it takes a tuple of whole numbers"),
    ({"target": 3}, "target is 3: it takes a tuple of strings"),
    ({"task": "ranking"}, "--task ranking: it takes auto, classification, regression or multilabel"),
    ({"delimiter": ";;"}, "--delimiter ';;': it takes one character, or tab"),
    ({"drop": "a", "numeric": ("b", "a")}, "--drop and --numeric both name 'a'; keep one of them"),
    ({"target": "a", "drop": "a"}, "--target and --drop both name 'a'"),
    ({"target": "a", "id": "a"}, "--id a: it is the target; name another column"),
    ({"hidden": ("64",)}, "hidden is ('64',)"),
    ({"dropout": 1.0}, "--dropout 1.0: it takes a finite number from 0 to below 1"),
    ({"label_smoothing": -0.1}, "--label-smoothing -0.1"),
    ({"validation_fraction": 1.0}, "--validation-fraction 1.0"),
    (
        {"loss": "quantile", "quantiles": ()},
        "--quantiles : it takes numbers between 0 and 1, from low to high",
    ),
    ({"loss": "quantile", "quantiles": (0.5, 1.0)}, "--quantiles 0.5 1.0"),
    ({"loss": "quantile", "quantiles": (0.9, 0.1)}, "--quantiles 0.9 0.1"),
    ({"loss": "quantile", "quantiles": (0.5, 0.5)}, "--quantiles 0.5 0.5"),
    ({"loss": "mse", "quantiles": (0.1,)}, "--quantiles are of --loss quantile, and the loss is mse"),
    ({"clip_norm": 0.0}, "--clip-norm 0.0: it takes a finite number above 0"),
    ({"clip_norm": float("inf")}, "--clip-norm inf"),
    ({"epsilon": 0.0}, "--epsilon 0.0: it takes a finite number from 1e-30 to 1e+06"),
    ({"seed": -1}, "--seed -1"),
    ({"patience": 0}, "--patience 0"),
    ({"target_accuracy": 1.5}, "--target-accuracy 1.5"),
    ({"batch_size": 10, "accumulate": 3}, "accumulate 3 does not divide batch size 10"),
    ({"mixed_precision": True, "precision": "f32"}, "--mixed-precision and --precision f32 contradict"),
    ({"patience": 3, "validation_fraction": 0.0}, "--patience and --target-accuracy select on held-out data"),
    ({"backend": 3}, "backend is 3: it takes a string"),
    ({"residual": "yes"}, "residual is 'yes': it takes true or false"),
]


@pytest.mark.parametrize(("fields", "sentence"), WRONG, ids=[text for _, text in WRONG])
def test_a_wrong_value_is_refused_with_what_is_allowed(fields, sentence):
    with pytest.raises(ConfigError) as caught:
        TrainConfig(**fields)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_values_of_any_library_are_taken_as_the_plain_values_that_they_are():
    config = TrainConfig(
        hidden=[np.int64(64), 32],
        learning_rate=np.float32(0.5),
        residual=np.True_,
        target="age",
        drop=np.array(["a", "b"]),
        dataset=Path("some", "table.csv"),
    )
    assert config == TrainConfig(
        hidden=(64, 32),
        learning_rate=0.5,
        residual=True,
        target=("age",),
        drop=("a", "b"),
        dataset="some/table.csv",
    )
    assert json.loads(json.dumps(dataclasses.asdict(config)))["hidden"] == [64, 32]
    assert RunOptions(run_dir="runs/a", data_dir=None).run_dir == Path("runs/a")
    with pytest.raises(ConfigError, match="run_dir is 3: it takes a path or None"):
        RunOptions(run_dir=3)


def test_the_defaults_are_the_originals():
    config = TrainConfig()
    assert (config.batch_size, config.epochs, config.learning_rate, config.optimizer) == (8, 10, 0.01, "sgd")
    assert config.hidden == (1024, 512)


def test_validation_data_are_held_out_where_something_is_selected():
    assert TrainConfig().held_out_fraction == 0
    assert TrainConfig(patience=2).held_out_fraction == 0.1
    assert TrainConfig(target_accuracy=0.9, validation_fraction=0.3).held_out_fraction == 0.3


def write(path, text):
    path.write_text(text)
    return path


def test_python_toml_and_json_files_say_the_same(tmp_path):
    expected = TrainConfig(hidden=(3, 4), learning_rate=0.5, patience=2)
    python = (
        "from neuroforge_jax import TrainConfig\n"
        "config = TrainConfig(hidden=(3, 4), learning_rate=0.5, patience=2)"
    )
    assert load_config(write(tmp_path / "a.py", python)) == expected
    assert (
        load_config(write(tmp_path / "a.toml", "hidden = [3, 4]\nlearning-rate = 0.5\npatience = 2"))
        == expected
    )
    data = json.dumps({"hidden": [3, 4], "learning_rate": 0.5, "patience": 2})
    assert load_config(write(tmp_path / "a.json", data)) == expected


def test_a_written_config_reads_back_equal():
    config = TrainConfig(hidden=(), clip_norm=1.0, dataset="digits", precision="bf16")
    assert config_from_data(json.loads(json.dumps(dataclasses.asdict(config))), "config.json") == config


BAD_FILES = [
    ("a.py", "x = 1", "defines no `config`"),
    ("a.py", "config = 3", "`config` is of type int; it must be a TrainConfig"),
    ("a.py", "x = 1\nconfig = (", "line 2: syntax error"),
    ("a.py", "x = 1\ny = 2\nconfig = 1 / 0", "line 3: ZeroDivisionError"),
    ("a.py", "import nonexistent_module", "line 1: ModuleNotFoundError"),
    ("a.py", "from neuroforge_jax import TrainConfig\nconfig = TrainConfig(epochs=0)", "--epochs 0"),
    ("a.toml", "epochs = ", "not valid TOML"),
    ("a.toml", "epoch = 3", "unknown field 'epoch': known are"),
    ("a.toml", "epochs = 'three'", "epochs is 'three': it takes a whole number"),
    ("a.json", "{", "not valid JSON"),
    ("a.json", "[1]", "a config is a table of fields and values, not list"),
    ("a.json", '{"hidden": 64}', "hidden is 64: it takes a tuple"),
    ("a.yaml", "epochs: 3", "a config file ends in .py, .toml or .json"),
]


@pytest.mark.parametrize(
    ("name", "text", "sentence"), BAD_FILES, ids=[sentence for *_, sentence in BAD_FILES]
)
def test_a_bad_config_file_is_one_line_that_names_it(tmp_path, name, text, sentence):
    path = write(tmp_path / name, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "none.py")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "folder.toml")


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "a.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from([field.name for field in dataclasses.fields(TrainConfig)])


@given(st.dictionaries(field_names | st.text(max_size=10), json_values, max_size=6) | json_values)
def test_any_data_is_a_config_or_a_config_error(data):
    try:
        config = config_from_data(data, "fuzzed")
    except ConfigError as error:
        assert "\n" not in str(error).replace(repr(data), "")
    else:
        assert isinstance(config, TrainConfig)


@given(st.binary(max_size=80), st.sampled_from([".toml", ".json"]))
def test_any_bytes_in_a_file_are_a_config_or_a_user_error(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("fuzz") / f"config{suffix}"
    path.write_bytes(content)
    try:
        load_config(path)
    except UserError as error:
        assert isinstance(error, ConfigError)


def test_flags_override_the_file_which_overrides_the_defaults(tmp_path):
    path = write(tmp_path / "a.toml", "epochs = 3\nbatch_size = 64")
    config, options = parse_flags(["--config", str(path), "--batch-size", "32"])
    assert (config.epochs, config.batch_size, config.learning_rate) == (3, 32, 0.01)
    assert options.config == path


def test_hidden_without_a_width_is_softmax_regression():
    assert parse_flags(["--hidden"])[0].hidden == ()
    assert parse_flags(["--hidden", "8", "9", "--epochs", "2"])[0].hidden == (8, 9)


def test_the_originals_advanced_command_parses_up_to_what_is_not_built():
    words = "--backend cuda-async --batch-size 32 --epochs 50 --learning-rate 0.001 --async-ops"
    config, _ = parse_flags(words.split())
    assert (config.backend, config.async_ops, config.epochs) == ("cuda-async", True, 50)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--distributed localhost:1,2,0", "--distributed localhost:1,2,0: it takes auto"),
        (
            "--coordinator n1:7654",
            "--process-id go together, and --num-processes is not given",
        ),
        ("--process-id 1 --num-processes 2", "go together, and --coordinator is not given"),
        (
            "--distributed auto --process-id 1",
            "--distributed auto asks the launcher for what --process-id says",
        ),
        ("--coordinator n1 --num-processes 2 --process-id 0", "--coordinator n1: it takes HOST:PORT"),
        ("--coordinator n1:0 --num-processes 2 --process-id 0", "--coordinator n1:0: it takes HOST:PORT"),
        (
            "--coordinator n1:7 --num-processes 2 --process-id 2",
            "--process-id 2: of 2 processes the last is 1",
        ),
    ],
)
def test_flags_of_several_processes_that_do_not_fit_each_other_are_refused(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_flags(words.split())


def test_auto_goes_on_in_the_folder_and_from_the_config_that_the_same_command_began(tmp_path, monkeypatch):
    """Without --run-dir too: runs/<name of the config file or the dataset>."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "digits"
    config, options = parse_flags(["--dataset", "digits", "--hidden", "7", "--resume", "auto"])
    assert (config.hidden, options.run_dir) == ((7,), folder.relative_to(tmp_path))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"dataset": "digits", "hidden": [7], "seed": 5}))
    config, options = parse_flags(["--dataset", "digits", "--epochs", "3", "--resume", "auto"])
    assert (config.hidden, config.seed, config.epochs) == ((7,), 5, 3)
    assert options.run_dir == folder.relative_to(tmp_path)
