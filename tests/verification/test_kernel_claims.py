"""The checks of a kernel: a right one holds them, and each planted mistake is named by the line for it."""

from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import neuroforge_jax as nf
from neuroforge_jax.verification import layers
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.kernel_claims import kernel_claims
from tests.verification.findings import first_failure


def product(x, kernel):
    return jnp.dot(x, kernel, precision="highest", preferred_element_type=jnp.float32)


def right(x, kernel, bias, activation):
    return nf.activate(product(x, kernel) + bias, activation)


def gradient_with(mistake):
    """The right gradient with one of its three parts replaced. mistake: of x, kernel, dz, dy."""

    def gradient(x, kernel, bias, activation, y, dy):
        _, pull = jax.vjp(lambda z: nf.activate(z, activation), product(x, kernel) + bias)
        (dz,) = pull(dy)
        parts = {"dx": product(dz, kernel.T), "dkernel": product(x.T, dz), "dbias": dz.sum(axis=0)}
        return tuple((parts | mistake(x, kernel, dz, dy)).values())

    return gradient


def bf16_sums(x, kernel, bias, activation):
    def add(total, terms):
        return total + jnp.outer(*terms).astype(jnp.bfloat16), None

    zeros = jnp.zeros((len(x), len(bias)), jnp.bfloat16)
    return nf.activate(lax.scan(add, zeros, (x.T, kernel))[0].astype(jnp.float32) + bias, activation)


def without_ragged_rows(x, kernel, bias, activation):
    whole = len(x) // 8 * 8 or len(x)
    return right(x, kernel, bias, activation).at[whole:].set(0)


def without_ragged_terms(x, kernel, bias, activation):
    whole = x.shape[1] // 16 * 16 or x.shape[1]
    return right(x[:, :whole], kernel[:whole], bias, activation)


def naive_sigmoid(x, kernel, bias, activation):
    z = product(x, kernel) + bias
    return jnp.exp(z) / (1 + jnp.exp(z)) if activation == "sigmoid" else nf.activate(z, activation)


KEPT = []


def keeps_its_operand(x, kernel, bias, activation):
    KEPT.append(x)
    return right(x, kernel, bias, activation)


NOISE, ONE = count(), jnp.ones(2)


def differs_each_time(x, kernel, bias, activation):
    like = jax.ShapeDtypeStruct((), jnp.float32)
    number = jax.pure_callback(lambda: np.float32(1e-9 * next(NOISE)), like, vmap_method="sequential")
    return right(x, kernel, bias, activation) + number


def without_vmap(x, kernel, bias, activation):
    zero = jax.pure_callback(lambda x: np.float32(0), jax.ShapeDtypeStruct((), jnp.float32), x[0, 0])
    return right(x, kernel, bias, activation) + zero


@jax.custom_batching.custom_vmap
def of_the_first(x):
    return x


@of_the_first.def_vmap
def of_the_first_alone(size, batched, x):
    return jnp.broadcast_to(x[:1], x.shape), True


def wrong_outside_jit(x, kernel, bias, activation):
    traced = isinstance(x, jax.core.Tracer)
    return right(x, kernel, bias, activation) + (0 if traced else 1)


def wrong_in_scan(x, kernel, bias, activation):
    """Where x is traced, and the weights are those around the loop."""
    in_loop = isinstance(x, jax.core.Tracer) and not isinstance(kernel, jax.core.Tracer)
    return right(x, kernel, bias, activation) + (1 if in_loop else 0)


def wrong_in_training(x, kernel, bias, activation):
    """Where there are as many inputs as in the oracle's training: no layer that is tried alone has so many."""
    return right(x, kernel, bias, activation) * (1.01 if x.shape[1] == ORACLE_INPUTS else 1)


ORACLE_INPUTS = next(case for case in standard_cases() if case.name == "sgd, small batches").inputs

