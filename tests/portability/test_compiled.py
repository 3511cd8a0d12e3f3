"""Trainings and kernels compiled for accelerators that are not here, by their own compilers."""

import math
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise, product

import jax
import jax.numpy as jnp
import pytest

from neuroforge_jax import kernels
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.kernels.forms import FORMS
from neuroforge_jax.nn.mlp import count, train_flops
from neuroforge_jax.portability import targets
from neuroforge_jax.portability.collectives import find_collectives
from neuroforge_jax.portability.compiled import aliases, compile_for, compile_function
from neuroforge_jax.portability.programs import make_programs
from neuroforge_jax.portability.table import portability_table
from neuroforge_jax.portability.targets import TARGETS
from neuroforge_jax.precision.policy import POLICIES
from tests.tiers import with_further

pytestmark = pytest.mark.portability

CONFIG = TrainConfig(precision="bf16", batch_size=128)
WEIGHTS = ((784, 1024), (1024, 512), (512, 10))


def here(name):
    """The target, if its compiler is here."""
    target = TARGETS[name]
    if package := target.missing():
        pytest.skip(f"needs the package {package}")
    return target


def on_each(*names):
    return pytest.mark.parametrize("name", names or TARGETS)


@cache
def compiled(name, config=CONFIG):
    """Kept, as several claims are about one program."""
    return compile_for(here(name), config)


@cache
def hlo_of_epoch(name):
    programs = make_programs(CONFIG, None, here(name))
    return compile_function(here(name), programs.epoch, *programs.epoch_arguments, donate=(0,)).as_text()


def casts(hlo, weight):
    return len(re.findall(rf"= bf16\[{weight[0]},{weight[1]}\]\S* convert\(", hlo))


def reduced_over_chips(hlo):
    """How many numbers all-reduces make in all, all of them float32."""
    results = re.findall(r"= (.*) all-reduce(?:-done)?\(", hlo)
    arrays = re.findall(r"(\w+)\[([\d,]*)\]", " ".join(results))
    assert {dtype for dtype, _ in arrays} <= {"f32"}
    return sum(math.prod(int(axis) for axis in shape.split(",") if axis) for _, shape in arrays)


@on_each()
def test_the_state_lies_in_memory_once(name):
    compilation = compiled(name)
    assert compilation.state_is_aliased
    state = 4 * count(make_programs(CONFIG).model.mlp)
    assert compilation.alias_bytes >= state
    assert compilation.output_bytes - compilation.alias_bytes < 64 * 1024


@on_each()
def test_the_memory_is_that_of_state_and_data_and_little_more(name):
    compilation = compiled(name)
    data = 60_000 * (784 + 4)
    state = 4 * count(make_programs(CONFIG).model.mlp)
    assert data + state <= compilation.needed_bytes <= 1.5 * (data + state)
    assert compilation.fits


@on_each()
def test_a_step_has_the_operations_that_are_counted_by_hand(name):
    compilation = compiled(name, replace(CONFIG, batch_size=512))
    chips = TARGETS[name].chips
    by_hand = train_flops(make_programs(CONFIG).model.mlp) * 512 / chips
    assert compilation.flops_by == ("compiler" if TARGETS[name].chip.platform == "tpu" else "hand")
    # Of the products; what is computed once a number, and once a weight on every chip, comes on top.
    assert by_hand <= compilation.flops <= 1.05 * by_hand


def test_the_roofline_is_that_of_the_slower_of_products_and_memory():
    small, large = (
        compiled("v5e", replace(CONFIG, batch_size=8)),
        compiled("v5e", replace(CONFIG, batch_size=1024)),
    )
    assert small.roofline_s == pytest.approx(small.least_bytes / 819e9)
    assert large.roofline_s == pytest.approx(large.flops / 197e12, rel=0.02)


@on_each("h200", "h200-8", "a100")
def test_a_gpu_casts_each_master_weight_once_a_step(name):
    hlo = hlo_of_epoch(name)
    assert [casts(hlo, weight) for weight in WEIGHTS] == [1, 1, 1]


