"""Runs a command of the GPU run where there is no GPU: `python benchmarks/rehearsal.py -m neuroforge_jax.bench …`.

The CPU stands for the GPU, the Hopper kernels are interpreted, networks and data are small, and PyTorch stays on
the CPU: all else is the code that runs on the day. Takes `-m MODULE`, `-c CODE` or a script, as Python does.
"""

import runpy
import sys
from dataclasses import replace
from functools import partial

from neuroforge_jax.kernels import kernel_sets

HIDDEN = (16, 8)
"""The hidden widths in the place of 1024 and 512."""

SAMPLES = 1024
"""In the place of those of a suite, and of MNIST's."""


def stand_in() -> None:
    """Put the CPU in the place of the GPU. First the kernels, which later imports take by name."""
    hopper = replace(kernel_sets.KERNEL_SETS["hopper"], interpret=True)
    kernel_sets.KERNEL_SETS["hopper"] = hopper
    kernel_sets.kernels_for = lambda device: hopper

    from neuroforge_jax.backends.table import BACKENDS
    from neuroforge_jax.benchmarking import cases, claims, running, speedrun, speedrun_command, suites
    from neuroforge_jax.benchmarking.peers.process import PEERS

    for name, backend in BACKENDS.items():
        if backend.platform == "cuda":
            BACKENDS[name] = replace(backend, platform="cpu")
    for name, peer in PEERS.items():
        PEERS[name] = replace(peer, mode=peer.mode.replace("cuda", "cpu"))
    few = partial(cases.random_pixels, SAMPLES)
    suites.random_pixels = lambda *sizes: few()
    speedrun.load_dataset = speedrun_command.load_dataset = lambda name, data_dir: replace(few(), name=name)
    running.our_peak_resident_bytes = lambda config, dataset: None  # asked of a CPU alone, in another process
    suites.ON_CUDA = tuple(name for name in suites.ON_CUDA if "bf16" not in name)
    speedrun.TORCH_MODES = speedrun.TORCH_MODES[:1]  # to compile takes it a minute
    suites.FLAGSHIP = claims.FLAGSHIP = HIDDEN


def run(arguments: list[str]) -> None:
    """As Python runs them."""
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv = ["-c", *rest]
            exec(code, {"__name__": "__main__"})
        case [script, *rest]:
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")
        case _:
            raise SystemExit("a rehearsal needs a command: -m MODULE, -c CODE, or a script")


if __name__ == "__main__":
    stand_in()
    run(sys.argv[1:])
