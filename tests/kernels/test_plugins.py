"""Kernels of other packages: the example trains, what they do not take is left or refused, mistakes are a line."""

import ast
import re
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax import kernels
from neuroforge_jax.backends.resolve import choose, find
from neuroforge_jax.backends.table import Backend
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.kernels import reference
from neuroforge_jax.kernels.plugins import discover_kernels, load_kernel
from neuroforge_jax.nn.activations import ACTIVATIONS
from neuroforge_jax.precision.policy import POLICIES
from neuroforge_jax.system.plugins import Plugin
from neuroforge_jax.train import main
from tests.plugins import BACKEND_EXAMPLE, KERNEL_EXAMPLE, assert_page_shows, offer

QUICK = ["--dataset", "digits", "--hidden", "16", "--batch-size", "64", "--epochs", "1", "--seed", "3"]
ON_CPU = {"dtypes": ("float32", "bfloat16"), "devices": ("cpu",)}


def plain(x, kernel, bias, activation):
    z = jnp.dot(x, kernel, precision="highest", preferred_element_type=jnp.float32) + bias
    return nf.activate(z, activation)


def own_gradient(x, kernel, bias, activation, y, dy):
    _, pull = jax.vjp(lambda x, kernel, bias: plain(x, kernel, bias, activation), x, kernel, bias)
    return pull(dy)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of installed packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def tiles(site):
    """The example package, installed."""
    code = (KERNEL_EXAMPLE / "neuroforge_tiles.py").read_text()
    offer(site, "neuroforge-tiles", {"tiles": ":tiles"}, code, "kernel")


