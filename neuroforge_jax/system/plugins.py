"""What other packages bring: entry points of a group for each kind of plugin.

    [project.entry-points."neuroforge_jax.backends"]
    unrolled = "neuroforge_unrolled:backend"

    [project.entry-points."neuroforge_jax.kernels"]
    tiles = "neuroforge_tiles:tiles"

Finding them reads what the installed packages declare and imports none of them. A plugin is imported when it
is loaded: because a user named it, or asked the doctor for a list.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from neuroforge_jax.errors import DeviceError, first_line

GROUPS = {"backend": "neuroforge_jax.backends", "kernel": "neuroforge_jax.kernels"}
"""Kind of plugin → the group of its entry points."""


@dataclass(frozen=True)
class Plugin:
    """What a package offers under a name. kind: of GROUPS; origin: the package and its version; clash: why the name
    is not its own.
    """

    kind: str
    name: str
    origin: str
    entry: EntryPoint
    clash: str = ""

    def load(self) -> object:
        """What the entry point names, or, where that is a function, what it makes.

        Raises DeviceError, in one line, whatever goes wrong in the code of the package.
        """
        if self.clash:
            raise self.error(self.clash)
        try:
            return _load_entry(self.entry)
        except (Exception, SystemExit) as error:
            raise self.error(first_line(error)) from error

    def error(self, reason: str) -> DeviceError:
        """The sentence that it cannot be used."""
        return DeviceError(f"{self.kind} {self.name!r} of {self.origin} is unavailable: {reason}")


def discover(kind: str, built_in: Collection[str]) -> list[Plugin]:
    """The plugins of a kind by name; none can take a built-in name or another plugin's."""
    found = sorted(entry_points(group=GROUPS[kind]), key=lambda entry: (entry.name, _origin(entry)))
    plugins = []
    for entry in found:
        clash, rivals = "", [_origin(other) for other in found if other.name == entry.name]
        if entry.name in built_in:
            clash = f"neuroforge-jax has a {kind} of this name, which {_origin(entry)} cannot replace"
        elif len(rivals) > 1:
            clash = f"{' and '.join(rivals)} have one name for it; uninstall all but one"
        plugins.append(Plugin(kind, entry.name, _origin(entry), entry, clash))
    return plugins


@cache
def _load_entry(entry: EntryPoint) -> object:
    made = entry.load()
    return made() if callable(made) else made


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
