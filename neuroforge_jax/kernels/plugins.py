"""Kernels of other packages by their names."""

from dataclasses import replace

from neuroforge_jax.errors import ConfigError, unknown
from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.kernels.kernel_sets import KERNEL_SETS
from neuroforge_jax.system.plugins import Plugin, discover

BUILT_IN = ("auto", "reference", "xla", "pallas", *KERNEL_SETS)
"""Names that no package can take."""


def discover_kernels() -> list[Plugin]:
    """The kernels that installed packages declare; none is imported."""
    return discover("kernel", BUILT_IN)


def find_kernel(name: str, known: tuple[str, ...]) -> DenseKernel:
    """The kernel of this name of an installed package, which is imported only if it is the one.

    known: what else could have been meant. Raises ConfigError for an unknown name, DeviceError for a plugin that
    cannot be used.
    """
    plugins = {plugin.name: plugin for plugin in discover_kernels() if plugin.name not in BUILT_IN}
    if name not in plugins:
        raise ConfigError(unknown("kernels", name, (*known, *plugins)))
    return load_kernel(plugins[name])


def load_kernel(plugin: Plugin) -> DenseKernel:
    """The kernel that a plugin makes. Raises DeviceError for one that cannot be used."""
    made = plugin.load()
    if not isinstance(made, DenseKernel):
        raise plugin.error(f"{plugin.entry.value} makes a {type(made).__name__}; it must make a DenseKernel")
    if made.name != plugin.name:
        raise plugin.error(f"its DenseKernel has the name {made.name!r}; give it that of the entry point")
    return replace(made, origin=plugin.origin)
