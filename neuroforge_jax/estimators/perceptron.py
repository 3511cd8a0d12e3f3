"""What both estimators are: parameters in, a training by the project's job, scikit-learn's attributes out."""

import warnings
from abc import abstractmethod
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.estimators.combinations import check_combinations
from neuroforge_jax.estimators.ensemble import stack_members
from neuroforge_jax.estimators.errors import in_terms_of_parameters
from neuroforge_jax.estimators.inputs import add_target
from neuroforge_jax.estimators.parameters import (
    AUTO_BATCH,
    hidden_sizes,
    make_config,
)
from neuroforge_jax.estimators.rows import (
    Batches,
    Given,
    Part,
    make_batches,
    make_dataset,
    store_rows,
)
from neuroforge_jax.estimators.solvers import Solvers
from neuroforge_jax.estimators.stopping import Curve
from neuroforge_jax.estimators.threads import follow_thread_limit
from neuroforge_jax.estimators.training import build_job
from neuroforge_jax.estimators.weights import draw_weights, to_params
from neuroforge_jax.job.job import Job

SOLVERS_OF_STEPS = ("sgd", "adam")


def trains_in_steps(estimator: "Perceptron") -> bool:
    """Whether it can go on by single passes. Raises AttributeError where it cannot."""
    if estimator.solver not in SOLVERS_OF_STEPS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


