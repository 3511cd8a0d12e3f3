"""The verifying command: what it prints and records, its exit codes, and --verify on train."""

import json
from pathlib import Path

import pytest

import neuroforge_jax as nf
from neuroforge_jax import train, verify
from neuroforge_jax.backends import table as backends
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.verification import checks
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.faults import FAULTS
from neuroforge_jax.verification.verdict import Check, Verdict
from tests.recorder import Recorder

FEW = ("tanh, binary, smoothed", "sgd")


@pytest.fixture(autouse=True)
def few_cases(tmp_path, monkeypatch):
    """Two cases show what the command does with them."""
    monkeypatch.chdir(tmp_path)
    few = tuple(case for case in standard_cases() if case.name in FEW)
    monkeypatch.setattr(checks, "standard_cases", lambda: few)


@pytest.fixture
def path_alone(monkeypatch):
    """Where one case shows it too."""
    alone = tuple(case for case in standard_cases() if case.name == "sgd")
    monkeypatch.setattr(checks, "standard_cases", lambda: alone)


def run(main, args, capsys):
    try:
        code = main(args)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.slow
def test_every_backend_is_verified_or_said_to_be_skipped(capsys, monkeypatch, path_alone):
    # The naive one compiles each operation on its own, a minute of it; its verification is a slow test.
    table = {name: backend for name, backend in BACKENDS.items() if name != "naive"}
    monkeypatch.setattr(backends, "BACKENDS", table)

    code, out, err = run(verify.main, ["--output", "verify.json"], capsys)
    assert (code, err) == (0, "")
    record = json.loads(Path("verify.json").read_text())
    assert record["passed"] is True
    assert record["tolerance"] == 1e-6
    verified = [backend["backend"] for backend in record["backends"]]
    assert verified[0] == "oracle"
    assert {"cpu", "stepped", "optimized", "mixed"} <= set(verified)
    assert set(verified[1:]) | set(record["skipped"]) == set(table)
    assert "needs cuda" in record["skipped"]["cuda-optimized"]
    one = record["backends"][1]["checks"][0]
    assert set(one) == {"group", "case", "what", "error", "bound", "passed"}
    assert "jax" in record["environment"]["versions"]
    assert "as cpu" in out
    assert "WRONG" not in out
    assert max(map(len, out.splitlines()[: out.splitlines().index(f"{'optimized':<22}as cpu")])) <= 100


def test_a_planted_fault_is_named_with_code_7(capsys):
    args = ["--backend", "optimized", "--break", "missing-mean", "--output", "verify.json"]
    code, out, err = run(verify.main, args, capsys)
    assert code == 7
    assert err.startswith("error: missing-mean (the gradient is the batch's sum")
    assert "is found in optimized" in err
    assert len(err.splitlines()) == 1
    assert "WRONG" in out
    record = json.loads(Path("verify.json").read_text())
    assert record["passed"] is False
    assert record["backends"][1]["fault"] == "missing-mean"


def test_a_fault_that_no_check_depends_on_is_said_to_be_missed(capsys, monkeypatch):
    harmless = FAULTS["stale-bias"].__class__("harmless", "nothing", lambda job: job.parts)
    monkeypatch.setitem(FAULTS, "harmless", harmless)
    code, out, _ = run(verify.main, ["--backend", "stepped", "--break", "harmless"], capsys)
    assert code == 0
    assert "harmless was planted and not found" in out


def test_the_faults_are_listed(capsys):
    code, out, _ = run(verify.main, ["--break", "list"], capsys)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(FAULTS)


def test_a_tolerance_that_nothing_meets_fails_and_is_said(capsys):
    code, out, err = run(verify.main, ["--backend", "stepped", "--tolerance", "1e-12"], capsys)
    assert code == 7
    assert "--tolerance 1e-12 is allowed to float32 in logits, loss, gradients and 1 step" in out
    assert err.startswith("error: wrong: stepped. stepped: ")
    assert "allowed 1.0e-12" in err


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        ("--backend nonsense", 2, "unknown backend 'nonsense'"),
        ("--backend cuda-optimized", 5, "needs cuda"),
        ("--break nonsense", 2, "unknown fault 'nonsense': known are missing-mean"),
        ("--tolerance 0", 2, "--tolerance 0"),
        ("--tolerance nan", 2, "--tolerance nan"),
        ("--config none.py", 2, "no such config file"),
        ("--output none/verify.json", 2, "there is no folder none"),
    ],
)
def test_a_mistake_is_one_line(args, code, sentence, capsys):
    found, out, err = run(verify.main, args.split(), capsys)
    assert found == code
    assert sentence in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert out == ""


