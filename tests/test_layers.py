"""The floors of the house: a module imports only from lower floors, or from its own room."""

import ast
import tokenize
from pathlib import Path

import pytest

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


def lines_of_code(path: Path) -> int:
    """Lines that hold more than a comment or a docstring."""
    quiet = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines, begins_statement = set(), True
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type in quiet | {tokenize.ENCODING, tokenize.ENDMARKER}:
                begins_statement |= token.type in (tokenize.NEWLINE, tokenize.INDENT)
            else:
                if token.type != tokenize.STRING or not begins_statement:
                    lines |= set(range(token.start[0], token.end[0] + 1))
                begins_statement = False
    return len(lines)


WATCHES_OVER = {
    "checkpointing",
    "keeper",
    "signals",
    "divergence",
    "capacity",
    "machine",
    "compilation_cache",
    "observe",
}
"""What keeps a run safe, quick to start and observed. Training is understood without: `run` names each of them."""


def test_the_afternoon_stays_an_afternoon():
    """Docstrings are not counted: they are there to shorten the reading."""
    lines = sum(
        lines_of_code(path)
        for path in modules()
        if FLOOR_OF[room_of(name_of(path))] <= 6 and room_of(name_of(path)) not in WATCHES_OVER | {"kernels"}
    )
    assert lines <= 4_000


def test_what_watches_over_a_run_is_an_evening():
    assert sum(lines_of_code(path) for path in modules() if room_of(name_of(path)) in WATCHES_OVER) <= 1_450


def test_the_kernels_are_an_evening():
    """They are a subject of their own: the rest is understood once it is known what a kernel's reference says."""
    assert sum(lines_of_code(path) for path in modules() if room_of(name_of(path)) == "kernels") <= 1_600
