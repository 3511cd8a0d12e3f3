"""First fits of processes: what is kept for the second, and what is to be reached."""

import pytest

from neuroforge_jax.benchmarking.drop_in import first_fits
from neuroforge_jax.benchmarking.drop_in.first_fits import KEPT, NOTHING_KEPT, FirstFit, cases, fit_in_process
from neuroforge_jax.benchmarking.drop_in.networks import ONE_THREAD, THEIRS
from neuroforge_jax.benchmarking.options import BenchOptions


def test_the_second_process_of_ours_has_the_folder_of_the_first_and_each_turn_an_empty_one(monkeypatch):
    calls = []

    def fit(who, data, cache):
        calls.append((who, data, cache))
        return FirstFit({NOTHING_KEPT: 4.0, KEPT: 2.0, THEIRS: 1.0, ONE_THREAD: 3.0}[who], 0.5, 6.0)

    monkeypatch.setattr(first_fits, "fit_in_process", fit)
    rows = list(cases(BenchOptions(only="sklearn/first fit of digits/*", seeds=2), lambda: 0.001))
    order = [NOTHING_KEPT, KEPT, THEIRS, ONE_THREAD]
    assert [who for who, *_ in calls] == [*order, *order[2:], *order[:2]]
    assert {data for _, data, _ in calls} == {"digits"}
    folders = [cache for *_, cache in calls]
    assert len(set(folders[:4])) == len(set(folders[4:])) == 1
    assert folders[0] != folders[4]
    assert [row["name"] for row in rows] == first_fits.names()[:4]
    assert [row["goals"][0]["reached"] for row in rows[:2]] == [True, True]
    assert rows[1]["goals"][0]["value"] == 1.0
    assert rows[0]["process_seconds"]["median"] == 6.0
    assert "goals" not in rows[2]


@pytest.mark.slow
def test_a_process_tells_the_seconds_of_its_fit_apart_from_its_imports(tmp_path, monkeypatch):
    monkeypatch.setattr(first_fits, "MAX_ITER", 2)
    for who in (NOTHING_KEPT, THEIRS):
        told = fit_in_process(who, "breast-cancer", str(tmp_path))
        assert 0 < told.fit < told.fit + told.imports < told.process
