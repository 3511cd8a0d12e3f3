"""The machine's peak, and the share of it that a training reaches."""

import pytest

import neuroforge_jax as nf
from neuroforge_jax import run
from neuroforge_jax.backends.peak import share_of_peak


def test_a_share_of_a_peak_is_never_more_than_all_of_it():
    assert share_of_peak(0.5e12, 1e12) == pytest.approx(0.5)
    assert share_of_peak(3e12, 1e12) == 1


def test_a_training_that_is_faster_than_the_peak_that_was_measured_is_the_peak(
    small_config, blobs, tmp_path, monkeypatch
):
    monkeypatch.setattr(run, "measure_peak", lambda job: 1.0)
    figures = nf.fit(small_config, blobs, nf.RunOptions(run_dir=tmp_path / "run")).figures
    assert figures["share_of_peak"] == 1
    assert figures["matmul_peak_flops_per_second"] == figures["flops_per_second"] > 1
