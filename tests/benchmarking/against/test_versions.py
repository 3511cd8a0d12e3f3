"""A commit and the working tree as two folders, and what is said where there is no such commit."""

import tempfile

import pytest

from neuroforge_jax.benchmarking.against.versions import PACKAGE, open_versions
from neuroforge_jax.errors import ConfigError
from tests.benchmarking.against.repositories import commit_all, git, make_repository


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return make_repository(tmp_path / "checkout", "number = 1\n", "number = 2\n")


def content(version):
    return (version.folder / PACKAGE / "__init__.py").read_text()


@pytest.mark.parametrize("revision", ["HEAD~1", "old", "topic"])
def test_the_package_of_a_revision_lies_beside_that_of_the_working_tree(root, revision):
    git(root, "tag", "old", "HEAD~1")
    git(root, "branch", "topic", "HEAD~1")
    (root / PACKAGE / "__init__.py").write_text("number = 3\n")
    (root / PACKAGE / "new.py").write_text("")
    (root / "README.md").write_text("not measured, and not counted\n")
    with open_versions(revision, root) as (before, after):
        assert (content(before), content(after)) == ("number = 1\n", "number = 3\n")
        assert (after.folder / PACKAGE / "new.py").exists()
        assert before.commit == git(root, "rev-parse", "HEAD~1")
        assert after.commit == git(root, "rev-parse", "HEAD")
        assert str(before).startswith(f"{before.commit[:8]} of 20")
        assert str(after).startswith(f"the working tree at {after.commit[:8]} of 20")
        assert str(after).endswith("with changes in 2 of its files")


def test_a_tree_without_changes_is_called_so(root):
    with open_versions("HEAD", root) as (before, after):
        assert content(before) == content(after)
        assert str(after).endswith("with no changes")


def test_nothing_is_left_behind_whatever_happens(root, tmp_path):
    before = git(root, "status", "--porcelain", "--ignored"), sorted((root / ".git").iterdir())
    with pytest.raises(KeyboardInterrupt), open_versions("HEAD~1", root):
        assert len(list((tmp_path / "temporary").iterdir())) == 1
        raise KeyboardInterrupt
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (git(root, "status", "--porcelain", "--ignored"), sorted((root / ".git").iterdir())) == before
    assert len(git(root, "worktree", "list").splitlines()) == 1


def refusal(revision, root):
    with pytest.raises(ConfigError) as caught, open_versions(revision, root):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("revision", ["nonsense", "HEAD~2", "--all", "HEAD:neuroforge_jax", ""])
def test_an_unknown_revision_is_refused(root, revision):
    said = refusal(revision, root)
    assert said.startswith(f"--against {revision}: this repository has no such commit; give a hash")
    assert "shallow" not in said


def test_a_shallow_clone_says_that_it_is_one(root, tmp_path):
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{root}", "shallow")
    assert "git fetch --unshallow" in refusal("HEAD~1", tmp_path / "shallow")


def test_an_installed_package_is_in_no_repository_even_where_somebody_elses_is_around_it(root, tmp_path):
    installed = root / "venv"
    (installed / PACKAGE).mkdir(parents=True)
    (installed / PACKAGE / "__init__.py").touch()
    assert "lies in no git repository of its own" in refusal("HEAD", installed)
    (tmp_path / "nowhere").mkdir()
    assert "not a git repository" in refusal("HEAD", tmp_path / "nowhere")


def test_a_commit_without_the_package_is_refused(root):
    git(root, "rm", "--quiet", "-r", PACKAGE)
    commit_all(root, "nothing left")
    git(root, "revert", "--no-edit", "HEAD")
    assert "the package of this commit cannot be read" in refusal("HEAD~1", root)


def test_a_machine_without_git_says_so(root, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("HEAD", root) == "--against HEAD: git cannot be found; install it"
