"""Three examples of scikit-learn's documentation, as a user would have them: with its classes, then with ours.

The filters of a first layer on digits, the curves of ways to train, and the boundaries that alpha bends: with both
classes each scores alike, and draws a figure of data of the same shapes.
"""

from dataclasses import dataclass
from itertools import zip_longest
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import load_digits, load_iris, make_circles, make_classification, make_moons
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

matplotlib.use("agg")
import matplotlib.pyplot as plt

OURS = SimpleNamespace(MLPClassifier=nf.MLPClassifier)
THEIRS = SimpleNamespace(MLPClassifier=sklearn.neural_network.MLPClassifier)


@dataclass
class Shown:
    """What an example shows. scores: by name. curves: losses by name. pictures: arrays that are drawn."""

    scores: dict[str, float]
    curves: dict[str, list[float]]
    pictures: list[np.ndarray]


def draw_filters(package, path):
    """What the units of a first layer look for in 8×8 pictures of digits, after few passes of gradient descent."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0)
    network = package.MLPClassifier(
        hidden_layer_sizes=(40,),
        max_iter=15,
        solver="sgd",
        learning_rate_init=0.2,
        random_state=1,
    )
    network.fit(X_train, y_train)
    filters = [column.reshape(8, 8) for column in network.coefs_[0].T[:16]]
    figure, axes = plt.subplots(4, 4)
    limits = {"vmin": network.coefs_[0].min(), "vmax": network.coefs_[0].max()}
    for axis, picture in zip(axes.flat, filters, strict=True):
        axis.matshow(picture, cmap="gray", **limits)
    figure.savefig(path)
    plt.close(figure)
    return Shown({"test": network.score(X_test, y_test)}, {"digits": network.loss_curve_}, filters)


WAYS = {
    "constant rate": {"solver": "sgd", "learning_rate_init": 0.2, "momentum": 0},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.2, "nesterovs_momentum": False},
    "Nesterov's momentum": {"solver": "sgd", "learning_rate_init": 0.2},
    "falling rate": {
        "solver": "sgd",
        "learning_rate_init": 0.2,
        "learning_rate": "invscaling",
        "momentum": 0,
    },
    "adam": {"solver": "adam", "learning_rate_init": 0.01},
}


def compare_ways_to_train(package, path):
    """The loss of each epoch on two small sets of data, for stochastic ways to train the same network."""
    sets = {"iris": load_iris(return_X_y=True), "moons": make_moons(150, noise=0.2, random_state=0)}
    shown = Shown({}, {}, [])
    figure, axes = plt.subplots(1, len(sets))
    for (name, (X, y)), axis in zip(sets.items(), axes, strict=True):
        X = MinMaxScaler().fit_transform(X)
        for way, settings in WAYS.items():
            network = package.MLPClassifier(random_state=0, max_iter=60, batch_size=30, **settings).fit(X, y)
            shown.scores[f"{name}, {way}"] = network.score(X, y)
            shown.curves[f"{name}, {way}"] = network.loss_curve_
            axis.plot(network.loss_curve_, label=way)
        axis.legend()
    figure.savefig(path)
    plt.close(figure)
    return shown


def draw_boundaries(package, path):
    """How alpha bends the boundary between two classes, by L-BFGS."""
    linear = make_classification(
        100, 2, n_redundant=0, n_informative=2, random_state=1, n_clusters_per_class=1
    )
    sets = {
        "moons": make_moons(100, noise=0.3, random_state=0),
        "circles": make_circles(100, noise=0.2, factor=0.5, random_state=1),
        "linear": linear,
    }
    alphas = np.logspace(-1, 1, 3)
    shown = Shown({}, {}, [])
    figure, axes = plt.subplots(len(sets), len(alphas))
    for row, (name, (X, y)) in zip(axes, sets.items(), strict=True):
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
        for axis, alpha in zip(row, alphas, strict=True):
            network = package.MLPClassifier(
                solver="lbfgs",
                alpha=alpha,
                random_state=1,
                max_iter=2000,
                hidden_layer_sizes=[10, 10],
            )
            model = make_pipeline(StandardScaler(), network).fit(X_train, y_train)
            drawn = DecisionBoundaryDisplay.from_estimator(
                model, X, response_method="predict_proba", grid_resolution=20, ax=axis
            )
            shown.pictures.append(drawn.response)
            shown.scores[f"{name}, alpha {alpha:g}"] = model.score(X_test, y_test)
    figure.savefig(path)
    plt.close(figure)
    return shown


@pytest.mark.parametrize(
    ("example", "noise"),
    [(draw_filters, 0.03), (compare_ways_to_train, 0.1), (draw_boundaries, 0.1)],
    ids=["filters", "ways to train", "boundaries"],
)
def test_an_example_shows_the_same_with_either_class(example, noise, tmp_path):
    """noise: how far two scores may be apart, for data of so few rows."""
    theirs = example(THEIRS, tmp_path / "theirs.png")
    ours = example(OURS, tmp_path / "ours.png")

    assert ours.scores.keys() == theirs.scores.keys()
    for name, score in theirs.scores.items():
        assert ours.scores[name] == pytest.approx(score, abs=noise), name
    for name, curve in theirs.curves.items():
        assert ours.curves[name][0] == pytest.approx(curve[0], rel=0.3), name
        assert ours.curves[name][-1] == pytest.approx(curve[-1], rel=0.5), name
    for one, other in zip_longest(ours.pictures, theirs.pictures):
        assert one.shape == other.shape
        assert np.isfinite(one).all()
