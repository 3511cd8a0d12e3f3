"""A mesh of chips that are not here: what they send to each other, what each has, and what that makes of a step."""

import json
import re
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from neuroforge_jax.backends.executors.base import programs_of
from neuroforge_jax.errors import ConfigError, DeviceError
from neuroforge_jax.job.job import Job
from neuroforge_jax.nn.mlp import count
from neuroforge_jax.portability.collectives import find_collectives
from neuroforge_jax.portability.compiled import bytes_of_device, compile_for, compile_function
from neuroforge_jax.portability.programs import make_programs
from neuroforge_jax.portability.projection import projection
from neuroforge_jax.portability.table import Row, portability_table, to_json
from neuroforge_jax.portability.targets import H200, TARGETS, V5E
from tests.conftest import make_blobs
from tests.portability.meshes import CONFIG, numbers_sent
from tests.portability.test_compiled import KERNEL_CALLS, here

pytestmark = pytest.mark.portability

MESHES = [
    ("v5e-4", "data=4"),
    ("v5e-4", "data=2,model=2"),
    ("h200-8", "data=8"),
    ("h200-8", "data=4,model=2"),
]
KERNELS = [("v5e-4", "data=4"), ("h200-8", "data=8")]


@cache
def compiled(name, mesh, config=CONFIG):
    """The programs and the compiled epoch; kept, as several claims are about one."""
    target = here(name)
    programs = make_programs(replace(config, mesh=mesh), make_blobs(), target)
    return programs, compile_function(target, programs.epoch, *programs.epoch_arguments, donate=(0,))


def sent_by(name, mesh, config=CONFIG):
    programs, epoch = compiled(name, mesh, config)
    return numbers_sent(find_collectives(epoch.as_text(), programs.placement.devices, config.accumulate))


@pytest.mark.parametrize("precision", ["bf16", "fp16", "p=f32,c=bf16,o=bf16"])
@pytest.mark.parametrize(("name", "mesh"), [("v5e-4", "data=2,model=2"), ("h200-8", "data=8")])
def test_chips_sum_in_float32_whatever_they_multiply_in(name, mesh, precision):
    """What a training in float32 sends, number for number. fp16 has beside it the bits that say whether the
    gradients of a chip's part of the layers are finite.
    """
    sent = sent_by(name, mesh, replace(CONFIG, precision=precision))
    numbers = {kind: count for kind, count in sent.items() if kind[1] not in ("pred", "u32")}
    assert numbers == sent_by(name, mesh)
    assert sum(sent.values()) - sum(numbers.values()) <= (2 if precision == "fp16" else 0)


@pytest.mark.parametrize(("name", "mesh"), [("v5e-4", "data=2,model=2"), ("h200-8", "data=8")])
def test_chips_send_for_a_batch_in_parts_what_they_send_for_it_at_once(name, mesh):
    """Over `data` one sum a step; over `model` as many as there are parts, each of a part's rows."""
    assert sent_by(name, mesh, replace(CONFIG, accumulate=4, dropout=0.1)) == sent_by(name, mesh)


def parts_of(mesh):
    sizes = dict(item.split("=") for item in mesh.split(","))
    return int(sizes.get("data", 1)), int(sizes.get("model", 1))


