"""What a run learns, by every optimizer, schedule and loss, and the targets that a loss is not for."""

import dataclasses

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.errors import ConfigError, DataError
from tests.conftest import numbers_to_predict


@pytest.mark.parametrize("backend", ["optimized", "stepped", "mixed", "cpu", "auto"])
def test_a_network_learns_to_tell_the_classes_apart(backend, config, blobs):
    result = nf.fit(dataclasses.replace(config, backend=backend), blobs)
    assert result.test_accuracy > 0.95
    assert result.history[0]["train_loss"] > 3 * result.history[-1]["train_loss"]


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        ("momentum", "one-cycle"),
        ("nesterov", "exponential"),
        ("adam", "constant"),
        ("adamw", "constant"),
        ("lion", "constant"),
        ("muon", "constant"),
    ],
)
def test_every_optimizer_learns_and_so_does_it_by_a_schedule(optimizer, schedule, config, blobs):
    rate = {"momentum": 0.02, "nesterov": 0.02, "muon": 0.02}.get(optimizer, 0.005)
    changes = {"optimizer": optimizer, "schedule": schedule, "learning_rate": rate, "epochs": 10}
    assert nf.fit(dataclasses.replace(config, **changes), blobs).test_accuracy > 0.9


@pytest.mark.parametrize("loss", ["mse", "binary-cross-entropy"])
def test_every_loss_learns_classes(loss, config, blobs):
    result = nf.fit(dataclasses.replace(config, loss=loss, learning_rate=0.3, epochs=15), blobs)
    assert result.test_accuracy > 0.9


@pytest.mark.smoke
def test_softmax_regression_learns(config, blobs):
    assert nf.fit(dataclasses.replace(config, hidden=()), blobs).test_accuracy > 0.9


TRAINED = {"epochs": 25, "optimizer": "adam", "learning_rate": 0.01}


def test_a_regression_learns_numbers(config):
    data = numbers_to_predict(lambda z: z)
    result = nf.fit(dataclasses.replace(config, loss="mse", **TRAINED), data)
    assert result.test_accuracy is None
    assert result.test_loss < 0.1 * float(data.test.targets.var())


@pytest.mark.parametrize("loss", ["mae", "huber"])
def test_a_loss_of_numbers_learns_them(loss, config):
    data = numbers_to_predict(lambda z: z)
    result = nf.fit(dataclasses.replace(config, loss=loss, **TRAINED), data)
    off = nf.predict(result.model, result.params, data.test.inputs) - data.test.targets
    assert np.abs(off).mean() < 0.15


def test_quantiles_hold_their_share_of_the_numbers_and_come_back_with_the_model(config, tmp_path):
    noise = np.random.default_rng(1).exponential(size=(400, 2))
    data = numbers_to_predict(lambda z: z + noise)
    quantiles = (0.1, 0.5, 0.9)
    result = nf.fit(
        dataclasses.replace(config, loss="quantile", quantiles=quantiles, **TRAINED),
        data,
        nf.RunOptions(run_dir=tmp_path / "run"),
    )
    model, params = nf.load(tmp_path / "run")
    assert model.spec.quantiles == quantiles
    outputs = nf.predict(model, params, data.test.inputs).reshape(100, 2, 3)
    shares = (data.test.targets[:, :, None] <= outputs).mean(axis=(0, 1))
    np.testing.assert_allclose(shares, quantiles, atol=0.12)
    assert result.test_loss == pytest.approx(nf.evaluate(model, params, data.test).loss)


def test_poisson_learns_the_logarithm_of_the_mean_of_counts(config):
    rng = np.random.default_rng(2)
    data = numbers_to_predict(lambda z: rng.poisson(np.exp(z)))
    result = nf.fit(dataclasses.replace(config, loss="poisson", **TRAINED), data)
    mean = nf.predict(result.model, result.params, data.test.inputs)
    deviation = ((mean - data.test.targets) ** 2).mean()
    assert deviation < 0.6 * data.test.targets.var()


def test_several_labels_are_learnt_each_for_itself(config):
    data = numbers_to_predict(lambda z: z > 0)
    result = nf.fit(dataclasses.replace(config, loss="binary-cross-entropy", **TRAINED), data)
    found = nf.predict(result.model, result.params, data.test.inputs) > 0
    assert (found == data.test.targets).mean() > 0.95
    assert result.test_accuracy is None


def test_cross_entropy_on_numbers_is_refused(config):
    x = np.ones((40, 3), np.float32)
    y = np.linspace(0, 1, 40)
    with pytest.raises(ConfigError, match=r"--loss cross-entropy needs classes.*use --loss mse"):
        nf.fit(dataclasses.replace(config, loss="cross-entropy"), Dataset.from_arrays(x, y, x, y))


def test_a_loss_of_numbers_on_classes_says_how_to_make_them_quantities(config, blobs):
    """Counts of 0 to 9 are classes unless something else is said."""
    with pytest.raises(ConfigError, match="or --task regression where they are quantities"):
        nf.fit(dataclasses.replace(config, loss="poisson"), blobs)


@pytest.mark.parametrize(
    ("loss", "target", "sentence"),
    [
        (
            "poisson",
            lambda z: z,
            r"target of training sample \d+ is -[\d.]+, and --loss poisson takes counts",
        ),
        ("binary-cross-entropy", lambda z: z, r"takes classes, or labels that are 0 or 1; use --loss mse"),
    ],
)
def test_numbers_that_a_loss_has_no_value_for_are_refused_by_name(loss, target, sentence, config):
    with pytest.raises(DataError, match=sentence):
        nf.fit(dataclasses.replace(config, loss=loss), numbers_to_predict(target))


def test_label_smoothing_of_numbers_is_refused(config):
    with pytest.raises(
        ConfigError, match=r"--label-smoothing 0.1 is for classes, and the targets are numbers"
    ):
        nf.fit(dataclasses.replace(config, loss="mse", label_smoothing=0.1), numbers_to_predict(lambda z: z))
