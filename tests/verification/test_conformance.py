"""The checks of a plugin: the examples hold them, and each planted mistake is named by the line for it."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import neuroforge_jax as nf
from neuroforge_jax import verify
from neuroforge_jax.backends.executors.base import SegmentMetrics
from neuroforge_jax.backends.executors.stepped import STEPPED
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.verification import layers
from neuroforge_jax.verification.backend_claims import backend_claims
from neuroforge_jax.verification.findings import judge
from neuroforge_jax.verification.kernel_claims import kernel_claims
from tests.plugins import BACKEND_EXAMPLE, KERNEL_EXAMPLE, ROOT, install, offer

pytestmark = pytest.mark.full_effort


def first_failure(claims):
    """The first finding that does not hold; what comes after it is not tried."""
    return next((finding for finding in judge(claims) if not finding.passed), None)


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
@pytest.mark.parametrize("name", KERNEL_MISTAKES)
def test_every_mistake_in_a_kernel_is_named_by_its_line(name):
    assert_a_mistake_in_a_kernel_is_named(name)


def right_kernel(**fields):
    plain = {"dtypes": "float32", "devices": "cpu", "gradient": "jax", "activations": "tanh"}
    return nf.DenseKernel("right", right, **plain | fields)


def test_a_right_kernel_holds_the_checks_of_layers(monkeypatch):
    monkeypatch.setattr(layers, "SIZES", layers.SIZES[:2])
    claims = (claim for claim in kernel_claims(right_kernel()) if not claim.text.startswith("trains"))
    assert first_failure(claims) is None


@pytest.mark.slow
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
    assert outcome.sentence() == f"kernel 'right': all {len(told)} checks hold"
    assert all(line.startswith("✓ ") for line in str(outcome).splitlines()[:-1])


def backend_with(mistake, name="planted"):
    """`stepped`, with a mistake in what is run. mistake: of the spec and the right run, gives a run."""

    def prepare(spec):
        return mistake(spec, STEPPED.prepare(spec))

    return nf.Backend(name, nf.Execution(name, prepare), "f32")


def drops_the_last_batch(spec, run):
    steps = -(-len(spec.train) // spec.batch_size)

    def wrong(state, first, last):
        chunks = []
        for step in range(first, last):
            before = jax.tree.map(jnp.copy, state)
            state, metrics = run(state, step, step + 1)
            chunks += metrics.chunks
            if (step + 1) % steps == 0:
                state = replace(before, step=state.step)
        return state, SegmentMetrics(tuple(chunks), first, last)

    return wrong


def trains_each_step_twice(spec, run):
    def wrong(state, first, last):
        chunks = []
        for step in range(first, last):
            count = jnp.copy(state.step)
            state, _ = run(state, step, step + 1)
            state, metrics = run(replace(state, step=count), step, step + 1)
            chunks += metrics.chunks
        return state, SegmentMetrics(tuple(chunks), first, last)

    return wrong


def shifts_the_order(spec, run):
    def wrong(state, first, last):
        state, metrics = run(state, first + 1, last + 1)
        return state, replace(metrics, first_step=first, last_step=last)

    return wrong


def swaps_two_batches(spec, run):
    def wrong(state, first, last):
        chunks = []
        for step in range(first, last):
            state, metrics = run(state, step + (1, -1, 0)[step % 3], step + (2, 0, 1)[step % 3])
            chunks += metrics.chunks
        return state, SegmentMetrics(tuple(chunks), first, last)

    return wrong


def changes_the_metrics(change):
    def mistake(spec, run):
        def wrong(state, first, last):
            state, metrics = run(state, first, last)
            return state, change(metrics, first, last)

        return wrong

    return mistake


def changes_the_state(change):
    def mistake(spec, run):
        def wrong(state, first, last):
            after, metrics = run(state, first, last)
            return change(after, first, last), metrics

        return wrong

    return mistake


def does_not_donate(spec, run):
    return lambda state, first, last: run(jax.tree.map(jnp.copy, state), first, last)


def counts_from_its_own(spec, run):
    done = []

    def wrong(state, first, last):
        if not done and last - first == 8:  # a run that is prepared anew begins at its own first step
            first, last = 0, 8
        done.append(last)
        return run(state, first, last)

    return wrong


def compiles_each_length(spec, run):
    def wrong(state, first, last):
        jax.jit(lambda x: x + last)(np.zeros(last - first))
        return run(state, first, last)

    return wrong


def forgets_weights(spec, run):
    return STEPPED.prepare(replace(spec, train=replace(spec.train, weights=None)))


def all_samples_count(metrics, first, last):
    chunks = tuple((replace(each, samples=jnp.float32(67)), valid) for each, valid in metrics.chunks)
    return replace(metrics, chunks=chunks)


def jitters(state, first, last):
    nudge = 1e-7 if last - first == 3 else 0
    return replace(state, params=jax.tree.map(lambda leaf: leaf + nudge, state.params))


def to_bf16(state, dtype):
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(dtype), state.params)
    return replace(state, params=rounded)


BACKEND_MISTAKES = {
    "drops the last batch": (
        drops_the_last_batch,
        "trains on each batch once, in its order, the smaller last one too",
        "step 2, an epoch's last batch, of 47 samples: parameters, ",
    ),
    "trains each step twice": (
        trains_each_step_twice,
        "trains on each batch once, in its order, the smaller last one too",
        "it takes the step twice",
    ),
    "shifts the order": (
        shifts_the_order,
        "gives the metrics of every step",
        "step 1 has 47 samples, and should have 67",
    ),
    "swaps two batches": (
        swaps_two_batches,
        "trains on each batch once, in its order, the smaller last one too",
        "it trains on the batch of step 1",
    ),
    "counts each step twice": (
        changes_the_state(lambda state, first, last: replace(state, step=state.step + last - first)),
        "counts each step once",
        "state.step is 36 after 18 steps",
    ),
    "does not donate": (does_not_donate, "donates the state that it is given", "donate_argnums=0"),
    "counts padding as samples": (
        changes_the_metrics(all_samples_count),
        "gives the metrics of every step",
        "step 2 has 67 samples, and should have 47",
    ),
    "gives too few metrics": (
        changes_the_metrics(lambda metrics, first, last: replace(metrics, chunks=metrics.chunks[:-1])),
        "gives the metrics of every step",
        "17 numbers of loss for 18 steps",
    ),
    "gives a pair of something else": (
        changes_the_metrics(lambda metrics, first, last: metrics.loss),
        "prepares a training, and runs all of its steps",
        "run gives a TrainState and a ndarray",
    ),
    "prepares nothing": (
        lambda spec, run: None,
        "prepares a training, and runs all of its steps",
        "prepare gives a NoneType",
    ),
    "rounds the parameters": (
        changes_the_state(lambda state, first, last: to_bf16(state, jnp.float32)),
        "trains on each batch once, in its order, the smaller last one too",
        "step 0: parameters, ",
    ),
    "changes a dtype": (
        changes_the_state(lambda state, first, last: to_bf16(state, jnp.bfloat16)),
        "keeps the structure of the state",
        "params/layer0/bias was float32 [33] and is bfloat16 [33]",
    ),
    "depends on where it is cut": (
        changes_the_state(jitters),
        "gives the same bits wherever a run is cut",
        "let programs of one step and of many compute it alike",
    ),
    "compiles each length": (
        compiles_each_length,
        "compiles nothing after its first run",
        "let the steps be arguments of the program",
    ),
    "keeps a count of its own": (
        counts_from_its_own,
        "goes on from a saved state as if it had never stopped",
        "nothing may be kept between two runs",
    ),
    "forgets weights": (forgets_weights, "weighs samples by their weights", "hand on batch.weight"),
    "changes the learning rate": (
        changes_the_state(
            lambda state, first, last: replace(state, hyper=jax.tree.map(lambda leaf: leaf * 2, state.hyper))
        ),
        "leaves the values of the training (state.hyper) and the seed's key alone",
        "state.hyper has changed",
    ),
}


SHOWN = ("drops the last batch", "does not donate")
"""The others take as long together as all other tests of a room."""


@pytest.mark.parametrize(
    "name",
    [name if name in SHOWN else pytest.param(name, marks=pytest.mark.slow) for name in BACKEND_MISTAKES],
)
def test_a_mistake_in_a_backend_is_named_by_its_line(name):
    mistake, claim, words = BACKEND_MISTAKES[name]
    finding = first_failure(backend_claims(backend_with(mistake)))
    assert finding is not None
    assert finding.claim == claim, str(finding)
    assert words in str(finding), str(finding)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["optimized", "async"])
def test_the_executions_of_the_table_hold_every_check(name):
    outcome = nf.verify_plugin(BACKENDS[name])
    assert outcome.passed, str(outcome)


def run_module(module, path, *args):
    """A command in a process of its own, with these folders to import from."""
    return subprocess.run(
        [sys.executable, "-m", f"neuroforge_jax.{module}", *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])), "JAX_PLATFORMS": "cpu"},
    )


TOGETHER = (
    *(
        "--dataset",
        "digits",
        "--hidden",
        "32",
        "--batch-size",
        "64",
        "--epochs",
        "5",
        "--learning-rate",
        "0.3",
    ),
    *("--backend", "unrolled", "--kernels", "tiles"),
)


@pytest.mark.slow
def test_both_examples_hold_every_check_once_they_are_installed(tmp_path):
    path = [install(example, tmp_path / example.name) for example in (BACKEND_EXAMPLE, KERNEL_EXAMPLE)]
    for name, kind in (("unrolled", "backend"), ("tiles", "kernel")):
        record = tmp_path / f"{name}.json"
        done = run_module("verify", path, "--plugin", name, "--output", str(record))
        assert (done.returncode, done.stderr) == (0, "")
        assert "✗" not in done.stdout
        outcome = json.loads(record.read_text())
        assert outcome["passed"]
        assert outcome["plugins"][0]["kind"] == kind
        assert outcome["plugins"][0]["origin"] == f"neuroforge-{name} 0.1.0"


@pytest.mark.slow
def test_both_examples_train_together(tmp_path):
    path = [install(example, tmp_path / example.name) for example in (BACKEND_EXAMPLE, KERNEL_EXAMPLE)]
    done = run_module("train", path, *TOGETHER, "--run-dir", str(tmp_path / "run"))
    assert (done.returncode, done.stderr) == (0, "")
    named = "(as named, from neuroforge-unrolled 0.1.0, layers by tiles of neuroforge-tiles 0.1.0): unrolled"
    assert named in " ".join(done.stdout.split())
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["plugin"] == "neuroforge-unrolled 0.1.0"
    assert environment["kernels_plugin"] == "neuroforge-tiles 0.1.0"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"] > 0.8


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages, in which the command is run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = """
import jax.numpy as jnp
import neuroforge_jax as nf
def dense(x, kernel, bias, activation):
    return jnp.dot(x, kernel).astype(jnp.bfloat16)