@on_each("v5e", "v5e-4", "v6e", "v6e-4")
def test_a_tpu_casts_each_master_weight_in_the_products_that_read_it_and_nowhere_else(name):
    """Its compiler moves the one cast of the program into both of them, which saves writing the result."""
    hlo = hlo_of_epoch(name)
    assert casts(hlo, WEIGHTS[0]) == 1
    assert all(1 <= casts(hlo, weight) <= 2 for weight in WEIGHTS[1:])


@on_each("v5e-4", "v6e-4", "h200-8")
def test_several_chips_sum_each_gradient_once(name):
    numbers = reduced_over_chips(hlo_of_epoch(name))
    parameters = count(make_programs(CONFIG).model.mlp)
    assert parameters <= numbers <= parameters + 8  # loss, hits, and the weights of the samples


@on_each("v5e", "v6e", "h200", "a100")
def test_a_single_chip_has_nobody_to_sum_with(name):
    assert reduced_over_chips(hlo_of_epoch(name)) == 0


@on_each("v5e-4", "h200-8")
def test_every_chip_computes_the_order_of_an_epoch_alone(name):
    programs = make_programs(CONFIG, None, here(name))
    compiled = compile_function(here(name), programs.order, *programs.order_arguments)
    assert find_collectives(compiled.as_text(), here(name).chips) == ()


@on_each("v5e", "h200")
@pytest.mark.parametrize(
    "change",
    [
        {"precision": "f32"},
        {"precision": "fp16"},
        {"optimizer": "muon", "schedule": "one-cycle", "clip_norm": 1.0},
        {"activation": "gelu", "normalization": "layer", "dropout": 0.1, "residual": True, "accumulate": 4},
    ],
    ids=["f32", "fp16", "muon", "all-else"],
)
def test_other_trainings_compile_too(name, change):
    assert compiled(name, replace(CONFIG, hidden=(64, 64), **change)).state_is_aliased


@on_each("v5e", "v6e", "h200")
def test_a_training_with_hand_written_kernels_compiles(name):
    compilation = compiled(name, replace(CONFIG, backend="pallas"))
    assert compilation.state_is_aliased
    assert compilation.flops_by == "hand"


KERNEL_CALLS = r'custom_call_target="(?:tpu_custom_call|__gpu\$xla\.gpu\.triton|mosaic_gpu_v2)"'


@pytest.mark.parametrize(
    ("name", "sizes"),
    with_further([("v5e", (129, 61, 10)), ("a100", (129, 61, 10))], [("v6e", (128, 784, 1024))]),
    ids=["v5e-odd", "a100-odd", "v6e"],
)
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("activation", "precision"), [*product(FORMS, ["f32"]), *product(["relu", "gelu"], ["bf16"])]
)
def test_the_kernels_of_a_layer_compile_forward_and_backward(name, activation, precision, sizes):
    target = here(name)
    batch, inputs, outputs = sizes
    policy, how = POLICIES[precision], target.chip.kernels

    def loss(x, kernel, bias):
        y = kernels.dense(x, kernel, bias, activation, policy, how)
        return (y * kernels.bias_activation(y, bias, activation, how)).sum()

    operands = floats((batch, inputs), (inputs, outputs), (outputs,))
    hlo = compile_function(target, jax.grad(loss, argnums=(0, 1, 2)), *operands).as_text()
    assert len(re.findall(KERNEL_CALLS, hlo)) == 5


@pytest.mark.parametrize("activation", with_further([*FORMS][::2], [*FORMS][1::2]))
def test_the_hopper_kernels_of_a_layer_compile_forward_and_backward(activation):
    """One makes dz, for dx and for dW."""
    target, how = here("h200"), "hopper"

    def loss(x, kernel, bias):
        y = kernels.dense(x, kernel, bias, activation, POLICIES["bf16"], how)
        return (y * kernels.bias_activation(y, bias, activation, how)).sum()

    operands = floats((129, 61), (61, 10), (10,))
    hlo = compile_function(target, jax.grad(loss, argnums=(0, 1, 2)), *operands).as_text()
    assert len(re.findall(KERNEL_CALLS, hlo)) == 6