KERNEL_MISTAKES = {
    "a bias after the activation": (
        {"dense": lambda x, kernel, bias, activation: nf.activate(product(x, kernel), activation) + bias},
        "values, 8 layers of float32",
        "it looks as if the bias is added after the activation",
    ),
    "a gradient of the bias without its slope": (
        {"gradient": gradient_with(lambda x, kernel, dz, dy: {"dbias": dy.sum(axis=0)})},
        "gradient of the bias, 8 layers of float32",
        "it looks as if the slope φ′ is left out",
    ),
    "a gradient of the kernel that lies transposed": (
        {
            "gradient": gradient_with(
                lambda x, kernel, dz, dy: {"dkernel": product(dz.T, x).reshape(kernel.shape)}
            )
        },
        "gradient of the kernel, 8 layers of float32",
        "it looks as if it lies transposed",
    ),
    "a mean in the place of a sum": (
        {"gradient": gradient_with(lambda x, kernel, dz, dy: {"dbias": dz.mean(axis=0)})},
        "gradient of the bias, 8 layers of float32",
        "it is the mean over the batch, and not the sum",
    ),
    "a kernel that is not transposed": (
        {
            "gradient": gradient_with(
                lambda x, kernel, dz, dy: (
                    {"dx": product(dz, kernel)} if kernel.shape == kernel.T.shape else {}
                )
            )
        },
        "gradient of x, 8 layers of float32",
        "it looks as if the kernel is not transposed",
    ),
    "partial sums in bfloat16": (
        {"dense": bf16_sums},
        "values, 8 layers of float32",
        "operands or partial sums are rounded to bfloat16 or TF32",
    ),
    "partial sums in bfloat16, of bfloat16": (
        {"dense": bf16_sums, "dtypes": "bfloat16"},
        "values, 8 layers of bfloat16",
        "ask for preferred_element_type=jnp.float32",
    ),
    "rows that do not fill a tile": (
        {"dense": without_ragged_rows},
        "values, 8 layers of float32",
        "it looks as if only the last rows are wrong, those that do not fill a tile",
    ),
    "terms that do not fill a tile": (
        {"dense": without_ragged_terms},
        "values, 8 layers of float32",
        "terms of the sum beyond whole tiles of 16 are left out",
    ),
    "another dtype": (
        {"dense": lambda *operands: right(*operands).astype(jnp.bfloat16)},
        "runs under jax.jit, its gradient too, 8 layers of float32",
        "gives bfloat16 [33, 21], and must give float32 [33, 21]",
    ),
    "a size that fails": (
        {"dense": lambda x, *rest: right(x.reshape(33, 50), *rest)},
        "runs under jax.jit, its gradient too, 8 layers of float32",
        "1×7×8 tanh float32: the layer fails (kernel 'planted' cannot be used: dense of 1×7×8 f32 tanh fails",
    ),
    "a gradient that jax has not": (
        {"dense": without_vmap, "gradient": "jax"},
        "runs under jax.jit, its gradient too, 8 layers of float32",
        "33×50×21 tanh float32: its gradient fails",
    ),
    "an exponential that overflows": (
        {"dense": naive_sigmoid, "activations": "sigmoid"},
        "gives numbers for zeros and for large numbers, float32",
        "large numbers in 33×50×21 sigmoid float32 make y NaN or infinite",
    ),
    "no rule for vmap": (
        {"dense": without_vmap},
        "works under jax.vmap, its gradients too",
        "or say vmap=False: then it trains no population",
    ),
    "a batch that is taken for its first": (
        {"dense": lambda x, *rest: right(of_the_first(x), *rest)},
        "works under jax.vmap, its gradients too",
        "the last of three networks is another: y[",
    ),
    "values outside of jit": (
        {"dense": wrong_outside_jit, "gradient": "jax"},
        "computes alike with and without jax.jit",
        "outside of jax.jit it gives something else",
    ),
    "values in a loop": (
        {"dense": wrong_in_scan, "gradient": "jax"},
        "works in lax.scan",
        "the last of three batches in a lax.scan is another",
    ),
    "values in a training": (
        {"dense": wrong_in_training},
        "trains as the oracle does, float32",
        "its layers are right alone: look at batches of 8",
    ),
    "other bits each time": (
        {"dense": differs_each_time},
        "gives the same bits twice",
        "y of the same operands",
    ),
    "an operand that is donated": (
        {"dense": jax.jit(right, static_argnums=3, donate_argnums=1)},
        "leaves its operands as they are",
        "kernel is gone or has other numbers after the call",
    ),
    "a trace that is kept": (
        {"dense": keeps_its_operand},
        "keeps nothing of a trace, and captures no array",
        "it keeps a value of a trace",
    ),
    "an array that is captured": (
        {"dense": lambda *operands: right(*operands) * ONE[0]},
        "keeps nothing of a trace, and captures no array",
        "it captures float32 [2]",
    ),
    "another device": (
        {"devices": "tpu"},
        "takes this device, cpu",
        "it needs tpu, and this device is cpu (cpu)",
    ),
}
QUICK = ("a bias after the activation", "a gradient of the bias without its slope", "another dtype")


