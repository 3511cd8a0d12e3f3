"""Write every measured table and figure of README.md and docs/ from the records in benchmarks/.

    python docs/tables.py            rewrite what differs
    python docs/tables.py --check    write nothing; exit code 1 and the names of the files that differ

A Markdown file says where a table goes:

    <!-- table: speed -->
    <!-- end of table -->

Each function of TABLES makes the table of its name, and a line below it says which record it is from: machine,
versions, commit and date. A table whose record does not exist yet becomes one sentence that says so.
"""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from claims import original
from figures import FIGURES
from measured import backends, commands, drop_in, frameworks, gpus
from records import Records

ROOT = Path(__file__).parents[1]
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
BEGIN = "<!-- table: "

TABLES: Mapping[str, Callable[[Records], str]] = {
    "speed": frameworks.speed,
    "ladder": backends.ladder,
    "published": backends.published,
    "backends": backends.backends,
    "precision": backends.precision,
    "peers": frameworks.peers,
    "amx": frameworks.amx,
    "torch-earlier": frameworks.torch_earlier,
    "streaming": backends.streaming,
    "overlap": backends.overlap,
    "tiny": backends.tiny,
    "speedrun": commands.speedrun,
    "tables": commands.own_tables,
    "drop-in": drop_in.fits,
    "drop-in-waits": drop_in.waits,
    "lookup": backends.lookup,
    "population": backends.population,
    "scaling": backends.scaling,
    "peaks": backends.peaks,
    "startup": commands.startup,
    "start": commands.start,
    "reliability": commands.reliability,
    "regression": commands.regression,
    "roofline": gpus.roofline,
    "claims": frameworks.claims,
    "original": original,
    "gpu": gpus.gpu,
    "gpu-ladder": gpus.gpu_ladder,
    "gpu-speedrun": gpus.gpu_speedrun,
    "gpu-claims": gpus.gpu_claims,
    "gpu-tests": gpus.gpu_tests,
    "gpu-kernels": gpus.gpu_kernels,
    "gpu-loop": gpus.gpu_loop,
}


def fill_tables(text: str, folder: Path) -> str:
    """The text with every table made again. Raises ValueError for an unknown name or a marker without its end."""

    def make(match: re.Match[str]) -> str:
        name = match[2]
        if name not in TABLES:
            raise ValueError(f"no table {name!r}: there are {', '.join(TABLES)}")
        try:
            content = TABLES[name](Records(folder))
        except FileNotFoundError as error:
            content = f"No record yet: `benchmarks/{Path(error.filename).name}` has not been measured.\n"
        return f"{match[1]}\n{content}\n{match[4]}"

    if text.count(BEGIN) != len(MARKED.findall(text)):
        raise ValueError("a table begins and does not end: <!-- end of table --> is missing")
    return MARKED.sub(make, text)


def outputs(root: Path) -> dict[Path, str]:
    """Every file that holds something measured, and what should be in it."""
    records = root / "benchmarks"
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    found = {}
    for page in pages:
        try:
            found[page] = fill_tables(page.read_text(encoding="utf-8"), records)
        except ValueError as error:
            raise SystemExit(f"{page.relative_to(root)}: {error}") from None
    return found | {root / name: draw(Records(records)) for name, draw in FIGURES.items()}


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the files, or say which differ; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Write the measured tables and figures from benchmarks/*.json."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where a file differs"
    )
    check = parser.parse_args(argv).check
    differing = [
        (path, text)
        for path, text in outputs(root).items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in differing:
        name = path.relative_to(root)
        if check:
            print(f"{name} is not what its records say: run python docs/tables.py", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
            print(f"written: {name}")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main())
