"""The table of backends: what a name and its flags choose, and what is said of it."""

import pytest

import neuroforge_jax as nf
from neuroforge_jax import backends
from neuroforge_jax.backends import BACKENDS, choose, precision_advice
from neuroforge_jax.errors import ConfigError, DeviceError, NotYetError

LARGE, SMALL = 10 * backends.BF16_MIN_STEP_FLOPS, backends.BF16_MIN_STEP_FLOPS / 10


def test_a_name_is_what_runs():
    for name in ("cpu", "stepped", "optimized", "mixed"):
        choice = choose(nf.TrainConfig(backend=name))
        assert choice.backend == BACKENDS[name]
        assert choice.reason == "as named"


def test_auto_keeps_float32_and_says_why():
    choice = choose(nf.TrainConfig(backend="auto"))
    assert (choice.backend.execution, choice.backend.precision) == ("scanned", "f32")
    assert choice.reason == "auto: the fastest on cpu that keeps float32"


@pytest.mark.parametrize("flags", [{"mixed_precision": True}, {"precision": "bf16"}])
def test_a_precision_flag_replaces_one_axis(flags):
    backend = choose(nf.TrainConfig(backend="stepped", **flags)).backend
    assert (backend.name, backend.execution, backend.precision) == ("stepped", "stepped", "bf16")
    assert choose(nf.TrainConfig(backend="mixed", precision="f32")).backend.precision == "f32"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="unknown backend 'mxied': known are auto, cpu, naive, stepped"):
        choose(nf.TrainConfig(backend="mxied"))


@pytest.mark.parametrize("name", [name for name in BACKENDS if name.startswith("cuda-")])
def test_an_absent_platform_is_an_error_and_never_a_fallback(name):
    with pytest.raises(DeviceError, match=f"backend '{name}' needs cuda, and jax finds only cpu here"):
        choose(nf.TrainConfig(backend=name))


@pytest.mark.parametrize("name", ["naive", "async", "pallas"])
def test_what_is_not_built_says_so(name):
    with pytest.raises(NotYetError, match=f"backend '{name}' .* is not built yet; use --backend"):
        choose(nf.TrainConfig(backend=name))


def test_the_faster_precision_is_named_and_only_where_it_is_another(monkeypatch):
    monkeypatch.setattr(backends, "bf16_is_fast", lambda platform: True)
    f32, bf16 = BACKENDS["optimized"], BACKENDS["mixed"]
    assert "--backend mixed" in precision_advice(f32, LARGE)
    assert precision_advice(f32, SMALL) == ""
    assert precision_advice(bf16, LARGE) == ""
    assert "a step of 5 MFLOP gains nothing from bf16" in precision_advice(bf16, SMALL)


def test_fp16_is_never_refused_on_a_cpu_and_the_faster_one_is_named(monkeypatch):
    monkeypatch.setattr(backends, "bf16_is_fast", lambda platform: True)
    fp16 = choose(nf.TrainConfig(backend="mixed", precision="fp16")).backend
    assert "--precision bf16 is the faster one here" in precision_advice(fp16, LARGE)
    assert "--precision f32 is the faster one here" in precision_advice(fp16, SMALL)


def test_where_bf16_is_slow_it_is_said_with_what_would_help(monkeypatch):
    monkeypatch.setattr(backends, "bf16_is_fast", lambda platform: False)
    monkeypatch.setattr(backends, "why_bf16_is_slow", lambda: "slow here; install that")
    assert precision_advice(BACKENDS["mixed"], LARGE) == "slow here; install that"
    assert precision_advice(BACKENDS["optimized"], LARGE) == ""
