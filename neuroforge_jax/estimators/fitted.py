"""What is left of a training: the network of an estimator, its members, its run, and its forms on disk."""

from abc import ABCMeta, abstractmethod
from copy import copy
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from neuroforge_jax.data.schema import Schema
from neuroforge_jax.estimators.inputs import read_rows
from neuroforge_jax.estimators.network import Network
from neuroforge_jax.estimators.rows import Rows, store_blocks
from neuroforge_jax.estimators.saving import check_alone, load_estimator, save_estimator
from neuroforge_jax.estimators.stopping import Curve
from neuroforge_jax.estimators.threads import follow_thread_limit
from neuroforge_jax.estimators.weights import from_params, to_params
from neuroforge_jax.run import Result


def is_an_ensemble(estimator: "FittedEstimator") -> bool:
    """Whether it has several networks. Raises AttributeError where it has one."""
    if estimator.n_ensemble < 2:
        raise AttributeError("predict_std is the spread of an ensemble: set n_ensemble to 2 or more")
    return True


class FittedEstimator(BaseEstimator, metaclass=ABCMeta):
    """An estimator as it is once it is fitted.

    schema_: what was made of the columns of a data frame; None of arrays, and of a frame of plain numbers.
    """

    schema_: Schema | None
    n_ensemble: int
    _curve: Curve
    _dtype: np.dtype

    def _set_network(self, network: Network, dtype: np.dtype) -> None:
        self._network = network
        self.coefs_, self.intercepts_ = from_params(network.spec.mlp, network.params, dtype)

    def _current_network(self) -> Network:
        """The network, with the weights that `coefs_` and `intercepts_` have now, replaced or changed in place."""
        own = to_params(self._network.spec.mlp, self.coefs_, self.intercepts_)
        params = {
            layer: {**leaves, "kernel": own[layer]["kernel"], "bias": own[layer]["bias"]}
            for layer, leaves in self._network.params.items()
        }
        same = jax.tree.all(jax.tree.map(np.array_equal, params, self._network.params))
        return self._network if same else self._network.with_params(params)

    def _with_answers(self) -> Network:
        """The network whose outputs any reader of a model understands, as it is saved."""
        return self._current_network()

    def _show_curve(self, curve: Curve, *, selects: bool) -> None:
        """What was seen of the training, as attributes."""
        self.t_, self.loss_, self.loss_curve_ = curve.rows, curve.losses[-1], curve.losses
        self._no_improvement_count = curve.stale
        self.best_loss_ = None if selects else curve.best_loss
        self.validation_scores_ = curve.scores if selects else None
        self.best_validation_score_ = curve.best_score if selects else None

    def _outputs(self, X: Any) -> tuple[np.ndarray, np.dtype]:
        """What each network says of rows, f32 [P, N, C], and the dtype in which it is shown; one that is alone is
        its only member.
        """
        check_is_fitted(self)
        follow_thread_limit()
        rows = read_rows(self, X)
        said = [self._ask(block) for block in store_blocks(rows)]
        shown: np.dtype = np.result_type(self._dtype, rows.dtype)
        return said[0] if len(said) == 1 else np.concatenate(said, axis=1), shown

    def _ask(self, rows: Rows) -> np.ndarray:
        """The same of rows as they are stored."""
        said = [network.outputs(rows) for network in self._current_network().each]
        return said[0][None] if len(said) == 1 else np.stack(said)

    @property
    def members_(self) -> list[Self]:
        """The networks of an ensemble as estimators of one network each, uncalibrated; else the estimator alone."""
        if not hasattr(self, "_network"):
            raise AttributeError("members_ is there once the estimator is fitted")
        each = self._current_network().each
        return [self] if len(each) == 1 else [self._member(at, network) for at, network in enumerate(each)]

    def _member(self, index: int, network: Network) -> Self:
        one = copy(self)
        one.n_ensemble, one._state = 1, None
        one._set_network(network, self._dtype)
        one.__dict__.pop("temperature_", None)
        if self._curve.members:
            one._curve = self._curve.members[index]
            one._show_curve(one._curve, selects=self.validation_scores_ is not None)
        return one

    @property
    def result_(self) -> Result:
        """The run, as `nf.fit` returns one; of two classes the model has an output for each."""
        if not hasattr(self, "_network"):
            raise AttributeError("result_ is there once the estimator is fitted")
        if self._network.members is not None:
            raise AttributeError(
                "an ensemble has no one result_: its networks are members_, and each has one"
            )
        network = self._with_answers()
        history, figures = self._run
        return Result(network.model, network.params, history, figures)

    def save(self, path: str | Path) -> None:
        """Write a folder from which `load` gives back the estimator, and `nf.load` its network; no pickle.

        Parameters that JSON does not hold, such as callbacks, are left at their defaults, with a warning; so is the
        optimizer's state. Raises ValueError for an ensemble, CheckpointError where it cannot be written.
        """
        check_is_fitted(self)
        check_alone(self, "save")
        save_estimator(self, self._with_answers(), path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator that `save` wrote; nothing in its files is executed.

        Raises CheckpointError, in one line, for a file that is missing or damaged, and for another estimator's.
        """
        estimator: Self = load_estimator(cls, path)
        return estimator

    @abstractmethod
    def to_sklearn(self) -> Any:
        """scikit-learn's estimator of the same kind, fitted: it predicts the same, and goes on by itself.

        What concerns the training here alone, such as dropout, stays behind. Raises ValueError for a network that
        scikit-learn's cannot be: another activation, normalization, a frame's columns, an ensemble.
        """

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network")

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_network" in state:
            state["_network"] = self._current_network()
        return state
