"""Meshes: where arrays lie, and that a training over several devices is the training on one."""

import dataclasses
import re
from itertools import pairwise
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.base import programs_of
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.job.job import Job
from neuroforge_jax.nn.mlp import count
from neuroforge_jax.population import build_population
from neuroforge_jax.precision.loss_scale import dynamic_scale
from neuroforge_jax.training.mesh import make_mesh, parse_mesh
from tests.conftest import make_blobs
from tests.tiers import with_further

CONFIG = nf.TrainConfig(hidden=(32, 24), batch_size=32, epochs=3, learning_rate=0.05, backend="optimized")
STEPS = 20
LONG = pytest.mark.distributed
MESHES = (
    "data=8",
    "data=2,model=2",
    *(pytest.param(mesh, marks=LONG) for mesh in ("data=1", "data=2", "data=4", "model=4")),
)


@pytest.fixture(scope="module")
def data():
    return make_blobs()


def train(config, dataset, steps=STEPS):
    """The losses f32 [S] and the parameters on the host."""
    job = Job.build(config, dataset)
    state, metrics = job.compile()(job.start(), 0, steps)
    return np.asarray(metrics.loss), jax.device_get(state.params)


@pytest.fixture(scope="module")
def alone(data):
    return train(CONFIG, data)


def assert_same_losses(found, wanted, tolerance=1e-6):
    np.testing.assert_allclose(found, wanted, rtol=tolerance)


@pytest.mark.parametrize("mesh", MESHES)
def test_every_mesh_trains_to_the_same_losses(data, alone, mesh):
    """1e-6 relative over 20 float32 steps: sums in another order, and nothing else."""
    losses, params = train(dataclasses.replace(CONFIG, mesh=mesh), data)
    assert_same_losses(losses, alone[0])
    for found, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(alone[1]), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


VARIANTS = {
    "stepped": {"backend": "stepped"},
    "pipelined": {"backend": "async"},
    "in the stored order": {"shuffle": False},
    "muon, clipped": {"optimizer": "muon", "clip_norm": 0.5, "learning_rate": 0.01},
    "adam, decayed": {"optimizer": "adam", "weight_decay": 0.01, "learning_rate": 0.001},
    "residual": {"residual": True, "hidden": (24, 24)},
    "softmax regression": {"hidden": ()},
}


@LONG
@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS)
def test_every_kind_of_training_works_over_a_mesh(data, fields):
    """Over three devices the batch of 32 does not divide."""
    config = dataclasses.replace(CONFIG, **fields)
    wanted = train(config, data)[0]
    for mesh in ("data=2,model=2", "data=3"):
        assert_same_losses(train(dataclasses.replace(config, mesh=mesh), data)[0], wanted, 5e-6)


@LONG
@pytest.mark.parametrize(
    ("backend", "mesh"),
    with_further(
        [("optimized", "data=2,model=2"), ("async", "data=8")],
        [("optimized", "data=8"), ("stepped", "data=3")],
    ),
)
def test_a_batch_in_parts_is_the_same_samples_and_dropout_on_any_mesh(data, backend, mesh):
    """Of 36 samples in four parts neither the parts nor their shares divide."""
    fields = {"batch_size": 36, "accumulate": 4, "dropout": 0.2, "normalization": "layer"}
    config = dataclasses.replace(CONFIG, backend=backend, **fields)
    wanted = train(config, data)[0]
    assert_same_losses(train(dataclasses.replace(config, mesh=mesh), data)[0], wanted)


@LONG
def test_gradients_that_overflow_on_one_device_skip_the_step_on_all(data):
    """The first scale is too large for fp16 by some steps' halving."""
    config = dataclasses.replace(CONFIG, accumulate=2, precision="fp16", loss_scale="dynamic")

    def skipped_steps(mesh):
        job = Job.build(dataclasses.replace(config, mesh=mesh), data)
        job = dataclasses.replace(
            job, training=dataclasses.replace(job.training, loss_scale=dynamic_scale(2.0**24))
        )
        return job.compile()(job.start(), 0, STEPS)[1].skipped

    wanted = skipped_steps(None)
    assert 0 < wanted.sum() < STEPS
    np.testing.assert_array_equal(skipped_steps("data=4"), wanted)


