"""What devices send to each other, as it is read from programs that simulated devices really run."""

from dataclasses import replace

import jax
import pytest

from neuroforge_jax.backends.executors.base import programs_of
from neuroforge_jax.backends.executors.orders import POSITIONS_AHEAD
from neuroforge_jax.job.job import Job
from neuroforge_jax.nn.mlp import count
from neuroforge_jax.portability.collectives import Collective, find_collectives
from neuroforge_jax.portability.compiled import bytes_of_device
from tests.conftest import make_blobs
from tests.portability.meshes import CONFIG, numbers_sent
from tests.tiers import with_further


@pytest.mark.parametrize(
    ("operation", "sent"),
    [
        ("all-reduce", 2 * 3 / 4 * 400),
        ("all-gather", 3 / 4 * 400),
        ("reduce-scatter", 3 / 4 * 1600),
        ("all-to-all", 3 / 4 * 400),
        ("collective-permute", 400),
    ],
)
def test_each_of_four_devices_sends_what_a_ring_makes_it(operation, sent):
    """Of a result of 100 f32 numbers, which of a reduce-scatter is a quarter of what is summed."""
    assert Collective(operation, (("f32", (10, 10)),), 4).sent_bytes == sent
    assert Collective(operation, (("bf16", (10, 10)),), 4, times=3).sent_bytes == 3 * sent / 2


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1},{2,3}}", 2),
        ("[2,4]<=[4,2]T(1,0)", 4),
        ("mesh['data'=4,'model'=2] {'model'}", 2),
        ("mesh['data'=4,'model'=2] {'data','model'}", 8),
        ("mesh['x'=8] {'x':(2)4}", 4),
        ("{}", 8),
    ],
)
def test_groups_are_read_in_every_form_in_which_xla_writes_them(groups, size):
    line = f"%sum.1 = (f32[8,2]{{1,0:T(8,128)}}, bf16[]) all-reduce(%a, %b), replica_groups={groups}, to_apply=%add"
    hlo = f"ENTRY %main (a: f32[8,2]) -> f32[8,2] {{\n  {line}\n}}\n"
    (found,) = find_collectives(hlo, 8)
    assert found == Collective("all-reduce", (("f32", (8, 2)), ("bf16", ())), size)
    assert found.result_bytes == 66


def test_what_starts_and_ends_apart_is_counted_once():
    hlo = (
        "ENTRY %main (a: f32[2]) -> f32[8] {\n"
        "  %g = ((f32[2]{0}), f32[8]{0}) all-gather-start(%a), replica_groups=[1,4]<=[4], dimensions={0}\n"
        "  ROOT %d = f32[8]{0} all-gather-done(%g)\n"
        "}\n"
    )
    assert find_collectives(hlo, 4) == (Collective("all-gather", (("f32", (8,)),), 4),)


def run_program(mesh, **fields):
    """The job of a mesh over simulated devices, and its compiled program."""
    job = Job.build(replace(CONFIG, mesh=mesh, **fields), make_blobs())
    (_, program), *_ = programs_of(job.compile()).items()
    return job, program


@pytest.mark.parametrize("devices", with_further([1, 8], [2, 4]))
def test_simulated_devices_sum_the_gradients_of_a_step_once(devices):
    """Every parameter, the loss and the hits."""
    job, program = run_program(f"data={devices}")
    found = find_collectives(program.as_text(), devices)
    numbers = count(job.model.mlp) + 2
    assert numbers_sent(found) == ({("all-reduce", "f32", devices): numbers} if devices > 1 else {})
    sent = 2 * (devices - 1) / devices * 4 * numbers
    assert sum(each.sent_bytes for each in found) == pytest.approx(sent)


def test_a_collective_of_each_part_of_a_batch_counts_as_often_as_there_are_parts():
    """The sum of a layer's outputs over `model` is one of each part; that of the gradients over `data` is one."""
    job, program = run_program("data=2,model=2", accumulate=4)
    layer, gradients = find_collectives(program.as_text(), 4, 4)
    assert (layer.times, layer.numbers) == (4, 128 // 4 // 2 * 32)
    assert gradients.times == 1
    assert gradients.numbers == sum(leaf.addressable_shards[0].data.size for leaf in params_of(job)) + 2


def params_of(job):
    return jax.tree.leaves(job.start().params)


@pytest.mark.parametrize("mesh", ["data=1", "data=8", "data=2,model=2", "model=4"])
def test_the_arguments_of_a_device_are_its_part_of_the_state_and_all_data(mesh):
    """Of 203 samples, in a bucket of 208 rows: 13 bytes in four words, and a label; how many they are, their offset
    and scale; orders of as many epochs as have 2¹⁴ positions; two steps.
    """
    job, program = run_program(mesh)
    state = jax.tree.leaves(job.start())
    here = sum(leaf.addressable_shards[0].data.nbytes for leaf in state)
    assert bytes_of_device(job.state_like) == here
    data = 208 * (16 + 4) + 4 + 2 * 4
    orders = POSITIONS_AHEAD * 4
    assert program.memory_analysis().argument_size_in_bytes == here + data + orders + 2 * 4
