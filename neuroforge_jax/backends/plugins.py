"""Backends of other packages: entry points of the group `neuroforge_jax.backends`.

    [project.entry-points."neuroforge_jax.backends"]
    unrolled = "neuroforge_unrolled:backend"

Finding them reads what the installed packages declare and imports none of them. A plugin is imported when it
is loaded: because a user named it, or asked the doctor for a list.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from neuroforge_jax.errors import DeviceError, UserError

GROUP = "neuroforge_jax.backends"


@dataclass(frozen=True)
class Plugin:
    """A backend that a package offers. origin: the package and its version; clash: why the name is not its own."""

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
            return _made(self.entry)
        except (Exception, SystemExit) as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            raise self.error(f"{kind}{str(error).partition(chr(10))[0]}") from error

    def error(self, reason: str) -> DeviceError:
        """The sentence that it cannot be used."""
        return DeviceError(f"backend {self.name!r} of {self.origin} is unavailable: {reason}")


def discover(built_in: Collection[str]) -> list[Plugin]:
    """The plugins of the installed packages by name; none can take a built-in name or another plugin's."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, _origin(entry)))
    plugins = []
    for entry in found:
        clash, rivals = "", [_origin(other) for other in found if other.name == entry.name]
        if entry.name in built_in:
            clash = f"neuroforge-jax has a backend of this name, which {_origin(entry)} cannot replace"
        elif len(rivals) > 1:
            clash = f"{' and '.join(rivals)} have one name for it; uninstall all but one"
        plugins.append(Plugin(entry.name, _origin(entry), entry, clash))
    return plugins


@cache
def _made(entry: EntryPoint) -> object:
    made = entry.load()
    return made() if callable(made) else made


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
