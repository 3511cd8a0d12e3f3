import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import DeviceError
from neuroforge_jax.estimators.errors import in_terms_of_parameters, name_parameters

rng = np.random.default_rng(3)
X = rng.normal(size=(40, 3))
Y = X[:, 0]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("--batch-size 64 fits", "batch_size=64 fits"),
        (
            "no batch size fits: make --hidden smaller, take fewer --train-samples, or stream them by --async-ops",
            "no batch size fits: make hidden_layer_sizes smaller, take fewer rows, or backend='async'",
        ),
        ("use --backend optimized or mixed, or run it", "use backend='optimized' or mixed, or run it"),
        ("--learning-rate 1e+09: it takes", "learning_rate_init=1e+09: it takes"),
        ("--quantiles 0.9 0.1: it takes", "quantiles=(0.9, 0.1): it takes"),
        ("--precision 'p=f8': it takes", "precision='p=f8': it takes"),
        ("--precision f32 is as fast", "precision='f32' is as fast"),
        (
            "--loss poisson takes counts; use --loss mse",
            "loss poisson takes counts; use loss='squared_error'",
        ),
        ("--precision says in which dtypes", "precision says in which dtypes"),
    ],
)
def test_flags_become_parameters(said, wanted):
    assert name_parameters(said) == wanted


def test_what_the_engine_refuses_is_a_value_error_with_the_parameters_name():
    cases = {
        r"hidden_layer_sizes=\(\) for softmax regression": {"hidden_layer_sizes": (2_000_000,)},
        r"learning_rate_init=10000000\.0: it takes a finite number": {"learning_rate_init": 1e7},
        r"unknown backend 'cdua-naive'.*; did you mean 'cuda": {"backend": "cdua-naive"},
        r"unknown precision 'f8': known are": {"precision": "f8"},
        r"quantiles=\(0\.9, 0\.1\): it takes numbers": {"loss": "quantile", "quantiles": (0.9, 0.1)},
    }
    for message, given in cases.items():
        with pytest.raises(ValueError, match=message) as raised:
            nf.MLPRegressor(**given).fit(X, Y)
        assert "--" not in str(raised.value)
        assert "\n" not in str(raised.value)
        assert raised.value.__cause__ is not None


def test_a_device_that_is_not_there_is_a_runtime_error():
    with pytest.raises(RuntimeError, match=r"needs cuda, .* use backend='optimized' or mixed") as raised:
        nf.MLPRegressor(backend="cuda-optimized").fit(X, Y)
    assert isinstance(raised.value.__cause__, DeviceError)


def test_other_errors_are_as_they_are():
    with pytest.raises(KeyError), in_terms_of_parameters():
        raise KeyError("name")


def test_a_target_that_float32_does_not_hold_is_one_error():
    with pytest.raises(ValueError, match=r"y contains a value too large for dtype\('float32'\)"):
        nf.MLPRegressor(max_iter=2).fit(X, np.where(Y > 0, 1e39, 0.0))