def test_the_example_trains_to_the_parameters_of_xla_and_is_named(tiles, blobs, small_config):
    config = replace(small_config, kernels="tiles")
    choice = choose(config)
    assert choice.reason == "as named, layers by tiles of neuroforge-tiles 1.0"
    assert choice.backend.environment(32)["kernels_plugin"] == "neuroforge-tiles 1.0"
    assert choose(small_config).backend.environment(32)["kernels_plugin"] is None
    params = []
    for each in (config, small_config):
        model, state = nf.init(each, blobs)
        state, _ = nf.prepare(each, model, blobs)(state, 0, 9)
        params.append(jax.tree.leaves(state.params))
    for found, wanted in zip(*params, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    model, state = nf.init(config, blobs)
    assert "pallas_call" in str(jax.make_jaxpr(model.logits)(state.params, blobs.test.inputs))


@pytest.mark.parametrize("gradient", ["xla", "jax", own_gradient], ids=["xla", "jax", "its own"])
@pytest.mark.parametrize(("activation", "precision"), [("gelu", "f32"), ("tanh", "bf16")])
def test_every_kind_of_gradient_is_that_of_the_reference(gradient, activation, precision):
    kernel = nf.DenseKernel("plain", plain, gradient=gradient, **ON_CPU)
    rng, policy = np.random.default_rng(5), POLICIES[precision]
    operands = [jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((9, 12), (12, 5), (5,))]

    def loss(layer):
        return jax.jit(jax.value_and_grad(lambda operands: (layer(*operands) ** 2).mean()))(operands)

    found = loss(lambda *o: kernels.dense(*o, activation, policy, kernel))
    wanted = loss(lambda *o: reference.dense(*o, activation, policy))
    bound = {"f32": 1e-6, "bf16": 8e-3}[precision] + (3e-3 if activation == "gelu" else 0)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype == jnp.float32
        assert np.linalg.norm(one - other) <= bound * np.linalg.norm(other)


def test_a_kernel_is_taken_by_its_name_too(site):
    offer(site, "named", {"named": ":kernel"}, PLAIN.format(name="named"), "kernel")
    x, kernel, bias = jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.zeros(4)
    assert kernels.dense(x, kernel, bias, implementation="named").shape == (2, 4)
    logits = kernels.mlp(x, [(kernel, bias), (kernel.T, jnp.zeros(3))], "relu", implementation="named")
    assert (logits == 12).all()
    with pytest.raises(ConfigError, match=r"known are auto, .*, named; did you mean 'named'\?"):
        kernels.dense(x, kernel, bias, implementation="nemed")


PLAIN = """
import jax.numpy as jnp
import neuroforge_jax as nf
def dense(x, kernel, bias, activation):
    return nf.activate(jnp.dot(x, kernel, preferred_element_type=jnp.float32) + bias, activation)
kernel = nf.DenseKernel({name!r}, dense, dtypes="float32", devices="cpu")
"""


def test_what_a_kernel_does_not_take_runs_xla_and_is_said():
    def never(*operands):
        raise AssertionError("it was called")

    kernel = nf.DenseKernel("few", never, dtypes="bfloat16", devices="cpu", activations="gelu")
    backend = replace(find("optimized"), kernels=kernel)
    assert kernel.describe_fallback(jnp.float32, ["gelu"]) == "few multiplies no f32, and xla runs"
    told = kernel.describe_fallback(jnp.bfloat16, ["relu", "gelu", "identity"])
    assert told == "few has no relu and no identity, and xla runs there"
    assert kernel.describe_fallback(jnp.bfloat16, ["gelu"]) == ""
    x, W, b = jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.zeros(4)
    for activation, precision in (("gelu", "f32"), ("relu", "bf16")):
        found = kernels.dense(x, W, b, activation, POLICIES[precision], backend.implementation)
        wanted = kernels.dense(x, W, b, activation, POLICIES[precision], "xla")
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(DeviceError, match="AssertionError: it was called"):
        kernels.dense(x, W, b, "gelu", POLICIES["bf16"], kernel)


def test_what_is_left_to_xla_is_in_the_header(site):
    offer(site, "half", {"half": ":kernel"}, PLAIN.format(name="half"), "kernel")
    choice = choose(nf.TrainConfig(backend="optimized", kernels="half", precision="bf16"))
    assert choice.reason == "as named; half multiplies no bf16, and xla runs; half is of half 1.0"
    choice = choose(nf.TrainConfig(kernels="half"))
    assert choice.reason.endswith(", layers by half of half 1.0")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "; few has no identity, and xla runs there, layers by few of few 1.0"),
        ({"normalization": "layer"}, "; few has no identity, and xla runs there; few is of few 1.0"),
        ({"hidden": ()}, "; few has no identity, and xla runs there; few is of few 1.0"),
        ({"activation": "tanh"}, "; few has no tanh and no identity, and xla runs there; few is of few 1.0"),
    ],
)
def test_the_header_names_each_activation_of_a_layer_that_a_kernel_has_not(config, words, site):
    code = PLAIN.format(name="few").replace('devices="cpu"', 'devices="cpu", activations="relu"')
    offer(site, "few", {"few": ":kernel"}, code, "kernel")
    assert choose(nf.TrainConfig(kernels="few", **config)).reason.endswith(words)


def test_kernels_that_hand_a_precision_back_to_xla_are_in_the_header(monkeypatch):
    monkeypatch.setattr(Backend, "implementation", property(lambda backend: "hopper"))
    reason = choose(nf.TrainConfig(kernels="pallas", precision="f32")).reason
    assert reason.endswith("; the hopper kernels multiply no f32, and xla runs")
    assert "xla runs" not in choose(nf.TrainConfig(kernels="pallas", precision="bf16")).reason


@pytest.mark.parametrize(
    "fields", [{"activations": 3}, {"devices": 3}, {"activations": [["relu"]]}, {"dtypes": 3}]
)
def test_a_field_of_the_wrong_kind_is_refused_by_one_line(fields):
    with pytest.raises(ConfigError, match=r"unknown (activation|device|dtype) .*known are"):
        nf.DenseKernel("odd", plain, **{"dtypes": "float32", "devices": "cpu"} | fields)