half = nf.DenseKernel("half", dense, dtypes="float32", devices="cpu")
far = nf.DenseKernel("far", dense, dtypes="float32", devices="tpu")
"""


def test_the_command_names_what_is_wrong_and_records_it(site, capsys):
    offer(site, "wrong", {"half": ":half", "far": ":far"}, WRONG, "kernel")
    assert verify.main(["--plugin", "half", "--output", "half.json"]) == 7
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "half of wrong 1.0: f32 on cpu, gradient: xla"
    assert "  ✓ takes this device, cpu\n  ✗ runs under jax.jit" in out
    assert err.startswith("error: kernel 'half': 1 of 2 checks fail; runs under jax.jit")
    assert "must give float32 [33, 21]" in err
    assert len(err.splitlines()) == 1
    (plugin,) = json.loads((site / "half.json").read_text())["plugins"]
    assert (plugin["name"], plugin["origin"], plugin["passed"]) == ("half", "wrong 1.0", False)
    assert [check["passed"] for check in plugin["checks"]][:2] == [True, False]


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (
            "--plugin hlaf",
            2,
            "known are gone, half; did you mean 'half'? (gone: kernel of misnamed 1.0, half:",
        ),
        ("--plugin gone", 5, "kernel 'gone' of misnamed 1.0 is unavailable: AttributeError"),
        (
            "--plugin half --backend mixed",
            2,
            "--plugin checks a plugin as it is, and --backend is for backends",
        ),
        ("--plugin half --output none/half.json", 2, "there is no folder none"),
    ],
)
def test_a_mistake_of_the_command_is_one_line(args, code, sentence, site, capsys):
    offer(site, "misnamed", {"half": ":half", "gone": ":gone"}, WRONG, "kernel")
    assert verify.main(args.split()) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_without_any_plugin_the_page_is_named(site, capsys):
    assert verify.main(["--plugin", "tiles"]) == 2
    assert "no package is installed that declares one; see docs/backends.md" in capsys.readouterr().err
