"""Policies: read and printed as one text, rounding in two places only, float32 by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from neuroforge_jax.backends.compiler import compile_options
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.kernels.xla import dense, product
from neuroforge_jax.precision.policy import DTYPES, POLICIES, PRECISIONS, policy
from neuroforge_jax.system import cpu

pytestmark = [pytest.mark.smoke, pytest.mark.full_effort]

RNG = np.random.default_rng(0)


@st.composite
def specs(draw):
    """Every policy there is, its letters in any order, some left out where they are float32."""
    compute = draw(st.sampled_from(sorted(DTYPES)))
    dtypes = {"p": "f32", "c": compute, "o": draw(st.sampled_from(sorted(DTYPES)))}
    if compute == "f32":
        dtypes["m"] = draw(st.sampled_from(sorted(PRECISIONS)))
    given = [letter for letter, name in dtypes.items() if name != "f32" or draw(st.booleans())]
    return ",".join(f"{letter}={dtypes[letter]}" for letter in draw(st.permutations(given))) or "p=f32"


@settings(deadline=None)
@given(specs())
def test_a_printed_policy_reads_back_as_itself(spec):
    assert policy(str(policy(spec))) == policy(spec)
    assert hash(policy(str(policy(spec)))) == hash(policy(spec))


@settings(deadline=None)
@given(st.text(alphabet="pcomf=,321b6 t\n", max_size=24))
def test_any_text_is_a_policy_or_one_line(text):
    try:
        assert policy(text) == policy(str(policy(text)))
    except ConfigError as error:
        assert "\n" not in str(error)
        assert "p=f32,c=bf16,o=f32" in str(error)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("f32", "p=f32,c=f32,o=f32"),
        ("tf32", "p=f32,c=f32,o=f32,m=tf32"),
        ("bf16", "p=f32,c=bf16,o=f32"),
        ("fp16", "p=f32,c=f16,o=f32"),
    ],
)
def test_a_name_is_short_for_a_spec(name, spec):
    assert str(policy(name)) == spec
    assert policy(spec) is policy(name)
    assert policy(",".join(reversed(spec.split(",")))) is policy(name)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("fp61", "unknown precision 'fp61': known are f32, tf32, bf16, fp16; did you mean 'fp16'?"),
        ("x=f32", "'x' is none of p, c, o, m"),
        ("c=bf16,", "'' is none of p, c, o, m"),
        ("c=bf16,c=f16", "'c' is there twice"),
        ("c=f64", "c cannot be 'f64'"),
        ("m=bf16", "m cannot be 'bf16'"),
        ("p=bf16", "weights and optimizer state are float32, and p=bf16"),
        ("c=bf16,m=tf32", "m says how float32 operands are multiplied, and c=bf16"),
    ],
)
def test_a_wrong_spec_is_refused_with_what_is_allowed(spec, sentence):
    with pytest.raises(ConfigError) as caught:
        policy(spec)
    assert sentence in str(caught.value)
    assert "such as p=f32,c=bf16,o=f32" in str(caught.value)


def traced_products(name):
    """The precision that each product asks of XLA, forward and backward."""
    x, w = jnp.ones((4, 3)), jnp.ones((3, 2))
    jaxpr = jax.make_jaxpr(jax.grad(lambda w: product(x, w, policy(name)).sum()))(w)
    return [
        equation.params["precision"] for equation in jaxpr.eqns if equation.primitive.name == "dot_general"
    ]


@pytest.mark.parametrize(("name", "asked"), [("f32", lax.Precision.HIGHEST), ("tf32", lax.Precision.HIGH)])
def test_every_float32_product_says_how_it_is_multiplied(name, asked):
    """An unset one is TF32 on a recent GPU."""
    assert traced_products(name)
    assert set(traced_products(name)) == {(asked, asked)}


def test_the_path_of_each_platform_is_named():
    paths = {name: POLICIES[name].path("gpu") for name in POLICIES}
    assert paths == {
        "f32": "float32 products",
        "tf32": "TF32 products",
        "bf16": "bf16 products",
        "fp16": "f16 products",
    }
    assert POLICIES["tf32"].path("cpu") == "float32 products"
    assert POLICIES["fp16"].path("cpu") == "f16-rounded operands multiplied in float32"


def test_before_jax_0_11_a_cpu_multiplies_bf16_rounded_operands_in_float32(monkeypatch):
    for release, path in (
        ((0, 10, 2), "bf16-rounded operands multiplied in float32"),
        ((0, 11, 0), "bf16 products, float32 where XLA finds that faster"),
    ):
        monkeypatch.setattr(jax, "__version_info__", release)
        monkeypatch.setattr(cpu, "bf16_pays", lambda: True)
        assert POLICIES["bf16"].path("cpu") == path
        assert POLICIES["bf16"].path("gpu") == "bf16 products"


@pytest.mark.parametrize("batch", [8, 64])
@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_operands_are_rounded_whatever_xla_would_rather_do(name, batch):
    """With oneDNN and its excess precision, jax 0.12 dropped roundings that were widened again."""
    chosen = POLICIES[name]
    if chosen.multiplied_in("cpu") == chosen.compute:
        pytest.skip("this jax multiplies bf16 itself, and may keep more precision than that has")
    options = dict(compile_options("cpu", chosen, batch)) or None
    x, w = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((batch, 784), (784, 32)))
    found = jax.jit(lambda x, w: product(x, w, chosen), compiler_options=options)(x, w)
    rounded = [np.float64(np.asarray(a.astype(chosen.compute), np.float32)) for a in (x, w)]
    expected = rounded[0] @ rounded[1]
    exact = np.float64(x) @ np.float64(w)

    def off(wanted):
        return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)

    assert off(expected) < 2e-6
    assert off(exact) > 1e-4


def test_fp16_overflows_to_infinity_where_an_operand_is_rounded():
    assert jnp.isinf(product(jnp.full((1, 1), 70000.0), jnp.ones((1, 1)), policy("fp16"))).all()
    dx = jax.grad(lambda x: 70000.0 * product(x, jnp.ones((1, 1)), policy("fp16")).sum())(jnp.ones((1, 1)))
    assert jnp.isinf(dx).all()


def test_shorter_activations_keep_sums_over_the_batch_in_float32():
    """A bf16 sum of 2048 ones would stop at 256."""
    chosen = policy("c=bf16,o=bf16")
    x, w = jnp.ones((2048, 2)), jnp.ones((2, 3))
    y, pull = jax.vjp(lambda b: dense(x, w, b, "identity", chosen), jnp.zeros(3))
    assert y.dtype == jnp.bfloat16
    (db,) = pull(jnp.ones_like(y))
    assert db.dtype == jnp.float32
    np.testing.assert_array_equal(db, [2048.0] * 3)
