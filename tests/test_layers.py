"""The layers of the house: a folder is a layer or part of one, and imports go to lower layers only."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

PACKAGE = Path(__file__).parents[1] / "neuroforge_jax"

LAYERS = (
    ("typing", "errors"),
    ("config",),
    ("system",),
    ("data", "nn", "precision"),
    ("kernels",),
    ("model",),
    ("training",),
    ("backends", "checkpoint"),
    ("job",),
    ("callbacks",),
    ("portability", "profiling", "report", "verification"),
    ("run", "population"),
    ("benchmarking", "doctor"),
    ("commands",),
    ("train", "verify", "bench", "__main__"),
)
"""From the bottom up: folders, and the modules that lie in the root. A module imports from its own folder, and from
the layers below it; a folder's `__main__` is a command, wherever it lies."""

LAYER_OF = {folder: layer for layer, folders in enumerate(LAYERS) for folder in folders}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str:
    return "__main__" if module.endswith("__main__") else module.partition(".")[0]


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("neuroforge_jax"):
            module = node.module.removeprefix("neuroforge_jax").removeprefix(".")
            # `from package import module` imports the module.
            for alias in node.names:
                full = f"{module}.{alias.name}".lstrip(".")
                is_module = any(
                    (PACKAGE / full.replace(".", "/")).with_suffix(end).exists() for end in ("", ".py")
                )
                found.add(full if is_module else module)
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found |= {
                name.removeprefix("neuroforge_jax.") for name in names if name.startswith("neuroforge_jax.")
            }
    return found - {""}  # the package's own name and version


def test_every_module_is_in_a_layer():
    assert {folder_of(name_of(path)) for path in modules()} == set(LAYER_OF)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_from_its_own_folder_and_from_lower_layers(path):
    here = folder_of(name_of(path))
    upwards = [
        module
        for module in imported_modules(path)
        if folder_of(module) != here and LAYER_OF[folder_of(module)] >= LAYER_OF[here]
    ]
    assert upwards == []


def test_no_circle_within_a_folder():
    graph = {name_of(path): imported_modules(path) for path in modules()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        nexts = {name for name in graph.get(start, ()) if name not in seen}
        return goal in nexts or any(reaches(name, goal, seen | nexts) for name in nexts)

    circles = [name for name in graph if reaches(name, name, set())]
    assert circles == []
