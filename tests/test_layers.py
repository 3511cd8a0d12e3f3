"""The layers of the house: a folder is a layer or part of one, and imports go to lower layers only."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

from neuroforge_jax import _HOMES

pytestmark = pytest.mark.smoke

PACKAGE = Path(__file__).parents[1] / "neuroforge_jax"

LAYERS = (
    ("typing", "errors"),
    ("config",),
    ("system",),
    ("data", "nn", "precision", "scoring"),
    ("kernels",),
    ("model",),
    ("training",),
    ("backends", "checkpoint"),
    ("job",),
    ("callbacks",),
    ("portability", "profiling", "report", "verification"),
    ("run", "population"),
    ("estimators",),
    ("sklearn",),
    ("__init__",),
    ("benchmarking", "doctor"),
    ("commands",),
    ("train", "predict", "evaluate", "verify", "bench", "__main__"),
)
"""From the bottom up: folders, and the modules that lie in the root. A module imports from its own folder, and from
the layers below it. `__init__` is the package as a whole, which is for those above all of its public names; who
imports one name from it imports the module where the name is at home, and the version is for all. A folder's
`__main__`, such as `data/__main__`, is a command wherever it lies: it is of the last layer, as the root's is.
"""

LAYER_OF = {folder: layer for layer, folders in enumerate(LAYERS) for folder in folders}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str:
    return "__main__" if module.endswith("__main__") else module.partition(".")[0]


def imported_modules(source: str, folder: str) -> set[str]:
    """The modules of this package that the source of a module in this folder imports, anywhere in it."""
    package = f"neuroforge_jax.{folder}".rstrip(".")
    names = {name for node in ast.walk(ast.parse(source)) for name in imported_names(node, package)}
    ours = {name for name in names if name.partition(".")[0] == "neuroforge_jax"}
    return {module_of(name) for name in ours - {"neuroforge_jax.__version__"}}


def imported_names(node: ast.AST, package: str) -> Iterator[str]:
    """Modules, and names in modules, in full: by a statement, or as the text in a call of `import_module`."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        module = resolve_name("." * node.level + (node.module or ""), package)
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        texts = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
        yield from (text for text in texts if isinstance(text, str))


def module_of(name: str) -> str:
    """The module that a full name is in: `neuroforge_jax.nn.mlp.MLP` is in `nn.mlp`. Of a name of which only the
    beginning is known, `neuroforge_jax.nn.`, it is some module in a folder: `nn.`.
    """
    parts = name.split(".")[1:]
    if parts and parts[0] in _HOMES:
        return _HOMES[parts[0]]
    while parts and not is_module(PACKAGE.joinpath(*parts)):
        parts.pop()
    return ".".join(parts) or "__init__"


def is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


@cache
def imports_of(path: Path) -> set[str]:
    return imported_modules(path.read_text(), ".".join(path.relative_to(PACKAGE).parts[:-1]))


def upwards(module: str, imported: set[str]) -> list[str]:
    """Of the modules that a module imports, those that are in its own layer or above it, and not in its folder."""
    here = folder_of(module)
    others = {other for other in imported if folder_of(other) != here}
    return sorted(other for other in others if LAYER_OF[folder_of(other)] >= LAYER_OF[here])


def test_every_module_is_in_a_layer():
    assert {folder_of(name_of(path)) for path in modules()} == set(LAYER_OF)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_from_its_own_folder_and_from_lower_layers(path):
    assert upwards(name_of(path), imports_of(path)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from neuroforge_jax.report.formats import text", {"report.formats"}),
        ("from neuroforge_jax.report import formats", {"report.formats"}),
        ("import neuroforge_jax.report.formats as formats", {"report.formats"}),
        ("def f():\n    from neuroforge_jax.report import *", {"report"}),
        ("from ..report.formats import text", {"report.formats"}),
        ("from ..report import formats", {"report.formats"}),
        ("from .. import report", {"report"}),
        ("from .. import Result", {"run"}),
        ("from neuroforge_jax import Result, fit_population", {"run", "population"}),
        ("import neuroforge_jax as nf", {"__init__"}),
        ("import_module('neuroforge_jax')", {"__init__"}),
        ("importlib.import_module('neuroforge_jax.report.formats')", {"report.formats"}),
        ("import_module(f'neuroforge_jax.report.{name}')", {"report."}),
        ("__import__('neuroforge_jax.report')", {"report"}),
    ],
)
def test_an_import_from_above_is_seen_however_it_is_written(source, found):
    assert imported_modules(source, "nn") == found
    assert upwards("nn.mlp", found) == sorted(found)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from . import losses", {"nn.losses"}),
        ("from .losses import LOSSES", {"nn.losses"}),
        ("from ..typing import Array", {"typing"}),
        ("from neuroforge_jax import TrainConfig", {"config"}),
        ("from neuroforge_jax import __version__", set()),
        ("import jax\nfrom math import pi", set()),
        ("import_module('torch')", set()),
        ("'neuroforge_jax.report'", set()),
    ],
)
def test_an_import_from_below_is_allowed_however_it_is_written(source, found):
    assert imported_modules(source, "nn") == found
    assert upwards("nn.mlp", found) == []


def test_no_circle_within_a_folder():
    TopologicalSorter({name_of(path): imports_of(path) for path in modules()}).prepare()  # names a circle
