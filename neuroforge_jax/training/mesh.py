"""The mesh that a user names: `data=4`, `data=2,model=2`, `population=8`, or `auto`."""

import math
from collections.abc import Mapping, Sequence

import jax
from jax.sharding import AxisType, Mesh

from neuroforge_jax.errors import ConfigError, DeviceError, unknown
from neuroforge_jax.training.placement import MESH_AXES


def parse_mesh(text: str) -> Mapping[str, int] | None:
    """Axis → devices along it, of `data=2,model=2`; None of `auto`. Raises ConfigError."""
    if text == "auto":
        return None
    sizes: dict[str, int] = {}
    for item in text.split(","):
        name, _, number = (word.strip() for word in item.partition("="))
        if name not in MESH_AXES:
            raise ConfigError(
                f"--mesh {text}: {unknown('axis', name, MESH_AXES)}; say --mesh data=4, or auto"
            )
        if name in sizes or not number.isdecimal() or int(number) < 1:
            raise ConfigError(
                f"--mesh {text}: each axis is named once, with the number of devices along it, as in data=2,model=2"
            )
        sizes[name] = int(number)
    return sizes


def make_mesh(text: str, devices: Sequence[jax.Device]) -> Mesh:
    """The mesh of these devices, the first ones where it has fewer; `auto` divides the batch over all of them.

    Raises ConfigError for a text that is no mesh, DeviceError for one of more devices than there are.
    """
    asked = parse_mesh(text)
    sizes = {"data": len(devices)} if asked is None else asked
    needed = math.prod(sizes.values())
    if needed > len(devices):
        platform = devices[0].platform
        trial = f", or try it out with JAX_NUM_CPU_DEVICES={needed}" if platform == "cpu" else ""
        raise DeviceError(
            f"--mesh {text} takes {needed} devices, and jax finds {len(devices)} ({platform}) here; take a mesh of "
            f"{len(devices)} or fewer{trial}"
        )
    without = {device.process_index for device in devices} - {d.process_index for d in devices[:needed]}
    if without:
        raise DeviceError(
            f"--mesh {text} takes {needed} of {len(devices)} devices, and process {min(without)} would have none "
            "of them; take them all, as --mesh auto does, or start fewer processes"
        )
    names = tuple(name for name in MESH_AXES if name in sizes)
    return jax.make_mesh(
        tuple(sizes[name] for name in names),
        names,
        axis_types=(AxisType.Auto,) * len(names),
        devices=devices[:needed],
    )
