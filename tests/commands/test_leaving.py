"""How a process of a command ends."""

import subprocess
import sys
import time
from importlib.metadata import entry_points

import pytest

WITH_A_THREAD = """
import threading, time
from neuroforge_jax.commands.outcome import leave
threading.Thread(target=time.sleep, args=({seconds},)).start()
print("told", end="")
leave({code})
"""


def left(code, seconds):
    begun = time.monotonic()
    program = WITH_A_THREAD.format(code=code, seconds=seconds)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    return ran.returncode, ran.stdout, ran.stderr, time.monotonic() - begun


@pytest.mark.parametrize("code", [130, 143])
def test_after_a_signal_no_thread_is_waited_for(code):
    """It may be within a compiler, for minutes."""
    *ended, seconds = left(code, 50)
    assert ended == [code, "told", ""]
    assert seconds < 25


@pytest.mark.parametrize("code", [0, 2])
def test_without_one_the_threads_come_to_their_end(code):
    *ended, seconds = left(code, 1)
    assert ended == [code, "told", ""]
    assert seconds > 1


def test_the_console_script_ends_with_the_code_of_its_command(monkeypatch, capsys):
    (script,) = entry_points(group="console_scripts", name="neuroforge")
    monkeypatch.setattr(sys, "argv", ["neuroforge", "trian"])
    with pytest.raises(SystemExit) as ended:
        script.load()()
    assert ended.value.code == 2
    assert "unknown command 'trian'" in capsys.readouterr().err