@pytest.mark.parametrize(
    ("devices", "words"),
    [(("tpu", "gpu"), "tpu or gpu"), (lambda device: False, "a device of its own choice")],
)
def test_a_device_that_a_kernel_does_not_take_is_refused(devices, words):
    kernel = nf.DenseKernel("far", plain, dtypes="float32", devices=devices)
    told = (
        rf"kernel 'far' cannot be used: it needs {words}, and this device is cpu \(cpu\); --kernels xla computes "
        "the layers anywhere"
    )
    with pytest.raises(DeviceError, match=told):
        _ = replace(find("optimized"), kernels=kernel).implementation
    with pytest.raises(DeviceError, match=told):
        kernels.dense(jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.zeros(4), implementation=kernel)


def test_platforms_have_the_names_that_people_use():
    def takes(devices, platform):
        device = type("Device", (), {"platform": platform})()
        return nf.DenseKernel("any", plain, "float32", devices).takes(device)

    assert takes("gpu", "cuda")
    assert takes("gpu", "gpu")
    assert takes("gpu", "rocm")
    assert takes("cuda", "gpu")
    assert not takes("cuda", "rocm")
    assert not takes(("gpu", "tpu"), "cpu")


KERNEL = "from neuroforge_jax import DenseKernel\ndef dense(x, kernel, bias, activation): {body}\n"
MADE = KERNEL + "kernel = DenseKernel('broken', dense, dtypes={dtypes}, devices={devices}{more})"


def made(body="pass", dtypes="'float32'", devices="'cpu'", more=""):
    return MADE.format(body=body, dtypes=dtypes, devices=devices, more=more)


BROKEN = {
    "import nothing_of_this_name": "is unavailable: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    "def kernel(): return 1 / 0": "is unavailable: ZeroDivisionError: division by zero",
    "kernel = 'triton'": "is unavailable: faulty_2:kernel makes a str; it must make a DenseKernel",
    made().replace(
        "'broken', dense", "'other', dense"
    ): "is unavailable: its DenseKernel has the name 'other'",
    made(dtypes="'float64'"): "is unavailable: unknown dtype 'float64': known are float32, bfloat16, float16",
    made(dtypes="()"): "is unavailable: dtypes is empty: a kernel takes one at least",
    made(
        devices="'cpus'"
    ): "is unavailable: unknown device 'cpus': known are cpu, gpu, cuda, tpu; did you mean 'cpu'",
    made(more=", activations='rleu'"): "is unavailable: unknown activation 'rleu': known are relu",
    made(more=", gradient='xls'"): "is unavailable: unknown gradient 'xls': known are xla, jax",
    made(devices="lambda device: 1 / 0"): "cannot be used: its function of a device fails (ZeroDivisionError",
    made(
        "return 1 / 0"
    ): "cannot be used: dense of 64×64×16 f32 relu fails (ZeroDivisionError: division by zero)",
    made(): "cannot be used: dense of 64×64×16 f32 relu gives a NoneType, and must give float32 [64, 16]",
    made("return x @ kernel.T.T[:, :1]"): "gives float32 [64, 1], and must give float32 [64, 16]",
    made("return (x @ kernel).astype('bfloat16')"): "gives bfloat16 [64, 16], and must give float32 [64, 16]",
    made("return x @ kernel", more=", gradient=lambda *o: o[:2]"): (
        "gradient of 64×16×10 f32 identity gives numbers [64, 16], numbers [16, 10], and must give"
    ),
}


@pytest.mark.parametrize("code", BROKEN, ids=BROKEN.values())
def test_a_broken_kernel_is_one_line_with_its_package_and_reason(code, site, tmp_path, capsys):
    number = list(BROKEN).index(code)
    offer(site, f"faulty-{number}", {"broken": ":kernel"}, code, "kernel")
    assert main([*QUICK, "--kernels", "broken", "--run-dir", str(tmp_path / "run")]) == 5
    err = capsys.readouterr().err
    assert err.startswith(f"error: kernel 'broken' of faulty-{number} 1.0 ")
    assert BROKEN[code] in err
    assert len(err.splitlines()) == 1