@LONG
def test_widths_batches_and_classes_that_do_not_divide_are_padded(data):
    config = dataclasses.replace(CONFIG, hidden=(33, 7, 5), batch_size=31)
    wanted = train(config, data)[0]
    for mesh in ("model=4", "data=3,model=2"):
        assert_same_losses(train(dataclasses.replace(config, mesh=mesh), data)[0], wanted)


@LONG
@pytest.mark.parametrize(
    ("precision", "mesh"),
    with_further(
        [("bf16", "data=4"), ("fp16", "data=2,model=2")], [("bf16", "data=2,model=2"), ("fp16", "data=4")]
    ),
)
def test_short_precisions_differ_by_their_rounding_alone(data, precision, mesh):
    config = dataclasses.replace(CONFIG, precision=precision)
    found, wanted = train(dataclasses.replace(config, mesh=mesh), data)[0], train(config, data)[0]
    assert_same_losses(found, wanted, 2e-2)


@pytest.mark.parametrize("backend", ["optimized", pytest.param("async", marks=LONG)])
def test_hand_written_kernels_compute_the_rows_of_each_device(data, alone, backend):
    config = dataclasses.replace(CONFIG, backend=backend, kernels="interpret", mesh="data=4")
    assert_same_losses(train(config, data)[0], alone[0])


@pytest.mark.parametrize("mesh", ["model=2", "data=2,model=2"])
def test_hand_written_kernels_are_refused_where_layers_are_divided(data, mesh):
    with pytest.raises(ConfigError, match=r"the kernels interpret compute whole layers .* use --kernels xla"):
        Job.build(dataclasses.replace(CONFIG, kernels="interpret", mesh=mesh), data)


OPTIMIZERS = {
    "momentum, a norm": {"optimizer": "momentum", "normalization": "layer"},
    "adamw, clipped": {"optimizer": "adamw", "weight_decay": 0.01, "clip_norm": 0.5},
    "muon": {"optimizer": "muon", "learning_rate": 0.01},
    "fp16": {"precision": "fp16"},
    "pipelined": {"backend": "async"},
}

SHARDED = dataclasses.replace(CONFIG, deterministic_shards=8, batch_size=36, optimizer="adam", dropout=0.2)


@pytest.fixture(scope="module")
def sharded(data):
    return train(SHARDED, data)


@LONG
@pytest.mark.full_effort
@pytest.mark.parametrize("mesh", ["data=1", "data=2", "data=8"])
def test_shards_of_one_order_are_the_same_bits_on_any_number_of_devices(data, sharded, mesh):
    losses, params = train(dataclasses.replace(SHARDED, mesh=mesh), data)
    assert losses.tobytes() == sharded[0].tobytes()
    for found, wanted in zip(jax.tree.leaves(params), jax.tree.leaves(sharded[1]), strict=True):
        assert found.tobytes() == wanted.tobytes()


@LONG
@pytest.mark.full_effort
@pytest.mark.parametrize("kind", with_further([*OPTIMIZERS][::2], [*OPTIMIZERS][1::2]))
def test_shards_of_one_order_are_the_same_bits_in_every_kind_of_training(data, kind):
    config = dataclasses.replace(SHARDED, **OPTIMIZERS[kind])
    alone, divided = (train(dataclasses.replace(config, mesh=mesh), data) for mesh in (None, "data=4"))
    for found, wanted in zip(jax.tree.leaves(divided), jax.tree.leaves(alone), strict=True):
        assert found.tobytes() == wanted.tobytes()


@LONG
def test_shards_of_one_order_are_the_training_without_them(data):
    config = dataclasses.replace(SHARDED, dropout=0.0, optimizer="sgd")
    whole = train(dataclasses.replace(config, deterministic_shards=None), data)
    assert_same_losses(train(config, data)[0], whole[0], 1e-5)