def assert_a_mistake_in_a_kernel_is_named(name):
    fields, claim, words = KERNEL_MISTAKES[name]
    plain = {"dense": right, "dtypes": "float32", "devices": "cpu", "activations": "tanh"}
    finding = first_failure(kernel_claims(nf.DenseKernel("planted", **plain | fields)))
    assert finding is not None
    assert finding.claim == claim, str(finding)
    assert words in str(finding), str(finding)


@pytest.mark.parametrize("name", QUICK)
def test_a_mistake_in_a_kernel_is_named_by_its_line(name, monkeypatch):
    monkeypatch.setattr(layers, "SIZES", layers.SIZES[:2])
    fields, claim, words = KERNEL_MISTAKES[name]
    monkeypatch.setitem(KERNEL_MISTAKES, name, (fields, claim.replace("8 layers", "3 layers"), words))
    assert_a_mistake_in_a_kernel_is_named(name)


@pytest.mark.further
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.parametrize("name", KERNEL_MISTAKES)
def test_every_mistake_in_a_kernel_is_named_by_its_line(name):
    assert_a_mistake_in_a_kernel_is_named(name)


def right_kernel(**fields):
    plain = {"dtypes": "float32", "devices": "cpu", "gradient": "jax", "activations": "tanh"}
    return nf.DenseKernel("right", right, **plain | fields)


@pytest.mark.full_effort
def test_a_right_kernel_holds_the_checks_of_layers(monkeypatch):
    monkeypatch.setattr(layers, "SIZES", layers.SIZES[:2])
    claims = (claim for claim in kernel_claims(right_kernel()) if not claim.text.startswith("trains"))
    assert first_failure(claims) is None


@pytest.mark.slow
@pytest.mark.full_effort
@pytest.mark.parametrize(
    ("gradient", "dtypes"),
    [("xla", ("float32", "float16")), ("jax", "float32"), (gradient_with(lambda *operands: {}), "bfloat16")],
    ids=["xla", "jax", "its own"],
)
def test_a_right_kernel_holds_every_check(gradient, dtypes):
    told = []
    kernel = right_kernel(gradient=gradient, dtypes=dtypes, activations=("relu", "gelu", "silu"))
    outcome = nf.verify_plugin(kernel, tell=told.append)
    assert outcome.passed, str(outcome)
    planted = {claim for _, claim, _ in KERNEL_MISTAKES.values()}
    if dtypes == "float32":  # so that no check can come to nothing unseen
        checked = {finding.claim.replace("10 layers", "8 layers") for finding in told}
        assert not checked - planted
    assert outcome.sentence() == f"kernel 'right': all {len(told)} checks hold"
    assert all(line.startswith("✓ ") for line in str(outcome).splitlines()[:-1])
