"""Ctrl-C and SIGTERM in every phase of a run: saved once, told in a line, over within seconds."""

import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from itertools import cycle

import pytest

from neuroforge_jax.checkpoint import files
from tests.reliability.processes import QUICK, run, start, steps, stop, wait_for, write_data
from tests.tiers import with_further

pytestmark = pytest.mark.faults

LONG = [*QUICK, "--epochs", "20000", "--run-dir", "run", "--checkpoint-every", "never"]
EXIT = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}
WORD = {
    signal.SIGTERM: "terminated",
    signal.SIGINT: "interrupted",
    signal.SIGHUP: "the terminal was closed",
}

PHASES = {
    # A compiler that hears nothing: it holds no lock of Python's, and does not come back for a minute.
    "compile": (
        "import hashlib\n"
        "from neuroforge_jax.job.job import Job\n"
        "def compile(*_, **__):\n"
        "    open('here', 'w').close()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)\n"
        "Job.compile = compile\n"
    ),
    "load": (
        "from neuroforge_jax.data import datasets\n"
        "def load_dataset(*_, **__):\n"
        "    open('here', 'w').close()\n"
        "    time.sleep(60)\n"
        "datasets.load_dataset = load_dataset\n"
    ),
    "step": (
        "from neuroforge_jax.training.progress import Throughput\n"
        "add = Throughput.add\n"
        "Throughput.add = lambda *args: (add(*args), open('here', 'w').close())\n"
    ),
    "evaluation": (
        "from neuroforge_jax.job.job import Job\n"
        "evaluator = Job.evaluator\n"
        "def slow(*args):\n"
        "    evaluate = evaluator(*args)\n"
        "    return lambda params: (open('here', 'w').close(), time.sleep(1.5), evaluate(params))[2]\n"
        "Job.evaluator = slow\n"
    ),
    "save": (
        "from neuroforge_jax.checkpoint import files\n"
        "write = files.write\n"
        "files.write = lambda *args: (open('here', 'w').close(), time.sleep(1.5), write(*args))[2]\n"
        "sys.argv += ['--checkpoint-every', '100 steps']\n"
    ),
    "pictures": (
        "from neuroforge_jax.report import pictures\n"
        "draw = pictures.draw_pictures\n"
        "pictures.draw_pictures = lambda *args: (open('here', 'w').close(), time.sleep(60))\n"
        "sys.argv[sys.argv.index('20000')] = '2'\n"
        "sys.argv[sys.argv.index('never')] = 'epoch'\n"
    ),
}
SAVED = {"step", "evaluation", "save"}
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def begun(phase, folder):
    """A run that is in this phase."""
    write_data(folder)
    process = start(LONG, folder, PHASES[phase])
    wait_for((folder / "here").exists, process)
    return process


@pytest.mark.parametrize(
    ("phase", "signum"),
    with_further(
        [*zip(PHASES, cycle(SIGNALS), strict=False), ("step", signal.SIGINT), ("load", signal.SIGHUP)],
        [*zip(PHASES, cycle(SIGNALS[::-1]), strict=False), ("step", signal.SIGHUP)],
    ),
)
def test_a_signal_ends_the_run_with_its_code_and_nothing_is_lost(phase, signum, tmp_path):
    code, err, seconds = stop(begun(phase, tmp_path), signum)
    assert code == EXIT[signum]
    assert seconds < 14
    if phase in SAVED:
        assert err.startswith(f"{WORD[signum]}: saved at step ")
        assert err.endswith("; go on with --resume run\n")
        assert len(err.splitlines()) == 1
        saved, damaged = files.newest(tmp_path / "run" / "checkpoints")
        assert damaged == []
        assert saved.progress["step"] == int(err.split("step ")[1].split(";")[0].replace(",", "")) > 0
    else:
        # Nothing was trained yet, or all of it is saved.
        assert max(steps(tmp_path / "run"), default=0) == (100 if phase == "pictures" else 0)
        assert "Traceback" not in err
    assert not list((tmp_path / "run").glob("checkpoints/.saving*"))


def test_a_signal_at_any_moment_before_the_first_step_is_told_in_a_line(tmp_path):
    """While modules in C++ are imported and Python is called back from them, 20 ms apart for half a second; Ctrl-C
    and SIGTERM in turn.
    """
    write_data(tmp_path)
    plant = (
        "from neuroforge_jax.data import datasets\n"
        "begin = datasets.begin_loading\n"
        "datasets.begin_loading = lambda *args, **named: (begin(*args, **named), open('here', 'w').close())[0]\n"
    )
    for moment, signum in zip(range(25), cycle(SIGNALS), strict=False):
        process = start(LONG, tmp_path, plant)
        wait_for((tmp_path / "here").exists, process)
        time.sleep(0.02 * moment)
        code, err, seconds = stop(process, signum)
        assert (code, err.split(":")[0].strip()) == (EXIT[signum], WORD[signum]), err
        assert len(err.splitlines()) == 1
        assert seconds < 3
        (tmp_path / "here").unlink()


@pytest.mark.parametrize("phase", ["step", "compile", "save"])
def test_a_second_signal_ends_it_at_once_and_corrupts_nothing(phase, tmp_path):
    """Within a save that never ends, and within a compiler that does not listen."""
    never_ends = (
        "from neuroforge_jax.checkpoint import files\n"
        "whole, counted = files.write, []\n"
        "def endless(*args):\n"
        "    counted.append(args)\n"
        f"    whole(*args) if len(counted) == {1 if phase == 'save' else 0} else time.sleep(600)\n"
        "files.write = endless\n"
    )
    write_data(tmp_path)
    process = start(LONG, tmp_path, never_ends + PHASES[phase])
    wait_for((tmp_path / "here").exists, process)
    if phase == "save":
        wait_for(lambda: steps(tmp_path / "run"), process)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1)
    code, _, seconds = stop(process, signal.SIGTERM)
    assert code == 143
    assert seconds < 3
    _, damaged = files.newest(tmp_path / "run" / "checkpoints")
    assert damaged == []


def test_a_run_that_was_terminated_goes_on_where_it_was(tmp_path):
    code, err, _ = stop(begun("step", tmp_path), signal.SIGTERM)
    assert code == 143
    step = steps(tmp_path / "run")[0]
    code, out, err = run(["--resume", "run", "--epochs", str(step // 50 + 2)], tmp_path)
    assert (code, err) == (0, "")
    assert f"run at step {step:,} of" in out


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_download_that_stalls(signum, tmp_path):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        connections = []
        threading.Thread(target=lambda: connections.append(server.accept()), daemon=True).start()
        plant = (
            "from dataclasses import replace\n"
            "from neuroforge_jax.data import datasets\n"
            f"address = 'http://127.0.0.1:{server.getsockname()[1]}/'\n"
            "datasets.ARCHIVES['mnist'] = replace(datasets.ARCHIVES['mnist'], mirrors=(address,))\n"
        )
        process = start(["--dataset", "mnist", "--data-dir", "data", "--run-dir", "run"], tmp_path, plant)
        wait_for(lambda: connections, process)
        code, err, seconds = stop(process, signum)
        connections[0][0].close()
    assert code == EXIT[signum]
    assert err == f"{WORD[signum]}\n"
    assert seconds < 14
    assert [name for _, _, names in os.walk(tmp_path / "data") for name in names] == []
    assert not (tmp_path / "run").exists()