def test_names_that_clash_are_told(site):
    for package in ("first", "second"):
        offer(site, package, {"twice": ":kernel"}, "raise SystemExit('imported')", "kernel")
    offer(site, "thief", {"triton": ":kernel"}, "raise SystemExit('imported')", "kernel")
    with pytest.raises(
        DeviceError, match=r"first 1.0 and second 1.0 have one name for it; uninstall all but one"
    ):
        choose(nf.TrainConfig(kernels="twice"))
    thief = next(plugin for plugin in discover_kernels() if plugin.name == "triton")
    with pytest.raises(
        DeviceError, match=r"neuroforge-jax has a kernel of this name, which thief 1.0 cannot replace"
    ):
        load_kernel(thief)
    assert not {"first", "second", "thief"} & set(sys.modules)


def test_nobody_who_did_not_ask_for_a_kernel_imports_it(site, monkeypatch):
    offer(site, "loud", {"shout": ":kernel"}, "raise SystemExit('imported')", "kernel")
    monkeypatch.setattr(Plugin, "load", pytest.fail)
    assert choose(nf.TrainConfig()).backend.kernels == "xla"
    with pytest.raises(
        ConfigError, match=r"unknown kernels 'shuot': known are xla, pallas, interpret, shout;"
    ):
        choose(nf.TrainConfig(kernels="shuot"))


def test_a_backend_of_a_package_takes_kernels_by_name_and_by_value(site):
    offer(site, "layers", {"layers": ":kernel"}, PLAIN.format(name="layers"), "kernel")
    code = (
        "import neuroforge_jax as nf\n"
        "own = nf.DenseKernel('own', print, 'float32', 'cpu')\n"
        "by_name = nf.Backend('by-name', 'stepped', 'f32', kernels='layers')\n"
        "by_value = nf.Backend('by-value', 'stepped', 'f32', kernels=own)\n"
        "lost = nf.Backend('lost', 'stepped', 'f32', kernels='lawyers')\n"
    )
    offer(site, "rows", {"by-name": ":by_name", "by-value": ":by_value", "lost": ":lost"}, code)
    backend = find("by-name")
    assert (backend.origin, backend.kernels.name, backend.kernels.origin) == (
        "rows 1.0",
        "layers",
        "layers 1.0",
    )
    assert find("by-value").implementation.name == "own"
    with pytest.raises(
        DeviceError, match=r"is unavailable: unknown kernels 'lawyers': known are xla, .*, layers"
    ):
        find("lost")


def test_a_population_refuses_a_kernel_without_vmap(site, blobs, small_config):
    code = PLAIN.format(name="alone").replace("devices=", "vmap=False, devices=")
    offer(site, "alone", {"alone": ":kernel"}, code, "kernel")
    with pytest.raises(DeviceError, match=r"it does not work under jax.vmap, which trains a population"):
        nf.fit_population(replace(small_config, kernels="alone"), blobs, seeds=range(2))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_for_kernels_has_a_slope_that_no_sum_makes_nan(name):
    z = jnp.asarray([-1e30, -3.0, -0.5, 0.7, 4.0, 1e30])
    found = jax.vmap(jax.grad(lambda z: nf.activate(z, name)))(z)
    wanted = jax.vmap(jax.grad(ACTIVATIONS[name].function))(z[1:-1])
    np.testing.assert_allclose(found[1:-1], wanted, atol=1.2e-3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("example", [BACKEND_EXAMPLE, KERNEL_EXAMPLE], ids=lambda path: path.name)
def test_the_examples_use_public_names_alone(example):
    (path,) = example.glob("*.py")
    source = path.read_text()
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    ours = [ast.unparse(node) for node in imported if "neuroforge_jax" in ast.unparse(node)]
    assert ours == ["import neuroforge_jax as nf"]
    used = set(re.findall(r"\bnf\.([A-Za-z_.]+)", source))
    assert used
    assert used <= set(nf.__all__)
    assert len(source.splitlines()) <= 60


def test_the_documentation_shows_the_example_as_it_is():
    assert_page_shows("kernels.md", "Write a kernel", KERNEL_EXAMPLE)