@pytest.mark.parametrize("mesh", ["data=3", "model=2"])
def test_shards_that_do_not_divide_over_the_devices_are_refused(data, mesh):
    with pytest.raises(ConfigError, match=f"--mesh {mesh} and --deterministic-shards 8: every device"):
        Job.build(dataclasses.replace(SHARDED, mesh=mesh), data)


OPERATIONS = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-[a-z]+")


def collectives(config, dataset):
    """What the devices send to each other in the program of a run: [(operation, shapes)], in its order."""
    return collectives_of(Job.build(config, dataset))


def collectives_of(job, of=0):
    program = list(programs_of(job.compile()).values())[of]
    operation = re.compile(rf"= (.*?) ({'|'.join(OPERATIONS)})(?:-start)?\(")
    found = [operation.search(line) for line in (program.as_text() or "").splitlines()]
    return [
        (
            match[2],
            [
                tuple(map(int, filter(None, dims.split(","))))
                for dims in re.findall(r"\w+\[([\d,]*)\]", match[1])
            ],
        )
        for match in found
        if match
    ]


def size(shapes):
    return sum(int(np.prod(shape)) for shape in shapes)


@pytest.mark.parametrize("backend", ["optimized", "stepped", "async"])
def test_data_parallel_sums_all_gradients_at_once_and_sends_nothing_else(data, backend):
    """Each device has the gradients of its rows: their sum is one all-reduce of as many numbers as there are
    parameters, and of the loss, the hits and the samples. Parameters and data are on every device already.
    """
    config = dataclasses.replace(CONFIG, backend=backend, mesh="data=8")
    (operation, shapes), *others = collectives(config, data)
    assert others == []
    assert operation == "all-reduce"
    parameters = count(Job.build(config, data).model.mlp)
    assert parameters <= size(shapes) <= parameters + 3


@pytest.mark.parametrize(
    ("backend", "fields"),
    [
        ("optimized", {}),
        pytest.param("stepped", {}, marks=LONG),
        pytest.param("async", {"dropout": 0.2, "precision": "fp16"}, marks=LONG),
    ],
)
def test_a_batch_in_parts_is_summed_over_the_devices_once(data, backend, fields):
    """As one that is computed at once: each device has its rows of all parts, and adds up what they give."""
    config = dataclasses.replace(CONFIG, backend=backend, mesh="data=4", accumulate=4, **fields)
    (operation, shapes), *others = collectives(config, data)
    assert others == []
    assert operation == "all-reduce"
    assert size(shapes) == count(Job.build(config, data).model.mlp) + 2  # the loss and the hits


def test_tensor_parallel_sums_one_layer_of_each_pair_forward_and_back(data):
    """Of layers by columns, rows, columns, rows: forward the outputs of columns stay where they are, and those of
    rows are sums of parts; backward the gradients of the inputs of columns are. So [B, O] behind layers 1 and 3,
    and [B, I] before layer 2; the inputs of layer 0 need no gradient.
    """
    config = dataclasses.replace(CONFIG, hidden=(32, 24, 16), mesh="model=2")
    found = collectives(config, data)
    assert {operation for operation, _ in found} == {"all-reduce"}
    sums = sorted(shape for _, shapes in found for shape in shapes if len(shape) == 2)
    assert sums == sorted([(32, 24), (32, 4), (32, 24)])


def test_both_at_once_sum_each_gradient_over_the_rows_and_each_second_layer_over_the_columns(data):
    """Each device has a half of the rows and of every other kernel: its gradients are those of its part."""
    found = collectives(dataclasses.replace(CONFIG, mesh="data=2,model=2"), data)
    assert {operation for operation, _ in found} == {"all-reduce"}
    (_, layer), (_, gradients) = sorted(found, key=lambda each: size(each[1]))
    assert layer == [(16, 24)]
    widths = (13, 32, 24, 4)
    kernels = [a * b for a, b in pairwise(widths)]
    parts = (kernels[0] + 32 + kernels[1]) // 2 + 24 + kernels[2] + 4
    assert parts <= size(gradients) <= parts + 3


