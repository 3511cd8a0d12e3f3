"""The pages as text: what can be said of them without running anything but their imports."""

import ast
import importlib.util
import re

import pytest

import neuroforge_jax as nf
from tests.docs.blocks import PAGES, ROOT, blocks_of

LANGUAGES = {"python", "sh", "text", "toml", "csv", "json", "html", "yaml"}
REASONS = {
    "installs packages",
    "downloads",
    "needs a GPU",
    "needs a TPU",
    "needs a git repository",
    "tested word for word by .ci/run",
    "tests/reliability does it to real processes",
    "tests/distributed does it to real processes",
    "needs a cluster",
}
README_BYTES = 9_000

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@each_page
def test_every_block_has_a_known_language_and_a_known_reason_not_to_be_run(page):
    for block in blocks_of(page):
        # {toctree} and its like are directives of Sphinx, not code.
        assert block.language in LANGUAGES or block.language.startswith("{"), block
        assert block.reason == "" or (block.language == "sh" and block.reason in REASONS), block


@each_page
def test_every_python_block_is_whole_and_uses_public_names(page):
    for block in blocks_of(page):
        if block.language == "python":
            ast.parse(block.code, str(block))
            for name in re.findall(r"\bnf\.([A-Za-z_]+)", block.code):
                assert hasattr(nf, name), f"{block}: nf.{name}"


@each_page
def test_every_link_to_a_file_leads_to_one(page):
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        if "://" in link or (not path and not anchor):
            continue
        target = page.parent / path if path else page
        if target.parts[-2] == "notebooks" and target.suffix == "":
            continue
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def anchors(page):
    """Of the headings of a page, as GitHub and MyST make them."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_the_tables_of_flags_are_those_of_the_fields():
    spec = importlib.util.spec_from_file_location("flags", ROOT / "docs" / "flags.py")
    flags = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(flags)
    page = flags.PAGE.read_text(encoding="utf-8")
    assert page == flags.render(page), "run python docs/flags.py"


def test_the_start_page_leads_to_every_page():
    named = {page.stem for page in PAGES} - {"README", "index"}
    trees = [block.code for block in blocks_of(ROOT / "docs" / "index.md") if block.language == "{toctree}"]
    listed = [line for tree in trees for line in tree.splitlines() if line and line[0] != ":"]
    assert sorted(listed) == sorted(named)
