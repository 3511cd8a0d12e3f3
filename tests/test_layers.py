"""The floors of the house: a module imports only from lower floors, or from its own room."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.smoke

PACKAGE = Path(__file__).parents[1] / "neuroforge_jax"

FLOORS = (
    ("typing", "errors", "config", "signals", "processor", "program_cache"),
    ("nn", "precision", "data", "observe", "machine"),
    ("kernels",),
    ("training",),
    ("execution",),
    (
        "backends",
        "plugins",
        "run_folder",
        "loading",
        "environment",
        "assembly",
        "checkpointing",
        "compilation_cache",
    ),
    ("run", "population", "summary", "capacity", "divergence", "keeper"),
    ("report", "verification", "portability", "diagnosis", "advice", "benchmarking", "profiling"),
    ("train", "verify", "data.__main__", "report.__main__", "doctor", "bench", "cli", "command"),
)
ALLOWED_ON_ONE_FLOOR = {
    ("config", "errors"),
    ("backends", "plugins"),
    ("environment", "backends"),
    ("assembly", "backends"),
    ("data", "observe"),
    ("run_folder", "checkpointing"),
    ("loading", "checkpointing"),
    ("run", "summary"),
    ("run", "capacity"),
    ("run", "divergence"),
    ("run", "keeper"),
    ("summary", "capacity"),
    ("train", "command"),
    ("cli", "command"),
    ("advice", "diagnosis"),
    ("verify", "command"),
    ("data.__main__", "command"),
    ("doctor", "command"),
    ("bench", "command"),
    ("report.__main__", "command"),
    ("benchmarking", "report"),
    ("benchmarking", "profiling"),
}
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    return module if module in FLOOR_OF else module.split(".")[0]


def imported_modules(path: Path) -> set[str]:
    """The modules of this package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("neuroforge_jax."):
            found.add(node.module.removeprefix("neuroforge_jax."))
        elif isinstance(node, ast.ImportFrom) and node.module == "neuroforge_jax":
            found |= {alias.name for alias in node.names if room_of(alias.name) in FLOOR_OF}
        elif isinstance(node, ast.Import):
            names = (alias.name for alias in node.names)
            found |= {
                name.removeprefix("neuroforge_jax.") for name in names if name.startswith("neuroforge_jax.")
            }
    return found


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_from_lower_floors(path):
    here = room_of(name_of(path))
    for module in imported_modules(path):
        there = room_of(module)
        assert there in FLOOR_OF, f"{module} is on no floor"
        same_room = here == there
        lower = FLOOR_OF[there] < FLOOR_OF[here]
        assert same_room or lower or (here, there) in ALLOWED_ON_ONE_FLOOR, f"{here} imports {there}"


def test_no_circle_within_a_room():
    graph = {name_of(path): imported_modules(path) for path in modules()}

    def reaches(start: str, goal: str, seen: set[str]) -> bool:
        nexts = {name for name in graph.get(start, ()) if name not in seen}
        return goal in nexts or any(reaches(name, goal, seen | nexts) for name in nexts)

    circles = [name for name in graph if reaches(name, name, set())]
    assert circles == []
