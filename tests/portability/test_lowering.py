"""Trainings lowered for accelerators, as far as jax takes them without a compiler."""

import importlib
import re
from dataclasses import replace
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import pytest

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS as KERNELS
from neuroforge_jax.nn.mlp import train_flops
from neuroforge_jax.portability.compiled import lower_function
from neuroforge_jax.portability.programs import make_programs
from neuroforge_jax.training.optimizer import OPTIMIZERS
from tests.conftest import make_blobs
from tests.plugins import KERNEL_EXAMPLE

pytestmark = pytest.mark.portability

PLATFORMS = ("tpu", "cuda")
WEIGHTS = ((784, 1024), (1024, 512), (512, 10))
EVERYTHING = TrainConfig(
    hidden=(16, 16), activation="gelu", normalization="layer", dropout=0.1, residual=True, accumulate=4,
    label_smoothing=0.1, batch_size=32, optimizer="adamw", schedule="one-cycle", clip_norm=1.0,
)  # fmt: skip

on_each_platform = pytest.mark.parametrize("platform", PLATFORMS)


def lowered_step(platform, config, dataset=None, **options):
    programs = make_programs(config, dataset, **options)
    return lower_function(platform, programs.step, *programs.step_arguments)


def lowered_epoch(platform, config, dataset=None, **options):
    programs = make_programs(config, dataset, **options)
    return lower_function(platform, programs.epoch, *programs.epoch_arguments)


def shape(kind, *axes):
    return f"tensor<{'x'.join(map(str, axes))}x{kind}>"


def product_flops(stablehlo):
    """Of all matrix products: two for each number of the result and each term of its sum."""
    products = re.findall(
        r"dot_general .*contracting_dims = \[(\d)\] x \[\d\].* : \(tensor<(\d+)x(\d+)x\w+>, .*"
        r"\) -> tensor<(\d+)x(\d+)x\w+>",
        stablehlo,
    )
    return sum(
        2 * int((rows, columns)[int(axis)]) * int(m) * int(n) for axis, rows, columns, m, n in products
    )


@on_each_platform
@pytest.mark.parametrize("precision", ["f32", "tf32", "bf16", "fp16"])
def test_the_epoch_of_the_defaults_lowers(platform, precision):
    exported = lowered_epoch(platform, TrainConfig(precision=precision))
    assert exported.platforms == (platform,)


@on_each_platform
def test_the_order_of_an_epoch_lowers(platform):
    programs = make_programs(TrainConfig())
    assert lower_function(platform, programs.order, *programs.order_arguments).platforms == (platform,)


@on_each_platform
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_step_of_every_optimizer_lowers(platform, optimizer):
    config = replace(EVERYTHING, optimizer=optimizer, schedule="constant")
    assert lowered_step(platform, config, make_blobs()).platforms == (platform,)


@on_each_platform
def test_the_epoch_with_everything_switched_on_lowers(platform):
    assert lowered_epoch(platform, EVERYTHING, make_blobs()).platforms == (platform,)


@on_each_platform
@pytest.mark.parametrize("batch_size", [8, 128])
def test_each_master_weight_is_cast_once_a_step(platform, batch_size):
    config = TrainConfig(precision="bf16", batch_size=batch_size, optimizer="adam")
    text = lowered_step(platform, config).mlir_module()
    for weight in WEIGHTS:
        cast = f"stablehlo.convert .* : \\({shape('f32', *weight)}\\) -> {shape('bf16', *weight)}"
        assert len(re.findall(cast, text)) == 1, weight


@on_each_platform
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_a_step_has_the_products_that_are_counted_by_hand(platform, precision):
    config = TrainConfig(precision=precision, batch_size=128)
    by_hand = train_flops(make_programs(config).model.mlp) * 128
    assert product_flops(lowered_step(platform, config).mlir_module()) == by_hand


@pytest.mark.parametrize(
    ("platform", "kernels"),
    [
        ("tpu" if name == "tpu" else "cuda", name)
        for name, kernels in KERNELS.items()
        if not kernels.interpret and find_spec(f"neuroforge_jax.kernels.{name}")
    ],
)
@pytest.mark.parametrize("hidden", [(1024, 512), (64,)])
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
def test_the_epoch_with_hand_written_kernels_lowers(platform, kernels, hidden):
    config = TrainConfig(precision="bf16", batch_size=128, hidden=hidden)
    dataset = make_blobs(inputs=61) if hidden == (64,) else None
    exported = lowered_epoch(platform, config, dataset, implementation=kernels)
    assert "custom_call" in exported.mlir_module()


@on_each_platform
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
def test_the_kernel_that_the_documentation_shows_lowers(platform, dtype, monkeypatch):
    monkeypatch.syspath_prepend(str(KERNEL_EXAMPLE))
    tiles = importlib.import_module("neuroforge_tiles").tiles
    sizes = {(128, 784): dtype, (784, 512): dtype, (512,): "float32"}
    like = [jax.ShapeDtypeStruct(size, jnp.dtype(of)) for size, of in sizes.items()]
    exported = lower_function(platform, lambda x, kernel, bias: tiles.dense(x, kernel, bias, "gelu"), *like)
    assert {"tpu": "tpu_custom_call", "cuda": "__gpu"}[platform] in exported.mlir_module()