def test_a_config_is_verified_at_its_own_sizes(capsys):
    config = {
        "dataset": "digits",
        "hidden": [33],
        "optimizer": "adam",
        "schedule": "cosine",
        "batch_size": 50,
    }
    Path("own.json").write_text(json.dumps(config | {"backend": "stepped", "dropout": 0.5}))
    code, out, err = run(verify.main, ["--config", "own.json", "--output", "verify.json"], capsys)
    assert (code, err) == (0, "")
    assert "dropout is off; every bound is derived" in out
    record = json.loads(Path("verify.json").read_text())
    assert [backend["backend"] for backend in record["backends"]] == ["oracle", "stepped"]
    assert {check["group"] for check in record["backends"][1]["checks"]} >= {"gradients", "adam, 20 steps"}


def test_an_optimizer_that_the_oracle_lacks_is_refused(capsys):
    Path("own.json").write_text(json.dumps({"dataset": "digits", "optimizer": "muon"}))
    code, _, err = run(verify.main, ["--config", "own.json"], capsys)
    assert code == 2
    assert "the oracle has no optimizer 'muon'" in err


TRAIN = ["--dataset", "digits", "--hidden", "16", "--epochs", "1", "--batch-size", "64", "--verify"]


def test_train_verifies_first(capsys, path_alone):
    """With an optimizer that the oracle does not have: the network is verified all the same."""
    flags = "--backend stepped --precision bf16 --optimizer lion --beta2 0.95 --learning-rate 0.001"
    code, out, err = run(train.main, [*TRAIN, *flags.split()], capsys)
    assert (code, err) == (0, "")
    assert out.startswith("verified  ")
    assert "checks against a float64 oracle" in out.splitlines()[0]
    assert out.index("verified") < out.index("epoch   1")


def test_train_ends_with_code_7_before_anything_is_trained(capsys, path_alone):
    code, out, err = run(train.main, [*TRAIN, "--tolerance", "1e-12"], capsys)
    assert (code, out) == (7, "")
    assert err.startswith("error: backend 'optimized' is wrong: ")
    assert len(err.splitlines()) == 1
    assert not Path("runs").exists()


def verdict(*errors):
    """Of one check for each of these errors, of which at most 1 is allowed."""
    return Verdict(
        "optimized", "", tuple(Check("loss", "made up", "loss", error, 1.0) for error in errors), 0.0
    )


def come_to(monkeypatch, standard, own):
    """What --verify finds: on the standard cases, and on the network and the data of the run."""
    monkeypatch.setattr(checks, "verify_backend", lambda *args, **named: standard)
    monkeypatch.setattr(checks, "verify_training", lambda *args, **named: own)


@pytest.mark.parametrize(
    ("standard", "own"),
    [(verdict(0.5, 0.5), verdict(0.5, 2.0)), (verdict(0.5, 2.0), verdict(0.5, 0.5))],
    ids=["own data", "standard cases"],
)
def test_what_fails_on_the_standard_cases_or_on_its_own_data_is_not_trained(
    standard, own, capsys, monkeypatch
):
    come_to(monkeypatch, standard, own)
    code, out, err = run(train.main, TRAIN, capsys)
    assert (code, out) == (7, "")
    assert "backend 'optimized' is wrong: 1 of 2 checks failed: loss of 'made up': error 2.0e+00" in err


def test_how_many_checks_were_of_its_own_data_is_told(blobs, small_config, monkeypatch):
    come_to(monkeypatch, verdict(0.5, 0.25), verdict(0.5, 0.5, 0.5))
    recorder = Recorder()
    nf.fit(small_config, blobs, nf.RunOptions(verify=True), callbacks=[recorder])
    assert recorder.all("note") == [
        "verified  2 checks against a float64 oracle; at most 50% of what is allowed; "
        "its own network and data in 3 more"
    ]


def test_a_tolerance_without_verify_is_refused(capsys):
    code, _, err = run(train.main, ["--tolerance", "1e-6"], capsys)
    assert code == 2
    assert "--tolerance is what --verify accepts" in err
