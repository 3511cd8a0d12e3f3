"""What differs between the versions of jax in Pallas for NVIDIA GPUs; the kernels know one version, this one."""

from typing import Any

import jax
from jax.experimental.pallas import mosaic_gpu as plgpu

from neuroforge_jax.errors import DeviceError
from neuroforge_jax.typing import Array


def load(ref: Any, layout: Any, *, optimized: bool = True) -> Array:
    """What lies at a reference, in registers with this layout; some versions ask for an index."""
    index = () if jax.__version_info__ >= (0, 11) else ((),)
    return plgpu.load(ref, *index, layout=layout, optimized=optimized)


def interpreter(interpret: Any) -> dict[str, Any]:
    """The argument of a kernel that is interpreted. Raises DeviceError where this jax has no such interpreter."""
    if not interpret:
        return {}
    if not hasattr(plgpu, "InterpretGPUParams"):
        raise DeviceError(f"jax {jax.__version__} cannot interpret kernels of NVIDIA GPUs; jax 0.11 can")
    return {"interpret": plgpu.InterpretGPUParams() if interpret is True else interpret}
