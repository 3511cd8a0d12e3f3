"""The accelerators that programs are compiled for on machines that have none.

The compilers are real, and come as packages: `libtpu` for TPUs, the CUDA plugin for NVIDIA GPUs. A topology is a
description of devices; jax makes devices of it that programs can be compiled for, and not run on.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from neuroforge_jax.errors import DeviceError
from neuroforge_jax.system.provenance import installed_version
from neuroforge_jax.training.mesh import make_mesh, parse_mesh

PACKAGES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "tpu": (("libtpu",),),
    "cuda": (
        ("jax-cuda12-plugin", "jax-cuda12-pjrt", "nvidia-cuda-nvcc-cu12"),
        ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc"),
    ),
}
"""Platform → sets of packages, any one of which is its compiler."""

LIBTPU_VARIABLES = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""What libtpu reads as it is loaded. They keep it from asking the cloud what machine this is, from complaining that
nobody answers, and from refusing to be loaded by two processes, which matters for those that drive a TPU."""


@dataclass(frozen=True, eq=False)
class Chip:
    """An accelerator by its maker's figures.

    kernels: its set of hand-written kernels, a name of `kernels.kernel_sets.TARGETS`. flops_per_s: dense, by the
    precision of the products: bf16, tf32 or f32. bytes_per_s: of its memory. link_bytes_per_s: of a link to other
    chips, in one direction. links: over which it sends at once, to any other chip where a switch joins them, else
    one to each neighbour in a ring. xla: as XLA describes it, where the compiler does not know it by its name.
    """

    name: str
    platform: str
    kernels: str
    flops_per_s: Mapping[str, float]
    bytes_per_s: float
    memory_bytes: int
    link_bytes_per_s: float
    links: int
    switched: bool = False
    xla: str = ""

    def sent_bytes_per_s(self, group: int) -> float:
        """By each chip of so many that send to each other, in one direction."""
        return self.link_bytes_per_s * (self.links if self.switched else min(self.links, group - 1))


def _gpu(name: str, capability: int, cores: int, bandwidth: int, memory: int, **limits: float) -> str:
    """XLA's text for an NVIDIA GPU, a `GpuTargetConfigProto`."""
    figures = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 49152,
        "threads_per_core_limit": 2048,
        "core_count": cores,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "memory_bandwidth": bandwidth,
        "device_memory_size": memory,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
        **limits,
    }
    lines = "\n".join(f"{key}: {value}" for key, value in figures.items())
    return (
        f"gpu_device_info {{ {lines}\ncuda_compute_capability {{ major: {capability} minor: 0 }} }}\n"
        f'platform_name: "CUDA"\ndnn_version_info {{ major: 9 minor: 10 }}\ndevice_description_str: "{name}"'
    )


def _tpu_rates(bf16: float) -> Mapping[str, float]:
    """A TPU multiplies bf16 alone: float32 products are six of them, and what is called tf32 is three."""
    return {"bf16": bf16, "tf32": bf16 / 3, "f32": bf16 / 6}


V5E = Chip("TPU v5e", "tpu", "tpu", _tpu_rates(197e12), 819e9, 16 * 10**9, 50e9, 2)
"""docs.cloud.google.com/tpu/docs/v5e: 197 TFLOP/s of bf16, 16 GB at 819 GB/s; 400 GB/s between chips in both
directions over four ports, two of which a chip of 2×2 uses, one to each neighbour."""

V6E = Chip("TPU v6e", "tpu", "tpu", _tpu_rates(918e12), 1640e9, 32 * 10**9, 100e9, 2)
"""docs.cloud.google.com/tpu/docs/v6e: 918 TFLOP/s of bf16, 32 GB at 1,640 GB/s; 800 GB/s between chips."""

