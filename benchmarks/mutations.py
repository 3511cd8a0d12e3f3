"""The mutations that mutants.py draws from: small changes of the code by cosmic-ray, as lines before and after.

cosmic-ray.toml says which modules and operators count. Annotations, decorators and names of types are left alone.
"""

import ast
import random
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = tomllib.loads((Path(__file__).parent / "cosmic-ray.toml").read_text())["cosmic-ray"]
LEAST = 10
"""Mutants of a package, however small."""


@dataclass(frozen=True)
class Mutant:
    """A change of some neighbouring lines; line: where they stood when it was drawn.

    drawn_from: path and line then, of one that has moved or been rewritten since: its name stays.
    """

    path: str
    operator: str
    occurrence: int
    line: int
    before: str
    after: str
    drawn_from: str = ""

    @property
    def name(self) -> str:
        return f"{self.drawn_from or f'{self.path}:{self.line}'} {self.operator}#{self.occurrence}"

    @property
    def package(self) -> str:
        return Path(self.path).parts[1]

    def of(self, source: str) -> str | None:
        """The source with this change, at its lines that are nearest; None where they are no longer there."""
        lines, old = source.split("\n"), self.before.split("\n")
        places = [at for at in range(len(lines)) if lines[at : at + len(old)] == old]
        if not places:
            return None
        at = min(places, key=lambda place: abs(place + 1 - self.line))
        return "\n".join([*lines[:at], *self.after.split("\n"), *lines[at + len(old) :]])


def mutations(tree: Path) -> dict[str, list[Any]]:
    """Package → what cosmic-ray would change in it, in a fixed order."""
    from cosmic_ray.commands import init
    from cosmic_ray.modules import find_modules
    from cosmic_ray.work_db import use_db

    modules = find_modules([tree / path for path in CONFIG["module-path"]])
    modules = [path for path in modules if str(path.relative_to(tree)) not in CONFIG["excluded-modules"]]
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/mutations.sqlite") as database:
        init(modules, database, {})
        specs = [item.mutations[0] for item in database.work_items]
    left_out = re.compile("|".join(CONFIG["filters"]["operators-filter"]["exclude-operators"]))
    lines = {path: path.read_text().split("\n") for path in modules}
    quiet = {path: list(_quiet(ast.parse("\n".join(text)))) for path, text in lines.items()}

    def counts(spec: Any) -> bool:
        row, column = spec.start_pos
        is_signature = lines[spec.module_path][row - 1].startswith("*,", column)
        is_quiet = any(start <= (row, column) < end for start, end in quiet[spec.module_path])
        return not (is_signature or is_quiet or left_out.fullmatch(spec.operator_name))

    found: dict[str, list[Any]] = {Path(path).name: [] for path in CONFIG["module-path"]}
    for spec in sorted(specs, key=lambda spec: (spec.module_path, spec.operator_name, spec.occurrence)):
        if counts(spec):
            found[spec.module_path.parent.name].append(spec)
    return found


def sample(found: Mapping[str, Sequence[Any]], tree: Path, count: int, seed: int) -> list[Mutant]:
    """So many of them: a package has its share, and at least LEAST; never two of one place."""
    rng = random.Random(seed)
    total = sum(map(len, found.values()))
    quotas = {package: max(LEAST, round(count * len(specs) / total)) for package, specs in found.items()}
    quotas[max(quotas, key=quotas.__getitem__)] += count - sum(quotas.values())
    drawn: list[Mutant] = []
    for package, quota in quotas.items():
        by_place: dict[Any, Mutant] = {}
        for spec in rng.sample(found[package], len(found[package])):
            place = spec.module_path, spec.start_pos
            if len(by_place) < quota and place not in by_place and (mutant := _mutant(spec, tree)):
                by_place[place] = mutant
        drawn += sorted(by_place.values(), key=lambda mutant: (mutant.path, mutant.line))
    return drawn


def _quiet(module: ast.Module) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where there is nothing that a run computes with: annotations, decorators, names of types."""
    nodes: list[Any] = []
    for node in ast.walk(module):
        nodes += getattr(node, "decorator_list", [])
        nodes += [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes.append(node)
    for node in module.body:
        name = ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""
        if name == "__all__" or (name[:1].isupper() and not name.isupper()):
            nodes.append(node)
    for node in filter(None, nodes):
        yield (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _mutant(spec: Any, tree: Path) -> Mutant | None:
    """The lines that a mutation changes; None where it leaves no Python, or the same."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = spec.module_path.read_text()
    try:
        changed = mutate_code(source, get_operator(spec.operator_name)(), spec.occurrence)
        if ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
            return None
    except (SyntaxError, AttributeError):  # cosmic-ray 8.7 cannot replace an exception with a dot in its name
        return None
    before, after = source.split("\n"), changed.split("\n")
    start = _same(before, after)
    end = _same(before[start:][::-1], after[start:][::-1])
    old, new = ("\n".join(lines[start : len(lines) - end]) for lines in (before, after))
    path = str(spec.module_path.relative_to(tree))
    return Mutant(path, spec.operator_name, spec.occurrence, start + 1, old, new)


def _same(before: Sequence[str], after: Sequence[str]) -> int:
    """Lines that are the same in both, from the first on."""
    pairs = zip(before, after, strict=False)
    return next((at for at, (old, new) in enumerate(pairs) if old != new), min(len(before), len(after)))
