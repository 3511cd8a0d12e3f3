"""A run that goes on over other devices than those that it began on."""

import dataclasses

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.restore import restore
from neuroforge_jax.checkpoint.writer import named_leaves
from neuroforge_jax.job.job import Job
from tests.checkpoint.interruption import (
    CONFIG,
    PulledPlugError,
    PullsThePlug,
    assert_same,
    interrupted,
    resumed,
)


def over(mesh, config=CONFIG):
    return dataclasses.replace(config, mesh=mesh)


@pytest.mark.distributed
@pytest.mark.full_effort
def test_a_run_on_eight_devices_then_two_then_one_is_the_uninterrupted_one_bit_for_bit(tmp_path, blobs):
    """With shards of one order: killed within an epoch, twice, and gone on with fewer devices each time."""
    config, folder = dataclasses.replace(CONFIG, deterministic_shards=8), tmp_path / "run"
    whole = nf.fit(config, blobs)
    assert interrupted(over("data=8", config), blobs, folder, 10) < 10
    options = nf.RunOptions(resume=str(folder), checkpoint_every="step")
    with pytest.raises(PulledPlugError):
        nf.fit(over("data=2", config), blobs, options, callbacks=[PullsThePlug(17)])
    assert_same(whole, resumed(config, blobs, folder))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("data=4", "data=2,model=4"),
        *(
            pytest.param(first, then, marks=pytest.mark.distributed)
            for first, then in ((None, "data=8"), ("model=2", None), ("data=2,model=4", "data=8"))
        ),
    ],
)
def test_what_was_saved_over_one_mesh_is_restored_over_another(first, then, tmp_path, blobs):
    """The same numbers, in the places where the new mesh has them."""
    folder = tmp_path / "run"
    step = interrupted(over(first), blobs, folder, 3)
    saved = files.read(folder / "checkpoints" / str(step)).arrays()
    job = Job.build(over(then), blobs)
    state, progress, _ = restore(
        files.read(folder / "checkpoints" / str(step)),
        dataclasses.replace(job.config, loss=job.model.spec.loss),
        blobs.identity(),
        job.start(),
        job.placement,
    )
    assert progress.step == step
    for name, leaf in named_leaves(state).items():
        np.testing.assert_array_equal(np.asarray(leaf), saved[f"state/{name}"])
    for leaf, like in zip(jax.tree.leaves(state), jax.tree.leaves(job.state_like), strict=True):
        assert then is None or leaf.sharding == like.sharding


@pytest.mark.distributed
def test_without_shards_it_goes_on_to_the_same_losses_but_for_rounding(tmp_path, blobs):
    whole = nf.fit(CONFIG, blobs)
    interrupted(over("data=2,model=2"), blobs, tmp_path / "run", 10)
    again = resumed(over("data=4"), blobs, tmp_path / "run")
    for one, other in zip(again.history, whole.history, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-5)
    assert again.figures["mesh"] == "data=4"
