"""Where the memory is, as programs, arrays and devices tell it."""

import jax
import jax.numpy as jnp
import pytest

import neuroforge_jax as nf
from neuroforge_jax.profiling.memory import format_profile, live_arrays, memory_profile
from tests.conftest import make_blobs

DATA = make_blobs(samples=300, inputs=40)
WEIGHTS = (40 * 24 + 24 + 24 * 4 + 4) * 4


def profile_of(backend, **more):
    config = nf.TrainConfig(hidden=(24,), batch_size=16, backend=backend, **more)
    model, state = nf.init(config, DATA)
    run = nf.prepare(config, model, DATA)
    state, _ = run(state, 0, 3)
    return memory_profile(run, jax.devices()[0]), state


@pytest.mark.parametrize(
    ("backend", "programs"),
    [
        ("optimized", {"segment", "order"}),
        ("stepped", {"step", "order"}),
        ("async", {"chunk", "keys of epochs"}),
        pytest.param("naive", set(), marks=pytest.mark.slow),
    ],
)
def test_every_program_of_an_execution_is_told(backend, programs):
    assert set(profile_of(backend)[0]["programs"]) == programs


def test_a_program_holds_the_weights_and_takes_them_over_from_its_arguments():
    """What is donated is aliased: the output of the state costs nothing."""
    sizes = profile_of("optimized")[0]["programs"]["segment"]
    assert sizes["argument"] > WEIGHTS + DATA.train.inputs.nbytes // 4
    assert WEIGHTS <= sizes["aliased"] <= sizes["argument"]
    held = sizes["argument"] + sizes["output"] - sizes["aliased"] + sizes["temporary"]
    assert sizes["temporary"] > 0
    assert sizes["peak"] >= held


def test_more_of_a_batch_is_more_temporary_memory():
    small, large = (
        profile_of("optimized", accumulate=parts)[0]["programs"]["segment"]["temporary"] for parts in (4, 1)
    )
    assert small < large


def test_the_arrays_alive_are_counted_by_shape_and_those_given_away_are_not():
    shape = (7, 11, 13)
    kept = [jnp.zeros(shape, jnp.bfloat16), jnp.ones(shape, jnp.bfloat16)]
    given_away = jnp.zeros(shape, jnp.bfloat16)
    given_away.delete()
    rows = [row for row in live_arrays() if row["shape"] == list(shape)]
    assert rows == [
        {"dtype": "bfloat16", "shape": list(shape), "count": len(kept), "bytes": 2 * 2 * 7 * 11 * 13}
    ]


@pytest.mark.parametrize(("optimizer", "width", "copies"), [("sgd", 29, 1), ("adam", 37, 3)])
def test_weights_and_moments_are_alive_once_each_for_the_old_state_was_given_away(optimizer, width, copies):
    config = nf.TrainConfig(hidden=(width,), batch_size=16, optimizer=optimizer, backend="optimized")
    model, state = nf.init(config, DATA)
    state, _ = nf.prepare(config, model, DATA)(state, 0, 3)
    assert [row["count"] for row in live_arrays() if row["shape"] == [40, width]] == [copies]
    assert state.params


def test_what_people_read_fits_eighty_columns_and_names_the_parts():
    profile, _ = profile_of("optimized")
    text = format_profile(profile)
    assert max(map(len, text.splitlines())) <= 80
    for word in ("temporary", "segment", "arrays alive", "resident", "keeps no count for jax"):
        assert word in text


def test_of_a_gpu_the_pool_and_what_sets_it_are_told():
    profile, _ = profile_of("optimized")
    stats = {
        "bytes_in_use": 2_000_000,
        "num_allocs": 1234,
        "pool_bytes": 3_000_000,
        "bytes_limit": 60_000_000_000,
    }
    text = format_profile({**profile, "platform": "gpu", "device": stats})
    for line in ("2.0 MB  in use now", "3.0 MB  taken of the device", "60.0 GB  that it may take"):
        assert line in text
    assert "1,234  times that it was asked for memory" in text
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION=0.75 (the share" in text


def test_a_run_that_compiles_nothing_as_a_whole_is_told_without_programs():
    profile, _ = profile_of("naive")
    assert "dispatches every operation on its own" in format_profile(profile)
