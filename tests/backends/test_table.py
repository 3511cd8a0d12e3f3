"""The table of backends: what a name and its flags choose, and what is said of it."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends import resolve
from neuroforge_jax.backends.resolve import Choice, choose, precision_advice
from neuroforge_jax.backends.table import BACKENDS, Backend
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.job.job import Job
from tests.tiers import with_further

LARGE, SMALL = 10 * resolve.BF16_MIN_STEP_FLOPS, resolve.BF16_MIN_STEP_FLOPS / 10


@pytest.mark.smoke
def test_a_name_is_what_runs():
    for name in ("cpu", "naive", "stepped", "optimized", "async", "mixed"):
        choice = choose(nf.TrainConfig(backend=name))
        assert choice.backend == BACKENDS[name]
        assert choice.reason == "as named"


def test_auto_keeps_float32_and_says_why():
    choice = choose(nf.TrainConfig(backend="auto"))
    assert (choice.backend.execution, choice.backend.precision) == ("scanned", "f32")
    assert choice.reason == "auto: the fastest on cpu that keeps float32"
    fp16 = choose(nf.TrainConfig(backend="auto", precision="fp16"))
    assert fp16.reason == "auto: the fastest on cpu that takes fp16, as named"


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


def test_kernels_without_a_device_for_them_are_an_error_that_names_both():
    with pytest.raises(
        DeviceError, match=r"'pallas' needs kernels .* none for cpu \(cpu\): they are for a TPU"
    ):
        choose(nf.TrainConfig(backend="pallas"))


def test_interpreted_kernels_run_anywhere():
    backend = choose(nf.TrainConfig(backend="pallas", kernels="interpret")).backend
    assert (backend.name, backend.kernels, backend.implementation) == ("pallas", "interpret", "interpret")


@pytest.mark.parametrize("name", ["mixed", "stepped", "async"])
def test_async_ops_replace_the_execution_and_nothing_else(name):
    backend = choose(nf.TrainConfig(backend=name, async_ops=True)).backend
    assert (backend.name, backend.execution) == (name, "pipelined")
    assert backend.precision == BACKENDS[name].precision


def test_a_source_is_for_pipelined_execution_only(blobs, small_config):
    model, _ = nf.init(small_config, blobs)
    with pytest.raises(
        ConfigError, match=r"backend 'optimized' \(scanned execution\) keeps its data on the device"
    ):
        nf.prepare(small_config, model, blobs, source=nf.ArraySource(blobs.train))


def test_the_stored_order_is_for_samples_in_arrays_and_executions_that_keep_it(blobs, small_config):
    config = dataclasses.replace(small_config, backend="async", shuffle=False)
    model, _ = nf.init(config, blobs)
    with pytest.raises(ConfigError, match=r"--no-shuffle is for samples in arrays, .* leave it out, and use"):
        nf.prepare(config, model, blobs, source=nf.ArraySource(blobs.train))
    own = nf.Backend("own", nf.Execution("own", lambda spec: None), "f32")
    with pytest.raises(ConfigError, match=r"--no-shuffle: backend 'own' \(own execution\) always shuffles"):
        Job.build(config, blobs, Choice(own, ""))


@pytest.mark.parametrize("name", with_further(["mixed"], ["async"]))
def test_the_parts_of_a_backend_make_its_step(name, blobs, small_config):
    """forward, metrics, backward and optimize, each called on its own, are one step of the run."""
    config = dataclasses.replace(small_config, backend=name, batch_size=len(blobs.train))
    model, state = nf.init(config, blobs)
    parts = nf.parts(config, model, blobs)
    batch = Batch(
        jnp.asarray(blobs.train.inputs), jnp.asarray(blobs.train.targets), jnp.ones(len(blobs.train))
    )
    logits = jax.jit(parts.forward)(state.params, model.fitted, batch.inputs, None)
    gradients, measured = jax.jit(parts.backward)(state, model.fitted, batch)
    after = jax.jit(parts.optimize)(state, gradients)
    assert logits.shape == (203, 4)
    np.testing.assert_allclose(measured.loss, parts.metrics(logits, batch, state.hyper).loss, rtol=1e-5)
    assert int(after.step) == 1

    ran, metrics = nf.prepare(config, model, blobs)(nf.init(config, blobs)[1], 0, 1)
    tolerance = 2e-2 if name == "mixed" else 1e-5
    np.testing.assert_allclose(metrics.loss[0], measured.loss, rtol=tolerance)
    for a, b in zip(jax.tree.leaves(ran.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * 0.1)


def test_the_faster_precision_is_named_and_only_where_it_is_another(monkeypatch):
    monkeypatch.setattr(resolve, "bf16_is_fast", lambda platform: True)
    f32, bf16 = BACKENDS["optimized"], BACKENDS["mixed"]
    assert "--backend mixed" in precision_advice(f32, LARGE)
    assert precision_advice(f32, SMALL) == ""
    assert precision_advice(bf16, LARGE) == ""
    assert "a step of 5 MFLOP gains nothing from bf16" in precision_advice(bf16, SMALL)


def on(monkeypatch, platform, kind):
    """Pretend that every backend runs on such a device."""
    device = SimpleNamespace(platform=platform, device_kind=kind)
    monkeypatch.setattr(Backend, "device", property(lambda backend: device))


def test_what_nobody_measured_is_not_called_the_fastest(monkeypatch):
    for platform, kind, measured in (("gpu", "NVIDIA H200", True), ("tpu", "TPU v5 lite", False)):
        on(monkeypatch, platform, kind)
        advice = precision_advice(BACKENDS["optimized"], LARGE)
        assert ("is the faster one here" in advice) == measured
        assert (f"no {kind} was measured" in advice) == (not measured)
        reason = choose(nf.TrainConfig()).reason
        by_rule = f"auto, chosen by rule: keeps float32; no backends were compared on {kind} yet"
        assert reason == (f"auto: the fastest on {kind} that keeps float32" if measured else by_rule)


def test_a_record_stands_behind_each_device_that_is_called_measured():
    """And a record of a ladder behind each platform for which `auto` takes the fastest."""
    records = [json.loads(path.read_text()) for path in Path("benchmarks").glob("*.json")]
    for kind in resolve.BF16_MEASURED:
        speeds = [
            record["training"]["backends"]
            for record in records
            if "training" in record and record.get("environment", {}).get("device") == kind
        ]
        assert any(
            told["cuda-mixed-precision"]["samples_per_second"] > told["cuda-optimized"]["samples_per_second"]
            for told in speeds
        ), kind
    ladders = [record for record in records if record.get("suite") in ("quick", "backends", "gpu")]
    compared = {
        ("gpu", about["device"].removeprefix("gpu (").removesuffix(")"))
        if record["suite"] == "gpu"
        else ("cpu", about["system"].split()[-1])
        for record in ladders
        for about in [record["environment"]]
    }
    names = resolve.LADDER_MEASURED.items()
    assert {platform for platform, _ in compared} == set(resolve.LADDER_MEASURED)
    assert all(compared & {(platform, machine) for machine in machines} for platform, machines in names)


def test_auto_says_by_rule_on_a_cpu_that_nobody_measured(monkeypatch):
    monkeypatch.setattr(resolve.host, "machine", lambda: "aarch64")
    reason = choose(nf.TrainConfig()).reason
    assert reason == "auto, chosen by rule: keeps float32; no backends were compared on aarch64 CPUs yet"


def test_fp16_is_never_refused_on_a_cpu_and_the_faster_one_is_named(monkeypatch):
    monkeypatch.setattr(resolve, "bf16_is_fast", lambda platform: True)
    fp16 = choose(nf.TrainConfig(backend="mixed", precision="fp16")).backend
    assert "--precision bf16 is the faster one here" in precision_advice(fp16, LARGE)
    assert "--precision f32 is the faster one here" in precision_advice(fp16, SMALL)


def test_where_bf16_is_slow_it_is_said_with_what_would_help(monkeypatch):
    monkeypatch.setattr(resolve, "bf16_is_fast", lambda platform: False)
    monkeypatch.setattr(resolve, "why_bf16_is_slow", lambda: "slow here; install that")
    assert precision_advice(BACKENDS["mixed"], LARGE) == "slow here; install that"
    assert precision_advice(BACKENDS["optimized"], LARGE) == ""
