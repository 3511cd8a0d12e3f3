"""The compile options, by what a CPU reports of itself."""

import jax
import jax.numpy as jnp
import pytest

from neuroforge_jax.backends import compiler
from neuroforge_jax.precision.policy import POLICIES
from neuroforge_jax.system import cpu

pytestmark = pytest.mark.full_effort

F32, BF16, FP16 = (POLICIES[name] for name in ("f32", "bf16", "fp16"))
native_bf16 = pytest.mark.skipif(
    jax.__version_info__ < (0, 11), reason="before jax 0.11 a CPU multiplies bf16-rounded operands in float32"
)


@pytest.fixture
def x86(monkeypatch):
    """Pretend to be an x86 CPU with these flags."""

    def pretend(*flags, ceiling=None, maker="AuthenticAMD"):
        told = {"flags": " ".join(flags), "vendor_id": f" {maker}"}
        monkeypatch.setattr(cpu, "_read_cpuinfo", told.get)
        monkeypatch.setattr(compiler.host, "machine", lambda: "x86_64")
        monkeypatch.setattr(compiler, "_is_known", lambda name, value: True)
        monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
        if ceiling:
            monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", ceiling)

    return pretend


def names(policy, batch_size=8):
    return {name for name, _ in compiler.compile_options("cpu", policy, batch_size)}


@native_bf16
def test_a_cpu_with_bf16_units_takes_both_options_for_both_policies(x86):
    x86("avx512f", "avx512_bf16")
    assert names(F32) == names(BF16) == {compiler.ONEDNN, compiler.VECTOR_WIDTH}


@native_bf16
def test_a_short_training_leaves_onednn_out_so_that_its_program_can_be_kept(x86):
    x86("avx512f", "avx512_bf16")
    for policy, enough in ((F32, 2.5e12), (BF16, 0.7e12)):
        short, long = (
            {name for name, _ in compiler.compile_options("cpu", policy, 512, flops)}
            for flops in (0.99 * enough, enough)
        )
        assert short == {compiler.VECTOR_WIDTH}
        assert compiler.ONEDNN in long


@native_bf16
def test_large_bf16_batches_leave_every_product_to_onednn(x86):
    """At batch 8 that would be 2.5 times slower."""
    x86("avx512f", "avx512_bf16")
    assert compiler.YNN_FUSIONS in names(BF16, 512)
    assert compiler.YNN_FUSIONS not in names(BF16, 8)
    assert compiler.YNN_FUSIONS not in names(F32, 512)


def test_a_cpu_of_amds_takes_no_onednn_for_float32_at_a_few_dozen_samples(x86):
    x86("avx512f", "avx512_bf16")
    assert names(F32, 16) == names(F32, 48) == {compiler.ONEDNN, compiler.VECTOR_WIDTH}
    assert names(F32, 17) == names(F32, 47) == {compiler.VECTOR_WIDTH}


@native_bf16
@pytest.mark.parametrize(("policy", "from_batch"), [(F32, 512), (BF16, 96)])
def test_a_cpu_of_intels_takes_onednn_for_small_and_for_large_batches_only(x86, policy, from_batch):
    x86("avx512f", "avx512_bf16", "amx_tile", "amx_bf16", maker="GenuineIntel")
    assert names(policy, 16) == {compiler.ONEDNN, compiler.VECTOR_WIDTH}
    assert names(policy, 17) == names(policy, from_batch - 1) == {compiler.VECTOR_WIDTH}
    assert names(policy, from_batch) == {compiler.ONEDNN, compiler.VECTOR_WIDTH, compiler.YNN_FUSIONS}


@pytest.mark.parametrize("flags", [("avx2",), ("avx512f",)])
def test_without_bf16_units_rounded_operands_are_multiplied_in_float32(x86, flags):
    """Handed to oneDNN in bf16 they crash on AVX2 and crawl on AVX-512, after the smallest probe has passed."""
    x86(*flags)
    assert BF16.multiplied_in("cpu") == jnp.float32
    for batch in (8, 64, 512):
        assert names(BF16, batch) == names(F32, batch) | {compiler.EXCESS_PRECISION}
    assert not compiler.bf16_is_fast("cpu")
    if jax.__version_info__ >= (0, 11):
        assert "no bf16 units" in compiler.why_bf16_is_slow()


