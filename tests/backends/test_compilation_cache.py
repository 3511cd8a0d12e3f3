"""Where compiled programs are kept, and where not; real commands that find them again are in tests/reliability."""

import os
import platform
import re
from pathlib import Path

import jax
import pytest

from neuroforge_jax.backends import compilation_cache
from neuroforge_jax.backends.compilation_cache import loads_in_silence, place, private_folder

CPU = jax.devices("cpu")[0]


@pytest.fixture
def switched_on():
    jax.config.update("jax_enable_compilation_cache", True)
    yield
    jax.config.update("jax_enable_compilation_cache", False)


@pytest.fixture(autouse=True)
def fresh_verdict():
    loads_in_silence.cache_clear()
    yield
    loads_in_silence.cache_clear()


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names a feature of x86 CPUs")
def test_a_cpu_on_which_xla_complains_is_found_out(monkeypatch, capfd, switched_on):
    """The complaint is provoked: an instruction that this CPU lacks is said to be needed."""
    from jax.experimental import serialize_executable

    serialize = serialize_executable.serialize

    def needy(compiled):
        payload, *trees = serialize(compiled)
        changed, count = re.subn(rb",-(xop|kl|sgx|tbm),", rb",+\1,", payload)
        assert count
        return changed, *trees

    monkeypatch.setattr(serialize_executable, "serialize", needy)
    assert not loads_in_silence(CPU)
    assert place(CPU).folder is None
    assert "complains" in place(CPU).reason
    assert capfd.readouterr().err == ""


def test_standard_error_is_given_back(capfd):
    loads_in_silence(CPU)
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_a_cpu_whose_programs_cannot_be_serialised_keeps_none(monkeypatch, switched_on):
    from jax.experimental import serialize_executable

    def refuse(compiled):
        raise ValueError("Compilation does not support serialization")

    monkeypatch.setattr(serialize_executable, "serialize", refuse)
    assert place(CPU).folder is None


def test_the_users_own_settings_are_respected(monkeypatch, switched_on):
    monkeypatch.setattr(compilation_cache, "loads_in_silence", lambda device: True)
    assert place(CPU).folder.startswith(str(compilation_cache.user_cache_path("neuroforge-jax")))
    jax.config.update("jax_compilation_cache_dir", "elsewhere")
    try:
        assert place(CPU).folder == "elsewhere"
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    jax.config.update("jax_enable_compilation_cache", False)
    assert place(CPU).folder is None


def test_the_folder_is_its_owners_alone(tmp_path):
    folder = private_folder(tmp_path / "cache" / "compiled")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    assert private_folder(folder).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_may_write_to_is_refused(mode, tmp_path):
    tmp_path.chmod(mode)
    with pytest.raises(OSError, match="others may write"):
        private_folder(tmp_path)


def test_a_link_to_a_folder_of_another_is_no_folder_of_ones_own(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "mine").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="others may write"):
        private_folder(tmp_path / "mine")


def test_the_oldest_programs_go_first(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    monkeypatch.setattr(compilation_cache, "MAX_BYTES", 25)
    for age in range(4):
        entry = Path(tmp_path / f"program{age}-cache")
        entry.write_bytes(bytes(10))
        os.utime(entry, (1e9 - age, 1e9 - age))
    private_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["program0-cache", "program1-cache"]