H200 = Chip(
    "NVIDIA H200",
    "cuda",
    "hopper",
    {"bf16": 989e12, "tf32": 494e12, "f32": 67e12},
    4.8e12,
    141 * 10**9,
    25e9,
    18,
    True,
    _gpu(
        "NVIDIA H200", 9, 132, 4_800_000_000_000, 151_397_597_184,
        shared_memory_per_core=233_472, shared_memory_per_block_optin=232_448, fpus_per_core=128,
        l2_cache_size=52_428_800, clock_rate_ghz=1.98,
    ),
)  # fmt: skip
"""nvidia.com/en-us/data-center/h200, the SXM card; its figures for tensor cores are with sparsity, twice these.
NVLink 4 is 900 GB/s in both directions, 18 links."""

A100 = Chip(
    "NVIDIA A100",
    "cuda",
    "triton",
    {"bf16": 312e12, "tf32": 156e12, "f32": 19.5e12},
    2.039e12,
    80 * 10**9,
    25e9,
    12,
    True,
    _gpu(
        "NVIDIA A100-SXM4-80GB", 8, 108, 2_039_040_000_000, 85_100_068_864,
        shared_memory_per_core=167_936, shared_memory_per_block_optin=166_912, fpus_per_core=64,
        l2_cache_size=41_943_040, clock_rate_ghz=1.41,
    ),
)  # fmt: skip
"""nvidia.com/en-us/data-center/a100, the SXM card of 80 GB; NVLink 3 is 600 GB/s, 12 links."""


@dataclass(frozen=True)
class Target:
    """Chips of a kind that one program runs on. topology: as the compiler names it."""

    name: str
    chip: Chip
    topology: str
    chips: int = 1

    def missing(self) -> str | None:
        """The first package that is missing for the compiler, or None where it is here."""
        absent = [
            [name for name in packages if not installed_version(name)]
            for packages in PACKAGES[self.chip.platform]
        ]
        nearest = min(absent, key=len)
        return nearest[0] if nearest else None

    def mesh(self, text: str = "auto") -> Mesh:
        """Its chips as `--mesh` would have them, side by side along the axis "data" unless it says otherwise.

        Raises ConfigError for a text that is no mesh, DeviceError for one of more chips than it has and where the
        compiler is not to be had.
        """
        needed = math.prod((parse_mesh(text) or {}).values())
        if needed > self.chips:
            larger = ", ".join(name for name, other in TARGETS.items() if other.chips >= needed)
            remedy = f"so many are in {larger}" if larger else f"{MOST_CHIPS} are the most of any target"
            raise DeviceError(
                f"--mesh {text} takes {needed} chips, and {self.name} has {self.chips}; {remedy}"
            )
        if package := self.missing():
            raise DeviceError(f"compiling for {self.name} needs the package {package}; pip install {package}")
        try:
            return make_mesh(text, _devices(self))
        except NotImplementedError:  # jax refuses a plugin without the libraries that running takes
            raise DeviceError(
                f"jax has not loaded the compiler for {self.name}; set JAX_PLATFORMS=cpu before it starts"
            ) from None


TARGETS = {
    target.name: target
    for target in (
        Target("v5e", V5E, "v5e:1x1"),
        Target("v5e-4", V5E, "v5e:2x2", 4),
        Target("v6e", V6E, "v6e:1x1"),
        Target("v6e-4", V6E, "v6e:2x2", 4),
        Target("h200", H200, "1x1x1"),
        Target("h200-8", H200, "1x1x8", 8),
        Target("a100", A100, "1x1x1"),
    )
}

MOST_CHIPS = max(target.chips for target in TARGETS.values())


@cache
def _devices(target: Target) -> list[jax.Device]:
    chip = target.chip
    if chip.platform == "tpu":
        # All of them on one host: libtpu before jax 0.11 takes four a host for granted.
        on_host = [*map(int, target.topology.partition(":")[2].split("x")), 1]
        with _libtpu_variables():
            described = topologies.get_topology_desc(target.topology, "tpu", chips_per_host_bounds=on_host)
    else:
        described = topologies.get_topology_desc(
            chip.name, "cuda", target_config=chip.xla, topology=target.topology
        )
    return list(described.devices)


@contextmanager
def _libtpu_variables() -> Iterator[None]:
    """Set where nobody else has, and taken back: a process that this one starts must not see them."""
    ours = {name: value for name, value in LIBTPU_VARIABLES.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
