"""What the project's check does with the exit codes of `bench --against`."""

import re
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[3] / ".ci" / "run"


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (2, 0), (1, 1), (5, 1), (7, 1), (139, 1)])
def test_a_yesterday_that_cannot_run_is_all_that_the_check_tolerates(code, expected, tmp_path):
    """Once it tolerated all but a confirmed slow-down: a crash too, and a working tree that does not train."""
    part = re.search(r"^against_yesterday\(\).*?^\)$", CHECK.read_text(), re.MULTILINE | re.DOTALL).group()
    script = f"set -euo pipefail\nroot=.\ngit() {{ echo 0123abcd; }}\npython() {{ return {code}; }}\n{part}\n"
    done = subprocess.run(["bash", "-c", f"{script}against_yesterday"], cwd=tmp_path, capture_output=True)
    assert (done.returncode != 0) == (expected != 0)
