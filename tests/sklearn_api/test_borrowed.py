"""scikit-learn's own tests of its multilayer perceptrons, case by case, with our classes in the place of theirs.

They are those of the scikit-learn that is installed: nothing of them is kept here. What cannot pass is listed with
its reason in docs/from-sklearn.md, and has to fail for as long as it is listed.
"""

import ast
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import pytest
import sklearn
import sklearn.neural_network

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

THEIRS = "sklearn.neural_network.tests.test_mlp"
PAGE = Path(__file__).parents[2] / "docs" / "from-sklearn.md"
MOST_LISTED = 8


def import_with_our_classes(name: str) -> ModuleType:
    """Their module, which takes the classes from the package as it is imported; no later import sees it."""
    pytest.register_assert_rewrite(name)
    ours = {"MLPClassifier": nf.MLPClassifier, "MLPRegressor": nf.MLPRegressor}
    with patch.multiple(sklearn.neural_network, **ours):
        module = importlib.import_module(name)
    del sys.modules[name]
    return module


def read_listed_cases(page: str) -> dict[str, str]:
    """The reason of each case: the rows whose first cell is the name of a test, with its parameters."""
    return dict(re.findall(r"^\| `(test_[^`]+)` \| (.+) \|$", page, re.MULTILINE))


def functions_of(module: ModuleType) -> list[str]:
    """In the order in which they stand there, which is the same in every process."""
    return [name for name in vars(module) if name.startswith("test_")]


BORROWED = import_with_our_classes(THEIRS)
LISTED = read_listed_cases(PAGE.read_text(encoding="utf-8"))

globals().update({name: vars(BORROWED)[name] for name in functions_of(BORROWED)})


@pytest.fixture(autouse=True)
def a_listed_case_fails(request):
    """One that passes after all fails as an expected failure that did not come."""
    if request.node.name in LISTED:
        request.applymarker(pytest.mark.xfail(reason=LISTED[request.node.name], strict=True))


@pytest.fixture
def global_random_seed():
    """The seed that scikit-learn's own configuration gives by default."""
    return 42


def test_what_is_borrowed_is_all_of_theirs_with_our_classes():
    source = ast.parse(Path(BORROWED.__file__).read_text(encoding="utf-8"))
    theirs = [
        node.name
        for node in source.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert functions_of(BORROWED) == theirs
    assert len(theirs) > 30
    assert BORROWED.MLPClassifier is nf.MLPClassifier
    assert BORROWED.MLPRegressor is nf.MLPRegressor


def test_few_cases_are_listed_and_each_is_there():
    assert len(LISTED) <= MOST_LISTED
    if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9):
        assert {name.partition("[")[0] for name in LISTED} <= set(functions_of(BORROWED))


def test_whoever_imports_their_tests_elsewhere_gets_their_classes():
    theirs = importlib.import_module(THEIRS)
    assert theirs is not BORROWED
    assert theirs.MLPClassifier is sklearn.neural_network.MLPClassifier