class Perceptron(Solvers):
    """What both estimators share. The network's outputs are read by the estimators themselves."""

    @abstractmethod
    def _read_targets(self, X: Any, y: Any, *, fresh: bool, incremental: bool) -> tuple[Any, Targets]:
        """Checked rows and targets as a training has them."""

    @abstractmethod
    def _target(self) -> tuple[Target, str, int]:
        """What is predicted, the loss by its name here, and the outputs of the network."""

    @abstractmethod
    def _activation_of_outputs(self) -> str:
        """`out_activation_`."""

    def _class_weights(self, y: Any, weights: np.ndarray | None) -> np.ndarray | None:
        """How much more each row counts in the training by its class."""
        return None

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any] | None = None,
        *,
        incremental: bool = False,
    ) -> Self:
        """Train, or one pass more. validation: rows and targets to select by."""
        follow_thread_limit()
        sizes = hidden_sizes(self.hidden_layer_sizes)
        fresh = not hasattr(self, "_network") or not (self.warm_start or incremental)
        parameters = self.get_params(deep=False)
        check_combinations(
            parameters, steps=self._trains_in_steps, held_out=validation is not None,
            incremental=incremental, members=None if fresh else self._network.members or 1,
        )  # fmt: skip
        given, dtype = self._read(X, y, sample_weight, fresh=fresh, incremental=incremental)
        random = check_random_state(self.random_state)
        target, loss, outputs = self._target()
        width = given.rows.shape[1]
        if self.schema_ is not None:
            self.schema_, target = add_target(self.schema_, y, target)
            width = self.schema_.plan().width
        widths = (width, *sizes, outputs)
        draw = partial(draw_weights, random, widths, self.activation)
        drawn = [draw()] if fresh else []
        if fresh:
            self._begin(len(widths), outputs, dtype)
        else:
            self._check_network(widths)
        part, held_out = self._split(given, validation, random)
        part, calibration_rows = self._hold_out_for_calibration(part, held_out, random)
        batches = make_batches(part, self._wanted_batch(len(part[0])), all_at_once=not self._trains_in_steps)
        dataset = make_dataset(
            batches.train, held_out, target, scales=self.scale, schema=self.schema_,
            fitted=None if fresh else self._network.fitted,
        )  # fmt: skip
        seeds = [int(random.randint(2**31 - 1))]
        for _ in range(self.n_ensemble - 1):
            drawn += [draw()] if fresh else []
            seeds.append(int(random.randint(2**31 - 1)))
        with in_terms_of_parameters():
            job = self._build_job(parameters, dataset, batches, loss, outputs, seeds)
            mlp = job.model.mlp
            first = (
                stack_members([to_params(mlp, *each) for each in drawn])
                if fresh
                else self._current_network().params
            )
            if self._trains_in_steps:
                self._train_in_steps(job, first, dtype, len(part[0]), incremental=incremental)
            else:
                self._search(job, first, loss, batches.weight, dtype)
        self._check_weights()
        self._calibrate(calibration_rows)
        return self

    def _read(
        self, X: Any, y: Any, sample_weight: Any, *, fresh: bool, incremental: bool
    ) -> tuple[Given, np.dtype]:
        """What the training is given, checked, and the dtype of what the estimator shows."""
        rows, targets = self._read_targets(X, y, fresh=fresh, incremental=incremental)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, rows)
        if weights is not None and (weights < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`.")
        plain = rows.dtype == np.float32 and self.schema_ is None
        given = Given(store_rows(rows), targets, weights, self._class_weights(y, weights))
        if (counts := given.part[2]) is not None and not counts.any():
            raise ValueError("No row counts: sample_weight and class_weight are 0 for each.")
        return given, np.dtype(np.float32 if plain else np.float64)

    def _build_job(
        self,
        given: dict[str, Any],
        dataset: Dataset,
        batches: Batches,
        loss: str,
        outputs: int,
        seeds: list[int],
    ) -> Job:
        """given: the parameters of the estimator. Of a batch of all rows the order would only round otherwise."""
        parameters = {**given, "shuffle": given["shuffle"] and not batches.has_all_rows}
        config = make_config(
            parameters, loss=loss, outputs=outputs, batch_size=batches.size, total_weight=batches.weight,
            seed=seeds[0],
        )  # fmt: skip
        return build_job(config, dataset, seeds if self._trains_in_steps else seeds[:1])

    def _hold_out_for_calibration(
        self, part: Part, held_out: Split | None, random: np.random.RandomState
    ) -> tuple[Part, Split | None]:
        """The rows to train on, and those to calibrate by."""
        return part, None

    def _calibrate(self, rows: Split | None) -> None:
        """Make what is said of rows true of these on average."""

    def _begin(self, layers: int, outputs: int, dtype: np.dtype) -> None:
        """Forget what was learnt before."""
        self._curve = Curve()
        self._state = None
        self._passes = 0
        self._dtype = dtype
        self.n_layers_, self.n_outputs_ = layers, outputs
        self.out_activation_ = self._activation_of_outputs()

    def _check_network(self, widths: tuple[int, ...]) -> None:
        """Raises ValueError where the network whose training goes on is of other layers than are asked for."""
        there = (*(matrix.shape[-2] for matrix in self.coefs_), self.coefs_[-1].shape[-1])
        kinds = self._network.spec.mlp.normalization, self.normalization
        if there != widths or kinds[0] != kinds[1]:
            raise ValueError(
                f"the training of a network of layers {there} with normalization={kinds[0]!r} goes on, and "
                f"{widths} with {kinds[1]!r} is asked for: its layers stay; fit anew for others"
            )

    def _split(
        self, given: Given, validation: tuple[Any, Any] | None, random: np.random.RandomState
    ) -> tuple[Part, Split | None]:
        """The rows to train on, counted by their class too, and those to select by."""
        if validation is not None:
            rows, targets = self._read_targets(*validation, fresh=False, incremental=True)
            if targets.shape[1:] != given.targets.shape[1:]:
                raise ValueError(f"y_val has shape {targets.shape}, and y has {given.targets.shape}.")
            return given.part, Split(store_rows(rows), targets)
        if not (self.early_stopping and self._trains_in_steps):
            return given.part, None
        share = self.validation_fraction
        return given.hold_out(share, random, self._strata(given.targets, share))

    def _wanted_batch(self, rows: int) -> int:
        """Rows of a step, of so many that there are."""
        if self.batch_size == "auto":
            return min(AUTO_BATCH, rows)
        if self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=4,
            )
        return min(int(self.batch_size), rows)

    def _strata(self, targets: Targets, share: float) -> np.ndarray | None:
        """What is to be as frequent among held-out rows as among the others. share: of the rows, held out."""
        return None

    def _pair_validation(self, X_val: Any, y_val: Any) -> tuple[Any, Any] | None:
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val come together: give both or neither.")
        return None if X_val is None else (X_val, y_val)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