@pytest.mark.parametrize(("name", "mesh"), MESHES)
def test_chips_send_and_have_what_the_mesh_says_as_simulated_devices_do(name, mesh):
    """Of 13-64-32-4, divided by columns, rows and not at all: over `model` one sum of a layer's outputs, of each
    chip's rows; over `data` the gradients of the part of every chip, the loss and the hits.

    One test, as its program takes seconds to compile.
    """
    data, model = parts_of(mesh)
    wanted = Counter({("all-reduce", "f32", model): 128 // data * 32} if model > 1 else {})
    parameters = (13 * 64 + 64 + 64 * 32) // model + 32 + 32 * 4 + 4
    wanted["all-reduce", "f32", data] += parameters + 2
    assert sent_by(name, mesh) == wanted

    job = Job.build(replace(CONFIG, mesh=mesh), make_blobs())
    (_, simulated), *_ = programs_of(job.compile()).items()
    assert numbers_sent(find_collectives(simulated.as_text(), data * model)) == wanted

    programs, epoch = compiled(name, mesh)
    assert bytes_of_device(programs.state) == bytes_of_device(job.state_like)
    arguments = epoch.memory_analysis().argument_size_in_bytes
    known = sum(bytes_of_device(each) for each in programs.epoch_arguments)
    # A TPU pads arrays to whole tiles.
    assert arguments >= known if TARGETS[name].chip is V5E else arguments == known


@pytest.mark.parametrize(("name", "mesh"), KERNELS)
def test_hand_written_kernels_compute_the_rows_of_each_chip(name, mesh):
    config = replace(CONFIG, backend="pallas", hidden=(128,), precision="bf16")
    programs, epoch = compiled(name, mesh, config)
    assert re.findall(KERNEL_CALLS, epoch.as_text())
    chips = TARGETS[name].chips
    sums = {("all-reduce", "f32", chips): count(programs.model.mlp) + 2}
    assert sent_by(name, mesh, config) == sums


def test_hand_written_kernels_are_refused_where_layers_are_divided():
    with pytest.raises(ConfigError, match=r"compute whole layers .* use --kernels xla"):
        make_programs(replace(CONFIG, backend="pallas", mesh="data=2,model=2"), None, here("v5e-4"))


def test_the_projection_follows_from_the_figures_of_the_chip():
    """784-1024-512-10 in float32 at batch 512 over eight H200: 67 TFLOP/s, 4.8 TB/s, 18 links of 25 GB/s."""
    config = replace(CONFIG, hidden=(1024, 512), batch_size=512, mesh="data=8")
    here("h200-8")
    made = compile_for(TARGETS["h200-8"], config)
    kernels = (784 * 1024, 1024 * 512, 512 * 10)
    parameters = sum(kernels) + 1024 + 512 + 10
    assert made.links_s == pytest.approx(2 * 7 / 8 * 4 * (parameters + 2) / (18 * 25e9))
    assert made.alone_s == pytest.approx(512 * (6 * sum(kernels) - 2 * kernels[0]) / 67e12)
    assert made.roofline_s == pytest.approx(made.alone_s / 8)
    assert made.least_bytes == pytest.approx(2 * 4 * parameters + 512 / 8 * (784 + 4 + 4), rel=1e-4)
    shortest, longest = made.step_s
    assert (shortest, longest) == (max(made.roofline_s, made.links_s), made.roofline_s + made.links_s)
    least, most = made.efficiency
    assert least == pytest.approx(made.alone_s / 8 / longest)
    assert 0 < least <= most <= 1
    record = to_json(Row("h200-8", made))
    assert sum(record["sent_bytes"]) == pytest.approx(made.links_s * 450e9)
    assert json.loads(json.dumps(record))["compilation"]["mesh"] == "data=8"
    said = projection(made)
    assert "h200-8 as data=8" in said
    assert "links" in said
    assert "at 450 GB/s" in said


def test_neighbours_on_a_tpu_have_a_link_each_and_a_switch_joins_all():
    assert [V5E.sent_bytes_per_s(group) for group in (2, 4)] == [50e9, 100e9]
    assert [H200.sent_bytes_per_s(group) for group in (2, 8)] == [450e9, 450e9]


def test_a_mesh_of_more_chips_than_a_target_has_names_those_that_have_them():
    with pytest.raises(DeviceError, match="data=8 takes 8 chips, and v5e-4 has 4; so many are in h200-8"):
        portability_table(replace(CONFIG, mesh="data=8"), target="v5e-4")
    with pytest.raises(DeviceError, match="takes 16 chips, and h200-8 has 8; 8 are the most of any target"):
        portability_table(replace(CONFIG, mesh="data=16"), target="h200-8")


def test_a_target_that_nobody_knows_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown target 'h200-4': known are v5e, .*; did you mean 'h200"):
        portability_table(CONFIG, target="h200-4")
