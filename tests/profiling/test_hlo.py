"""Which part of a step an instruction belongs to, by the text of a compiled program."""

import jax
import pytest

import neuroforge_jax as nf
from neuroforge_jax.job.job import Job
from neuroforge_jax.profiling.hlo import PARTS, Attribution, attribute, module_name, part_of

LOOP = "jit(program)/while/body/closed_call"
PROGRAM = """HloModule jit_program, is_scheduled=true

%gradient_and_update (p: f32[8,10], q: f32[10]) -> f32[10] {
  %p = f32[8,10]{1,0} parameter(0), metadata={op_name="state.params"}
  %q = f32[10]{0} parameter(1)
  %zero = f32[] constant(0)
  %sum.1 = f32[10]{0} reduce(%p, %zero), to_apply=%add, metadata={op_name="LOOP/transpose(jvp())/reduce_sum"}
  %mul.1 = f32[10]{0} multiply(%sum.1, %q), metadata={op_name="LOOP/optimizer/mul"}
  ROOT %add.1 = f32[10]{0} add(%q, %mul.1), metadata={op_name="LOOP/optimizer/add"}
}

%product_and_data (p: f32[8,10], q: f32[10,4]) -> f32[8,4] {
  %gather.1 = f32[800]{0} gather(%p), metadata={op_name="LOOP/data/gather"}
  ROOT %dot.9 = f32[8,4]{1,0} dot(%p, %q), metadata={op_name="LOOP/jvp(forward)/dot_general"}
}

%both_passes (p: f32[8,10]) -> f32[8,10] {
  %max.1 = f32[8,10]{1,0} maximum(%p, %p), metadata={op_name="LOOP/jvp()/max"}
  %max.2 = f32[8,10]{1,0} maximum(%max.1, %p), metadata={op_name="LOOP/jvp()/max"}
  ROOT %select.1 = f32[8,10]{1,0} select(%max.2, %p), metadata={op_name="LOOP/transpose(jvp())/select_n"}
}

%command_buffer.3 (p: f32[8,4]) -> f32[8,4] {
  ROOT %fusion.7 = f32[8,4]{1,0} fusion(%p), calls=%both_passes
}

ENTRY %main (a: f32[8,10], b: f32[10,4]) -> (f32[8,4], f32[10]) {
  %fusion.1 = f32[10]{0} fusion(%a, %b), calls=%gradient_and_update, metadata={op_name="LOOP/optimizer/add"}
  %ynn_fusion = f32[8,4]{1,0} fusion(%a, %b), kind=kCustom, calls=%product_and_data
  %fusion.2 = f32[8,10]{1,0} fusion(%a), calls=%both_passes
  %custom-call.4.clone = (bf16[8,4]{1,0}, u8[64]{0}) custom-call(%a), metadata={op_name="LOOP/transpose(jvp())/dot"}
  %copy.3 = f32[8,4]{1,0} copy(%ynn_fusion)
  %copy.4 = f32[8,10]{1,0} copy(%a)
  %call.8 = f32[8,4]{1,0} call(%copy.3), to_apply=%command_buffer.3
  ROOT %tuple.1 = (f32[8,4]{1,0}, /*index=1*/f32[10]{0}) tuple(%call.8, %fusion.1)
}
""".replace("LOOP", LOOP)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("op_name", "part"),
    [
        (f"{LOOP}/jvp()/dot_general", "forward"),
        (f"{LOOP}/transpose(jvp(layer))/branch_0_fun/dot_general", "backward"),
        ("jit(program)/vmap()/while/body/transpose(vmap(jvp()))/mul", "backward"),
        (f"{LOOP}/data/jit(_take)/gather", "data"),
        ("jit(program)/vmap(while)/body/vmap(vmap(data))/gather", "data"),
        (f"{LOOP}/backward/while/body/jvp()/add", "forward"),
        (f"{LOOP}/backward/add", "backward"),
        (f"{LOOP}/optimizer/transpose", "optimizer"),
        (f"{LOOP}/scatter", ""),
        ("", ""),
    ],
)
def test_the_name_of_an_operation_tells_its_part(op_name, part):
    assert part_of(op_name) == part


def test_an_instruction_belongs_to_the_part_of_most_of_its_arithmetic():
    """The reduction reads 80 numbers, and the two operations of the optimizer compute 10 each."""
    assert attribute(PROGRAM)["fusion.1"] == Attribution("backward", False, "transpose(jvp())/reduce_sum")


def test_a_fusion_with_a_product_belongs_to_it_however_small_it_is():
    assert attribute(PROGRAM)["ynn_fusion"].part == "forward"


def test_a_fusion_of_both_passes_is_mixed_and_runs_in_the_backward_pass():
    assert attribute(PROGRAM)["fusion.2"] == Attribution("backward", True, "transpose(jvp())/select_n")


def test_a_library_call_says_itself_what_it_is_and_a_copy_goes_with_its_operand():
    told = attribute(PROGRAM)
    assert told["custom-call.4.clone"] == Attribution("backward", False, "transpose(jvp())/dot")
    assert told["copy.3"] == Attribution("forward", False, ""), "its operand is the product"
    assert told["copy.4"] == Attribution("other", False, ""), "its operand is the program's"


def test_what_a_gpu_replays_as_a_graph_cannot_be_told():
    told = attribute(PROGRAM)
    assert told["call.8"].part == ""
    assert told["fusion.7"].mixed, "where the graph is traced after all, its operations are known"
    assert "max.1" not in told, "what lies within a fusion is never seen"


def test_the_module_is_that_of_the_events():
    assert module_name(PROGRAM) == "jit_program"
    assert module_name("") == ""


def test_every_part_is_in_a_program_that_has_everything(blobs):
    """The scopes of the step are where the attribution looks for them."""
    changes = {"accumulate": 2, "dropout": 0.1, "optimizer": "adamw", "clip_norm": 1.0}
    config = nf.TrainConfig(hidden=(24,), batch_size=32, backend="stepped", **changes)
    program = next(iter(Job.build(config, blobs).compile().programs.values()))
    told = attribute(program.as_text())
    assert {one.part for one in told.values()} == set(PARTS)
    assert {one.part for one in told.values() if "dot_general" in one.source} == {"forward", "backward"}


def test_a_scope_changes_no_instruction():
    """A name is metadata: what is computed, and in which order, stays."""

    def f(x):
        return (x * 2).sum()

    plain, named = (jax.jit(g).lower(1.0).compile().as_text() for g in (f, jax.named_scope("data")(f)))
    assert "/data/" in named
    assert named.replace("/data/", "/") == plain
