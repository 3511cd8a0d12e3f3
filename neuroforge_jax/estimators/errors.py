"""The engine's errors as those of scikit-learn's interface: its kinds, and its names of the parameters."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from neuroforge_jax.errors import DeviceError, UserError
from neuroforge_jax.estimators.parameters import REGRESSION_LOSSES

PARAMETERS = {
    "hidden": "hidden_layer_sizes",
    "learning-rate": "learning_rate_init",
    "weight-decay": "alpha",
    "epochs": "max_iter",
    "beta1": "beta_1",
    "beta2": "beta_2",
    "seed": "random_state",
    **{
        name: name.replace("-", "_")
        for name in (
            "batch-size", "activation", "normalization", "dropout", "loss", "quantiles", "optimizer", "momentum",
            "schedule", "monitor", "backend", "precision", "validation-fraction", "class-weight",
        )
    },
}  # fmt: skip
"""Flag → parameter."""

PHRASES = {
    "give --hidden with no width for softmax regression": "give hidden_layer_sizes=() for softmax regression",
    "take fewer --train-samples, or stream them by --async-ops": "take fewer rows, or backend='async'",
    "a population needs one": "an ensemble needs one",
    "which trains a population": "which trains an ensemble",
    "; use --kernels xla": "; use another backend",
    ", or --kernels interpret, which runs the TPU's kernels as plain jax, slowly": "",
}
"""What is said otherwise here: of flags that are no parameters."""

LOSSES = {own: name for name, own in REGRESSION_LOSSES.items()}

_VALUE = r"(?: ('[^']*'|[\w.+-]*\d[\w.+-]*(?: [\d.+-]+)*|optimized|mixed|cross-entropy|mse))?"
_FLAG = re.compile(rf"--({'|'.join(sorted(PARAMETERS, key=len, reverse=True))}){_VALUE}(?![\w-])")


@contextmanager
def in_terms_of_parameters() -> Iterator[None]:
    """A user's mistake inside is a ValueError, or where the device is the reason a RuntimeError, in one line with
    the names of an estimator's parameters; the engine's own error is its cause.
    """
    try:
        yield
    except UserError as error:
        kind = RuntimeError if isinstance(error, DeviceError) else ValueError
        raise kind(name_parameters(str(error))) from error


def name_parameters(text: str) -> str:
    """The sentence with parameters in the place of flags: `batch_size=64` for `--batch-size 64`."""
    for phrase, own in PHRASES.items():
        text = text.replace(phrase, own)
    return _FLAG.sub(_write, text)


def _write(found: re.Match[str]) -> str:
    name, value = PARAMETERS[found[1]], found[2]
    if value is None:
        return name
    if found[1] == "loss":
        value = LOSSES.get(value, value)
    numbers = value.split()
    if all(re.fullmatch(r"[\d.+-]+(e[+-]?\d+)?", number) for number in numbers):
        return f"{name}={value}" if len(numbers) == 1 else f"{name}=({', '.join(numbers)})"
    return f"{name}={value}" if value.startswith("'") else f"{name}={value!r}"
