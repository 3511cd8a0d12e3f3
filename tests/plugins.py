"""Packages that bring plugins: the two examples, and packages that are made up."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from neuroforge_jax.system.plugins import GROUPS

ROOT = Path(__file__).parents[1]
BACKEND_EXAMPLE, KERNEL_EXAMPLE = ROOT / "tests" / "plugin_package", ROOT / "tests" / "plugin_kernel"


def install(example, folder):
    """Where pip has built and installed a package."""
    source, target = folder / "source", folder / "installed"
    shutil.copytree(example, source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)),
        ],
        check=True,
    )
    return target


def assert_page_shows(page, heading, example):
    """The section of this heading shows the package as it is: its module, and what it declares."""
    section = (ROOT / "docs" / page).read_text().partition(f"## {heading}")[2].partition("\n## ")[0]
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)
    (module,) = example.glob("*.py")
    assert code == module.read_text()
    declared = re.search(r"```toml\n(.*?)```", section, re.DOTALL).group(1)
    assert declared in (example / "pyproject.toml").read_text()


def offer(folder, package, entries, code="", kind="backend"):
    """An installed package, as its metadata tell it: entries is its table of plugins of a kind."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {module}{value}" for name, value in entries.items()]
    (metadata / "entry_points.txt").write_text("\n".join([f"[{GROUPS[kind]}]", *lines]))
