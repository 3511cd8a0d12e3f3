"""What is said of each rung of the ladder is read from its own code and from its own compiled program."""

import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors import scanned
from neuroforge_jax.benchmarking.cases import Case, random_pixels
from neuroforge_jax.benchmarking.explain import LESSONS, explain_case, program_of_step, source_of, where_of
from neuroforge_jax.precision.policy import Policy

DATA = random_pixels(512, 64)


def told(backend):
    config = nf.TrainConfig(hidden=(48, 24), batch_size=32, backend=backend)
    return explain_case(Case(f"backends/b32/{backend}", config, DATA))


@pytest.mark.parametrize("backend", ["stepped", "async", "optimized"])
def test_the_program_of_a_step_is_found_in_what_xla_compiled(backend):
    """Two layers forward and three gradients of theirs and of the output: products, and fusions between them."""
    rung = told(backend)
    sources = [instruction["source"] for instruction in rung["program"]]
    assert sum("dot_general" in source or "transpose" in source for source in sources) >= 5
    assert not {"parameter", "constant", "tuple"} & rung["kinds"].keys()
    assert sum(rung["kinds"].values()) == rung["launches"] == len(rung["program"])
    assert rung["flops"] > 32 * 6 * (64 * 48 + 48 * 24 + 24 * 10) * 0.7


def test_a_compiled_step_launches_less_and_moves_less_than_its_operations_alone():
    naive, optimized = told("naive"), told("optimized")
    assert naive["program"] == []
    assert naive["launches"] == naive["operations"] > optimized["launches"]
    assert naive["bytes"] == naive["unfused_bytes"] > optimized["bytes"]


def test_the_lesson_of_bf16_is_its_rounding():
    rung = told("mixed")
    assert "def to_compute" in rung["code"][0]["lines"]
    assert "16 bits" in rung["does"]


def test_code_is_shown_without_its_docstring_and_with_its_place():
    lines = source_of(scanned.segment_program)
    assert lines.startswith("def segment_program(")
    assert '"""' not in lines
    assert where_of(scanned.segment_program).startswith("neuroforge_jax/backends/executors/scanned.py, line ")
    assert (
        source_of(Policy.to_compute)
        == "def to_compute(self, x: Array) -> Array:\n    return x.astype(self.compute)\n"
    )


def test_every_rung_but_the_last_says_what_the_next_one_changes():
    assert [name for name, lesson in LESSONS.items() if not lesson.next] == ["pallas"]


def test_the_loop_with_the_products_is_the_step_and_what_lies_within_a_fusion_is_not_counted():
    hlo = """HloModule jit_program

%fused_computation (p: f32[8]) -> f32[8] {
  %a.1 = f32[8]{0} dot(%p, %p), metadata={op_name="jit(f)/dot_general"}
  ROOT %b.1 = f32[8]{0} dot(%a.1, %p), metadata={op_name="jit(f)/dot_general"}
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %dot.1 = f32[8]{0} dot(%p, %p), metadata={op_name="jit(f)/while/body/layer/dot_general"}
  %call.1 = (f32[8]{0}, f32[8]{0}, f32[8]{0}, f32[8]{0}, f32[8]{0}, /*index=5*/s32[]) call(%dot.1), to_apply=%f
  %fusion.1 = f32[8]{0} fusion(%dot.1), kind=kLoop, calls=%fused_computation, metadata={op_name="jit(f)/add"}
  ROOT %t = (s32[], f32[8]{0}) tuple(%fusion.1)
}

ENTRY %main (p: f32[8]) -> f32[8] {
  ROOT %while.1 = (s32[], f32[8]{0}) while(%p), condition=%c, body=%body
}
"""
    found = [(one.kind, one.shape, one.source) for one in program_of_step(hlo)]
    assert found == [
        ("dot", "f32[8]", "layer/dot_general"),
        (
            "call",
            "(f32[8], f32[8], f32[8], f32[8], f32[8], s32[])",
            "",
        ),  # once missed, for the = in its comment
        ("fusion", "f32[8]", "add"),
    ]
