"""Texts between processes, with the store of jax's service in the place of the network."""

import dataclasses

import pytest

from neuroforge_jax.config import RunOptions, TrainConfig
from neuroforge_jax.errors import CheckpointError, ConfigError, DataError, DeviceError
from neuroforge_jax.system import matching
from neuroforge_jax.system import peers as module
from neuroforge_jax.system.agreement import Agreement
from neuroforge_jax.system.matching import check_same_command, check_same_data, share_folder
from neuroforge_jax.system.peers import PeerEndedError, Peers, explain_failed_collectives
from neuroforge_jax.system.signals import SignalWatch
from tests.system.store import Store, together

OPTIONS = RunOptions(heartbeat_seconds=3)


@pytest.fixture(autouse=True)
def look_often(monkeypatch):
    monkeypatch.setattr(module, "LOOK_MS", 20)
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 0.3)


def test_one_process_asks_nobody():
    alone = Peers()
    assert (alone.gather("a"), alone.decide(lambda: 3), alone.posted("x")) == (["a"], 3, {})
    alone.say_farewell("it")


def test_all_hear_what_each_says_and_what_the_first_decides():
    def meet(peers):
        return peers.gather(f"process {peers.process}"), peers.decide(lambda: [peers.process, "by the first"])

    heard = ["process 0", "process 1", "process 2"], [0, "by the first"]
    assert together(meet, 3) == [heard] * 3


def test_the_store_does_not_grow_with_the_decisions():
    store = Store()
    first = Peers(store, 0, 2)
    assert [first.decide(lambda: 1) for _ in range(200)] == [1] * 200
    assert len(store.texts) == module.KEPT


def test_who_waits_for_a_process_that_has_failed_hears_its_reason():
    def one_fails(peers):
        return peers.say_farewell("no such file") if peers.process else peers.wait()

    ended = together(one_fails)[0]
    assert isinstance(ended, PeerEndedError)
    assert str(ended) == "process 1 of 2 has ended (no such file), and all end with it"


def test_a_computation_that_fails_by_a_lost_process_is_told_with_its_reason():
    def collective(peers):
        if peers.process:
            peers.post("ended", "out of memory")
            return
        with explain_failed_collectives(peers, OPTIONS):
            raise ValueError("UNKNOWN: Gloo all-reduce failed: Connection closed by peer")

    assert "process 1 of 2 has ended (out of memory)" in str(together(collective)[0])


def test_errors_of_other_kinds_are_what_they_were():
    with (
        pytest.raises(ValueError, match="shapes"),
        explain_failed_collectives(Peers(Store(), 0, 2), OPTIONS),
    ):
        raise ValueError("shapes differ")


def test_a_signal_to_any_process_is_received_by_all_at_the_same_step():
    def segments(peers):
        signals = SignalWatch()
        agreement, received = Agreement(peers, signals), []
        for step in range(1, 6):
            if step == 3 and peers.process == 1:
                signals.heard = 15
            assert agreement.decide_segment(lambda step=step: step) == step
            received.append(signals.received)
            peers.wait()  # as the collectives of a segment do
        return received

    first, second = together(segments)
    assert first == second
    assert set(first[:2]) == {None}
    assert first[-1] == 15


def test_what_differs_is_named_on_every_process():
    def flags(peers):
        config = TrainConfig(learning_rate=0.01 + peers.process)
        check_same_command(peers, config, OPTIONS)

    sentence = (
        "process 1 of 2 was started with --learning-rate 1.01, and process 0 with 0.01; start all with the "
    )
    for error in together(flags):
        assert isinstance(error, ConfigError)
        assert sentence in str(error)


def test_where_files_lie_and_who_a_process_is_may_differ(tmp_path):
    def own(peers):
        options = dataclasses.replace(OPTIONS, data_dir=tmp_path / str(peers.process))
        return check_same_command(peers, TrainConfig(), options)

    assert together(own) == [None, None]


def test_another_version_is_named(monkeypatch):
    versions = iter(["0.12.0", "0.12.1"])
    monkeypatch.setattr(matching, "installed_version", lambda _: next(versions))
    for error in together(lambda peers: check_same_command(peers, TrainConfig(), OPTIONS)):
        assert isinstance(error, DeviceError)
        assert "process 1 of 2 has another version of jaxlib than process 0" in str(error)


def test_other_data_are_named():
    def load(peers):
        check_same_data(peers, lambda: {"name": "iris", "samples": 150, "sha256": str(peers.process)})

    for error in together(load):
        assert isinstance(error, DataError)
        assert "process 1 of 2 has iris, 150 samples, and others than process 0" in str(error)


def test_the_folder_of_the_first_is_that_of_all(tmp_path):
    def share(peers):
        return share_folder(peers, tmp_path if peers.process == 0 else None)

    assert together(share) == [tmp_path, tmp_path]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_a_process_does_not_see_is_refused_by_all(tmp_path, monkeypatch):
    see, blind = matching._see, iter([False, True])
    monkeypatch.setattr(matching, "_see", lambda file: "" if next(blind) else see(file))
    for error in together(lambda peers: share_folder(peers, tmp_path if peers.process == 0 else None)):
        assert isinstance(error, CheckpointError)
        assert f"does not see the run's folder {tmp_path} of process 0" in str(error)
