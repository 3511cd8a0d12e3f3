"""The notebooks run from top to bottom, show what their text says, and are kept without outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

TIERS = {"sklearn": pytest.mark.docs}
"""Of notebooks that are not slow."""

each_notebook_in_its_tier = pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=TIERS.get(path.stem, pytest.mark.slow)) for path in NOTEBOOKS],
)


def check_ladder(printed):
    """A compiled step is faster than its operations one by one, and uses its memory again."""
    ratios = re.findall(r"naive → stepped +([\d.]+) ×.* (faster|slower|no difference shown)$", printed, re.M)
    assert len(ratios) == 2
    assert all(told == "faster" for _, told in ratios)
    weights = dict(re.findall(r"^(\w+) +old weights (used up|still there)", printed, re.M))
    assert weights.pop("naive") == "still there"
    assert set(weights.values()) == {"used up"}
    assert "'stepped': 128, 'optimized': 1" in printed


def check_precision(printed):
    """Every rounding takes place, vanished gradients come back with a loss scale, and bf16 weights stand still."""
    rows = re.findall(r"^(f32|bf16|fp16) +(none|\d+) (.+)$", printed, re.M)
    error = {(name, scale != "none"): float(numbers.split()[-1]) for name, scale, numbers in rows}
    assert 10 * error["f32", False] < error["fp16", True]
    assert 3 * error["fp16", True] < error["bf16", False]
    off = {(name, scale != "none"): float(numbers.split()[-2].rstrip("%")) for name, scale, numbers in rows}
    assert 2 * off["fp16", True] < off["fp16", False]
    losses = dict(re.findall(r"^(\w+) weights +last epoch's loss ([\d.]+)", printed, re.M))
    assert float(losses["bf16"]) > 2 * float(losses["float32"])
    skipped, first = re.search(r"^(\d+) of [\d,]+ steps skipped, (\d+) of them", printed, re.M).groups()
    assert int(skipped) > int(first) > 0


def check_table(printed):
    """A frame and its file are the same dataset."""
    assert re.findall(r"^the same (?:kinds|rows): (\w+)$", printed, re.M) == ["True", "True"]


def check_sklearn(printed):
    """A network is the same saved and on the other side; a temperature mends the sureness of an ensemble."""
    assert re.findall(r"^the same .+: (\w+)$", printed, re.M) == ["True", "True"]
    differences = re.findall(r"differ by at most (\S+)$", printed, re.M)
    assert len(differences) == 2
    assert max(map(float, differences)) < 1e-5
    before, after = map(float, re.search(r"^log loss ([\d.]+), calibrated ([\d.]+)$", printed, re.M).groups())
    assert after < before
    together, alone = map(float, re.search(r"^accuracy ([\d.]+), .+ alone ([\d.]+)$", printed, re.M).groups())
    assert together > alone


CHECKS = {
    "ladder": check_ladder,
    "precision": check_precision,
    "sklearn": check_sklearn,
    "table": check_table,
}


@pytest.mark.full_effort
@each_notebook_in_its_tier
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(path.parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    accuracies = [output["data"]["text/plain"] for output in shown if output.output_type == "execute_result"]
    assert float(accuracies[-1]) > 0.95
    streams = [output for output in shown if output.output_type == "stream"]
    assert {output.name for output in streams} <= {"stdout"}
    CHECKS.get(path.stem, lambda printed: None)("".join(output.text for output in streams))


@each_notebook
def test_a_notebook_is_kept_clean(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@each_notebook
def test_every_link_of_a_notebook_leads_to_a_file(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    links = [link for cell in cells for link in re.findall(r"\]\(([^)\s]+)\)", cell.source)]
    assert all("://" in link or (path.parent / link).exists() for link in links), links