@native_bf16
@pytest.mark.parametrize("ceiling", [None, "AVX512_CORE_BF16"])
def test_an_intel_cpu_without_its_matrix_units_multiplies_in_float32(ceiling, x86):
    """Its bf16 products are slower; what is rounded is the same."""
    hidden = ("amx_tile", "amx_bf16") if ceiling else ()
    x86("avx512f", "avx512_bf16", *hidden, maker="GenuineIntel", ceiling=ceiling)
    assert BF16.multiplied_in("cpu") == jnp.float32
    assert BF16.multiplied_in("gpu") == jnp.bfloat16
    for batch in (8, 64, 512):
        assert names(BF16, batch) == names(F32, batch) | {compiler.EXCESS_PRECISION}
    assert names(F32, 64) == {compiler.VECTOR_WIDTH}
    assert not compiler.bf16_is_fast("cpu")
    assert "no faster than float32" in compiler.why_bf16_is_slow()


@native_bf16
@pytest.mark.parametrize(
    ("flags", "maker"),
    [
        (("avx512f", "avx512_bf16"), "AuthenticAMD"),
        (("avx512f", "avx512_bf16", "amx_tile", "amx_bf16"), "GenuineIntel"),
    ],
)
def test_a_cpu_that_multiplies_bf16_faster_does(flags, maker, x86):
    x86(*flags, maker=maker)
    assert BF16.multiplied_in("cpu") == jnp.bfloat16
    assert compiler.bf16_is_fast("cpu")


@native_bf16
@pytest.mark.parametrize("ceiling", ["AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "SSE41"])
def test_onednns_own_ceiling_counts_as_the_cpus(x86, ceiling):
    x86("avx512f", "avx512_bf16", ceiling=ceiling)
    assert BF16.multiplied_in("cpu") == jnp.float32


@pytest.mark.parametrize("ceiling", ["AVX512_CORE_BF16", "AVX512_CORE_AMX", "default"])
def test_a_ceiling_above_bf16_forbids_nothing(x86, ceiling):
    x86("avx512f", "avx512_bf16", ceiling=ceiling)
    assert compiler.ONEDNN in names(BF16)


@pytest.mark.parametrize("flags", [("avx2",), ("avx512f", "avx512_bf16")])
def test_operands_multiplied_in_float32_take_its_options_and_keep_their_rounding(x86, flags, monkeypatch):
    """fp16 handed to oneDNN would crawl; and XLA would drop a rounding that is widened again."""
    x86(*flags)
    kept = {compiler.EXCESS_PRECISION}
    assert names(FP16) == names(F32) | kept
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    assert names(BF16, 512) == names(F32, 512) | kept
    assert dict(compiler.compile_options("cpu", FP16, 32))[compiler.EXCESS_PRECISION] is False


def test_other_platforms_and_processors_take_none(x86, monkeypatch):
    x86("avx512f", "avx512_bf16")
    assert compiler.compile_options("gpu", BF16, 512) == ()
    monkeypatch.setattr(compiler.host, "machine", lambda: "arm64")
    assert compiler.compile_options("cpu", F32, 512) == ()


def test_old_jax_is_slow_in_bf16_and_says_what_helps(x86, monkeypatch):
    x86("avx512f", "avx512_bf16")
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))
    assert not compiler.bf16_is_fast("cpu")
    assert "Python 3.12 or later" in compiler.why_bf16_is_slow()
    monkeypatch.setattr(jax, "__version_info__", (0, 12, 0))
    assert compiler.bf16_is_fast("cpu")


def test_an_option_that_xla_does_not_know_is_dropped():
    assert not compiler._is_known("xla_cpu_no_such_option", True)
    assert compiler._is_known(compiler.VECTOR_WIDTH, 256)


def test_the_options_of_this_machine_compile_and_run():
    for policy in (F32, BF16, FP16):
        options = dict(compiler.compile_options("cpu", policy, 512)) or None
        product = jax.jit(jnp.matmul, compiler_options=options)
        x = jnp.ones((64, 64), policy.multiplied_in("cpu"))
        assert float(product(x, x)[0, 0]) == 64


def test_what_runs_once_is_compiled_with_less_effort_to_the_same_bits():
    def draw(key):
        first, second = jax.random.split(key)
        return jax.random.normal(first, (70, 30)) * 0.1, jax.random.orthogonal(second, 20)

    options = dict(compiler.options_of_what_runs_once("cpu"))
    assert options
    quick = jax.jit(draw, compiler_options=options)(jax.random.key(7))
    usual = jax.jit(draw)(jax.random.key(7))
    assert all(bool((a == b).all()) for a, b in zip(quick, usual, strict=True))
    assert compiler.options_of_what_runs_once("cuda") == ()
