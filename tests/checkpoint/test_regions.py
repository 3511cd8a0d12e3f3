"""Arrays over devices: saved and checked by the regions in which they lie."""

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.regions import Leaf, from_text, own_regions, to_text, whole

LAYOUTS = {
    "one device": ((1, 1), (None, None)),
    "on each of eight": ((8, 1), (None, None)),
    "by columns": ((2, 4), (None, "b")),
    "by rows": ((4, 2), ("a", None)),
    "by both": ((2, 4), ("a", "b")),
    "by rows over all": ((2, 4), (("a", "b"), None)),
}
NUMBERS = np.arange(8 * 16, dtype=np.float32).reshape(8, 16)


def laid_out(array, layout):
    shape, axes = LAYOUTS[layout]
    mesh = Mesh(np.asarray(jax.devices()[: shape[0] * shape[1]]).reshape(shape), ("a", "b"))
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes[: array.ndim])))


@pytest.mark.parametrize("then", LAYOUTS)
@pytest.mark.parametrize("first", LAYOUTS)
def test_an_array_is_known_again_however_it_lies(first, then):
    leaf = Leaf.of(laid_out(NUMBERS, first))
    assert leaf.describes(laid_out(NUMBERS, then))
    assert leaf.describes(NUMBERS)
    changed = NUMBERS.copy()
    changed[5, 11] = -0.0
    assert not leaf.describes(laid_out(changed, then))
    assert not leaf.describes(NUMBERS.T)
    assert not leaf.describes(NUMBERS.astype(np.int32))


@pytest.mark.parametrize(("layout", "regions"), [("by columns", 4), ("by both", 8), ("on each of eight", 1)])
def test_every_number_is_saved_once(layout, regions):
    array = laid_out(NUMBERS, layout)
    assert len(own_regions(array)) == regions
    again = np.full_like(NUMBERS, np.nan)
    for region, part in own_regions(array).items():
        again[tuple(slice(*bounds) for bounds in region)] = part
    np.testing.assert_array_equal(again, NUMBERS)


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=4))
def test_a_region_is_read_as_it_was_written(bounds):
    assert from_text(to_text(tuple(bounds))) == tuple(bounds)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.int32, np.uint32, np.bool_])
def test_numbers_of_every_kind_and_none_at_all_have_a_digest(dtype):
    for array in (np.ones((), dtype), np.zeros((0, 3), dtype), np.ones((2, 3), dtype)):
        leaf = Leaf.of(array)
        assert list(leaf.digests) == [whole(array.shape)]
        assert leaf.describes(jax.device_put(array))


def test_a_step_over_devices_is_read_onto_others_and_to_the_host(tmp_path):
    """Divided arrays are saved in their regions, and none has to be whole to be read."""
    arrays = {"state/kernel": laid_out(NUMBERS, "by columns"), "state/step": np.asarray(7, np.int32)}
    files.write(tmp_path, 7, arrays, {})
    saved = files.read(tmp_path / "7")
    assert [to_text(region) for region in saved.leaves["state/kernel"].digests] == [
        f"0:8,{first}:{first + 4}" for first in (0, 4, 8, 12)
    ]
    like = laid_out(NUMBERS, "by rows")
    place = jax.ShapeDtypeStruct(like.shape, like.dtype, sharding=like.sharding)
    read = saved.arrays({"state/kernel": place})
    assert read["state/kernel"].sharding == like.sharding
    np.testing.assert_array_equal(read["state/kernel"], NUMBERS)
    assert isinstance(read["state/step"], np.ndarray)
    assert read["state/step"] == 7
    np.testing.assert_array_equal(saved.arrays()["state/kernel"], NUMBERS)
