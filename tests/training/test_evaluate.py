"""Loss and accuracy of a network on some samples."""

from dataclasses import replace

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.population import build_population, member
from tests.conftest import make_blobs


def test_evaluation_counts_every_sample_once(small_config, monkeypatch):
    """Odd sizes, so that the last chunk has padding; against the logits, sample by sample."""
    monkeypatch.setattr("neuroforge_jax.training.evaluate.CHUNK", 32)
    dataset = make_blobs(200)
    model, state = nf.init(small_config, dataset)
    logits = nf.predict(model, state.params, dataset.train.inputs)
    shifted = np.float64(logits) - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    labels = dataset.train.targets
    evaluation = nf.evaluate(model, state.params, dataset.train)
    assert evaluation.samples == 200
    assert evaluation.accuracy == pytest.approx((logits.argmax(axis=1) == labels).mean(), abs=1e-9)
    assert evaluation.loss == pytest.approx(-log_softmax[np.arange(200), labels].mean(), rel=1e-5)


def test_samples_count_by_their_weights(small_config, blobs, monkeypatch):
    """One of weight 0 is not there, one of weight 3 is there three times; in whatever unit weights are."""
    monkeypatch.setattr("neuroforge_jax.training.evaluate.CHUNK", 32)
    model, state = nf.init(small_config, blobs)
    test = blobs.test
    times = np.arange(len(test)) % 4
    weighted = nf.evaluate(model, state.params, replace(test, weights=0.3 * times.astype(np.float32)))
    repeated = nf.evaluate(model, state.params, test[np.repeat(np.arange(len(test)), times)])
    assert weighted.samples == len(test)
    assert weighted.numbers == pytest.approx(repeated.numbers, rel=1e-5)
    assert weighted.loss != pytest.approx(nf.evaluate(model, state.params, test).loss, rel=1e-3)


@pytest.mark.parametrize("monitor", ["loss", "roc-auc"])
def test_networks_that_are_evaluated_at_once_are_evaluated_as_each_alone(small_config, blobs, monitor):
    config = replace(small_config, monitor=monitor, validation_fraction=0.2)
    job = build_population(config, blobs, seeds=[1, 2, 3])
    params, alone = job.start().params, job.evaluator(blobs.test)
    each = job.evaluator_of_members(blobs.test)(params)
    assert len(each) == 3
    for index, evaluation in enumerate(each):
        wanted = alone(member(params, index))
        assert evaluation.samples == wanted.samples == len(blobs.test)
        assert set(evaluation.numbers) == {"loss", "accuracy", monitor}
        assert evaluation.numbers == pytest.approx(wanted.numbers, rel=1e-5)
