"""What is told of a run: hardware that lies idle, and the share of the machine's peak."""

import subprocess

import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.job import summary
from neuroforge_jax.system.accelerators import Accelerator


@pytest.mark.parametrize(
    ("hardware", "installed", "said"),
    [
        (Accelerator("NVIDIA", "550.54.15"), None, 'python -m pip install -e ".[cuda12]"'),
        (Accelerator("NVIDIA", "580.159.04"), None, 'python -m pip install -e ".[cuda13]"'),
        (Accelerator("TPU", None), None, 'python -m pip install -e ".[tpu]"'),
        (Accelerator("NVIDIA", "580.159.04"), "0.12.0", ""),
        (Accelerator("AMD", None), None, ""),
    ],
)
def test_hardware_that_this_jax_cannot_use_is_named_with_what_installs_it(
    hardware, installed, said, monkeypatch
):
    monkeypatch.setattr(summary, "accelerators", lambda: (hardware,))
    monkeypatch.setattr(summary, "installed_version", lambda package: installed)
    note = summary.unused_accelerator(BACKENDS["optimized"])
    assert note.endswith(said)
    assert bool(note) == bool(said)


def test_what_is_neither_shown_nor_saved_asks_no_git_and_measures_no_peak(small_config, blobs, monkeypatch):
    def fail(*args, **named):
        raise AssertionError(f"called with {args}")

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.setattr(subprocess, "Popen", fail)
    monkeypatch.setattr(summary, "peak_of_this_process", fail)
    result = nf.fit(small_config, blobs)
    assert result.figures["share_of_peak"] is result.figures["matmul_peak_flops_per_second"] is None
    assert result.figures["flops_per_second"] > 0


@pytest.mark.parametrize("shown_by", ["console", "folder"])
def test_the_peak_is_measured_for_who_shows_it(shown_by, small_config, blobs, tmp_path, capsys):
    options = nf.RunOptions(run_dir=tmp_path / "run" if shown_by == "folder" else None)
    callbacks = [nf.Console()] if shown_by == "console" else []
    assert nf.fit(small_config, blobs, options, callbacks=callbacks).figures["share_of_peak"] > 0
