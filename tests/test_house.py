"""The house: what the README and the check say is what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import neuroforge_jax as nf
from neuroforge_jax import __main__ as cli

pytestmark = pytest.mark.smoke

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readmes_commands_are_the_promised_ones():
    for command in (
        "python3 -m venv .venv && . .venv/bin/activate",
        "python -m pip install -e . && python -m neuroforge_jax.train --config configs/mixed.py",
        'python -m pip install -e ".[test]" && python -m pytest',
    ):
        assert f"\n{command}\n" in README


def test_every_config_is_in_the_readme_and_says_what_it_reached():
    for path in (ROOT / "configs").glob("*.py"):
        assert f"configs/{path.name}" in README
        docstring = path.read_text().split('"""')[1]
        assert f"python -m neuroforge_jax.train --config configs/{path.name}" in docstring
        assert re.search(r"\d+\.\d+ %", docstring), path.name


def test_every_public_name_is_there_and_documented():
    for name in nf.__all__:
        assert getattr(nf, name).__doc__, name
        assert name in dir(nf)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nf.nonsense  # noqa: B018


def test_the_console_script_joins_the_commands(capsys):
    assert cli.main(["--help"]) == 0
    assert "train" in capsys.readouterr().out
    assert cli.main(["data", "list"]) == 0
    assert "digits" in capsys.readouterr().out
    assert cli.main(["trian"]) == 2
    assert "known are train, predict, evaluate, verify, bench, data" in capsys.readouterr().err
    assert cli.main(["--version"]) == 0
    assert nf.__version__ in capsys.readouterr().out


def test_importing_everything_that_fit_needs_loads_nothing_it_does_not():
    script = (
        "import sys; from neuroforge_jax import fit, load_dataset, evaluate, load\n"
        "heavy = ('sklearn', 'matplotlib', 'pooch', 'orbax', 'PIL', 'requests', 'tyro', 'scipy.stats')\n"
        "print([name for name in heavy if name in sys.modules])\n"
        "import jax._src.xla_bridge as bridge; print(bridge.backends_are_initialized())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["[]", "False"]