@on_each("v5e", "h200")
@pytest.mark.parametrize("activation", with_further([*FORMS][::2], [*FORMS][1::2]))
def test_the_kernels_of_a_narrow_mlp_compile_forward_and_backward(name, activation):
    target = here(name)
    widths = (64, 128, 128, 10)

    def loss(x, layers):
        return kernels.mlp(x, layers, activation, POLICIES["bf16"], target.chip.kernels).sum()

    layers = [tuple(floats(pair, pair[1:])) for pair in pairwise(widths)]
    compile_function(target, jax.grad(loss, argnums=1), *floats((4097, 64)), layers)


@on_each("v5e-4", "v6e-4", "h200-8")
def test_the_kernels_of_a_layer_compile_on_shards_of_a_batch(name):
    target = here(name)
    mesh, how, spec = target.mesh(), target.chip.kernels, jax.sharding.PartitionSpec

    def gradient(x, kernel, bias):
        def loss(kernel, bias):
            return kernels.dense(x, kernel, bias, "gelu", POLICIES["bf16"], how).sum()

        return jax.lax.psum(jax.grad(loss, argnums=(0, 1))(kernel, bias), "data")

    split = jax.shard_map(
        gradient, mesh=mesh, in_specs=(spec("data"), spec(), spec()), out_specs=spec(), check_vma=False
    )
    hlo = compile_function(target, split, *floats((1024, 784), (784, 512), (512,))).as_text()
    assert re.findall(KERNEL_CALLS, hlo)
    assert 784 * 512 + 512 <= reduced_over_chips(hlo) <= 784 * 512 + 1024


def floats(*shapes):
    return [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]


def test_a_batch_that_does_not_divide_over_the_chips_is_padded():
    here("v5e-4")
    programs = make_programs(replace(CONFIG, batch_size=130), None, TARGETS["v5e-4"])
    assert programs.batch.mask.shape == (132,)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(targets, "installed_version", lambda name: None)
    with pytest.raises(DeviceError, match="compiling for v5e needs the package libtpu; pip install libtpu"):
        compile_for(TARGETS["v5e"], CONFIG)
    rows = portability_table(CONFIG)
    assert [row.target for row in rows] == list(TARGETS)
    assert "jax-cuda12-plugin" in rows[-1].reason


def test_the_one_package_that_is_missing_is_the_one_that_is_named(monkeypatch):
    monkeypatch.setattr(targets, "installed_version", lambda name: None if "nvcc" in name else "1")
    assert TARGETS["h200"].missing() == "nvidia-cuda-nvcc-cu12"
    monkeypatch.setattr(targets, "installed_version", lambda name: "1" if "12" not in name else None)
    assert TARGETS["h200"].missing() is None


def test_a_plugin_that_jax_refuses_is_told_how_to_load(monkeypatch):
    """Without the rest of CUDA jax leaves the plugin out, unless it is not asked for GPUs at all."""

    def refuse(*args, **options):
        raise NotImplementedError("topology not implemented for cuda")

    monkeypatch.setattr(targets, "installed_version", lambda name: "1")
    monkeypatch.setattr(targets.topologies, "get_topology_desc", refuse)
    unseen = replace(TARGETS["h200"], name="unseen")
    with pytest.raises(DeviceError, match="has not loaded the compiler for unseen; set JAX_PLATFORMS=cpu"):
        unseen.mesh()


def test_the_table_says_what_compiles_and_why_the_rest_does_not(monkeypatch):
    monkeypatch.setattr("neuroforge_jax.portability.table.TARGETS", {n: TARGETS[n] for n in ("v5e", "h200")})
    for row in portability_table(replace(CONFIG, hidden=(16,))):
        package = TARGETS[row.target].missing()
        assert (row.compilation is None) == bool(package)
        assert bool(row.reason) == bool(package)


def test_a_config_that_is_wrong_everywhere_is_no_row_of_the_table():
    with pytest.raises(ConfigError, match="unknown activation"):
        portability_table(replace(CONFIG, activation="reluu"))


def test_aliases_are_counted_in_the_header_of_a_program():
    header = "HloModule m, input_output_alias={ {0}: (0, {}, may-alias), {1}: (3, {}, must-alias) }\n"
    assert aliases(header) == 2
    assert aliases("HloModule m\n %x = (0, {}, may-alias)") == 0