def test_a_mesh_of_one_device_sends_nothing(data):
    assert collectives(dataclasses.replace(CONFIG, mesh="data=1"), data) == []


def test_members_of_a_population_meet_nowhere_but_in_the_making_of_their_orders(data):
    """An order is walked until every index is below n (`shuffle.py`), for all members together: one bit, once an
    epoch.
    """
    job = build_population(dataclasses.replace(CONFIG, mesh="population=4"), data, range(8))
    assert collectives_of(job) == []
    assert collectives_of(job, of=1) == [("all-reduce", [()])]


@LONG
@pytest.mark.parametrize("mesh", ["population=4", "population=2,data=2", "data=2", "population=3"])
def test_a_population_over_a_mesh_trains_the_same_networks(data, mesh):
    """Four networks over three devices: the last device trains one twice, which nobody sees."""
    config = dataclasses.replace(CONFIG, epochs=2, validation_fraction=0.2)
    alone = nf.fit_population(config, data, range(4))
    divided = nf.fit_population(dataclasses.replace(config, mesh=mesh), data, range(4))
    assert_same_losses(divided.losses, alone.losses, 5e-6)
    assert divided.best_epochs == alone.best_epochs
    for one, other in zip(divided.evaluations, alone.evaluations, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert jax.tree.leaves(divided.params)[0].shape[0] == 4


@LONG
@pytest.mark.parametrize(
    ("mesh", "fields"),
    [
        ("population=2,data=2", {"accumulate": 2, "dropout": 0.2}),
        ("population=2,data=2,model=2", {"batch_size": 8}),
    ],
    ids=["parts", "few rows"],
)
def test_a_population_is_divided_along_all_axes_where_each_device_computes_its_rows(data, mesh, fields):
    config = dataclasses.replace(CONFIG, epochs=2, **fields)
    alone = nf.fit_population(config, data, range(4))
    divided = nf.fit_population(dataclasses.replace(config, mesh=mesh), data, range(4))
    assert_same_losses(divided.losses, alone.losses, 5e-6)


def test_one_network_has_no_axis_of_a_population(data):
    with pytest.raises(ConfigError, match=r"a population is trained by nf\.fit_population"):
        Job.build(dataclasses.replace(CONFIG, mesh="population=2"), data)


def test_states_lie_where_the_table_says(data):
    """A device has its columns and rows of the kernels, and of the optimizer's moments."""
    config = dataclasses.replace(CONFIG, optimizer="adam", mesh="data=2,model=4")
    state = Job.build(config, data).start()
    adam = state.opt_state[0]
    for tree in (state.params, adam.mu, adam.nu):
        shards = {
            f"{layer}/{leaf}": array.sharding.shard_shape(array.shape)
            for layer, leaves in tree.items()
            for leaf, array in leaves.items()
        }
        assert shards == {
            "layer0/kernel": (13, 8),
            "layer0/bias": (8,),
            "layer1/kernel": (8, 24),
            "layer1/bias": (24,),
            "output/kernel": (24, 4),
            "output/bias": (4,),
        }


def test_a_mesh_that_leaves_a_process_without_a_device_is_refused():
    devices = [SimpleNamespace(process_index=at // 2, platform="cpu") for at in range(4)]
    with pytest.raises(
        DeviceError, match=r"2 of 4 devices, and process 1 would have none of them; .* --mesh auto"
    ):
        make_mesh("data=2", devices)


@pytest.mark.parametrize(
    "text", ["data", "data=0", "data=2,data=2", "data=x", "rows=2", "", "data=-1", "model=2;data=2"]
)
def test_what_is_no_mesh_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"--mesh .*data="):
        parse_mesh(text)


def test_auto_divides_the_batch_over_all_devices():
    assert dict(make_mesh("auto", jax.devices()).shape) == {"data": len(jax.devices())}


def test_a_mesh_larger_than_the_devices_is_refused_with_what_is_there():
    with pytest.raises(
        DeviceError, match=r"takes 16 devices, and jax finds 8 \(cpu\) here; .* JAX_NUM_CPU_DEVICES=16"
    ):
        make_mesh("data=8,model=2", jax.devices())
