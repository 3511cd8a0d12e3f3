"""What a dense layer of another package must do: values and gradients, and how it behaves under jax."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax import kernels
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.errors import UserError, first_line
from neuroforge_jax.kernels.dense_kernel import DenseKernel
from neuroforge_jax.precision.policy import POLICIES, Policy
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.verification.bounds import relative_error
from neuroforge_jax.verification.cases import standard_cases
from neuroforge_jax.verification.checks import verify_backend
from neuroforge_jax.verification.findings import Claim, ClaimError
from neuroforge_jax.verification.layers import (
    COMMON,
    OUTCOMES,
    SQUARE,
    Layer,
    explain,
    layers_of,
    worst_element,
)
from neuroforge_jax.verification.verdict import Check

Found = Mapping[str, np.ndarray]

OUTCOME_NAMES = {
    "y": "values",
    "dx": "gradient of x",
    "dkernel": "gradient of the kernel",
    "dbias": "gradient of the bias",
}

LARGE = {"float32": 1e10, "bfloat16": 1e10, "float16": 1e2}
"""Operands of which a sum z is near 1e20, whose square float32 does not hold; float16 holds 65504 itself."""

OVERFLOWS = (
    "an exponential or a square overflows, for sums are below 1e30: compute φ and its slope by nf.activate, or "
    "as neuroforge_jax/kernels/forms.py does"
)


def kernel_claims(kernel: DenseKernel) -> Iterator[Claim]:
    """Claims on a kernel, on jax's default device; what others need comes first."""
    device = jax.local_devices()[0]
    yield Claim(f"takes this device, {device.platform}", partial(_takes, kernel, device), needed=True)
    trials = [DtypeTrial(kernel, jnp.dtype(dtype).name) for dtype in kernel.dtypes]
    for trial in trials:
        yield from trial.claims()
    layer = trials[0].layers[0]
    square = replace(layer, size=SQUARE)
    yield Claim("leaves its operands as they are", partial(_leaves_operands, kernel, square))
    yield Claim("computes alike with and without jax.jit", partial(_without_jit, kernel, layer))
    yield Claim("works in lax.scan", partial(_in_scan, kernel, layer))
    if kernel.vmap:
        yield Claim("works under jax.vmap, its gradients too", partial(_under_vmap, kernel, layer))
    yield Claim("gives the same bits twice", partial(_twice, kernel, layer))
    yield Claim("keeps nothing of a trace, and captures no array", partial(_captures_nothing, kernel, layer))
    for trial in trials:
        if not trial.wrong:
            yield Claim(f"trains as the oracle does, {trial.dtype}", trial.trains)


def policy_of(dtype: str) -> Policy:
    """The policy whose products are of this dtype."""
    return next(
        each for name, each in POLICIES.items() if name != "tf32" and jnp.dtype(each.compute) == dtype
    )


def _takes(kernel: DenseKernel, device: jax.Device) -> None:
    try:
        kernel.check_device(device)
    except UserError as error:
        raise ClaimError(str(error), "verify it on a machine that has such a device") from None


class DtypeTrial:
    """A kernel's numbers in one dtype: layers of many sizes and of every activation, each compiled once.

    wrong: the outcomes of which one is beyond its bound.
    """

    def __init__(self, kernel: DenseKernel, dtype: str) -> None:
        self.kernel, self.dtype = kernel, dtype
        self.layers = layers_of(kernel.activations, dtype)
        self.wrong: set[str] = set()
        self._results: dict[Layer, Found] = {}

    def claims(self) -> Iterator[Claim]:
        """Values and gradients, then what zeros and large numbers give."""
        what = f"{len(self.layers)} layers of {self.dtype}"
        yield Claim(f"runs under jax.jit, its gradient too, {what}", self._run_all, needed=True)
        yield Claim(f"values, {what}", partial(self._compare, "y"))
        # A gradient that follows from wrong values says nothing.
        if not self.wrong or callable(self.kernel.gradient):
            for outcome in OUTCOMES[1:]:
                yield Claim(f"{OUTCOME_NAMES[outcome]}, {what}", partial(self._compare, outcome))
        yield Claim(f"gives numbers for zeros and for large numbers, {self.dtype}", self._gives_numbers)

    def _run_all(self) -> None:
        for layer in self.layers:
            try:
                self._results[layer] = _outcomes(self.kernel, layer, layer.operands)
            except Exception as error:
                part = _failing_pass(self.kernel, layer)
                hint = _advice_on_pass(self.kernel)
                raise ClaimError(f"{layer}: {part} fails ({first_line(error)})", hint) from error

    def _compare(self, outcome: str) -> Check:
        """Raises ClaimError on the layer that is furthest beyond its bound."""
        checks = {layer: _check(layer, outcome, found[outcome]) for layer, found in self._results.items()}
        layer, worst = max(checks.items(), key=lambda pair: pair[1].share)
        if worst.passed:
            return worst
        self.wrong.add(outcome)
        wrong = {each: self._results[each][outcome] for each, check in checks.items() if not check.passed}
        element = worst_element(wrong[layer], layer.wanted[outcome], outcome)
        raise ClaimError(
            f"off by {worst.error:.1e} in norm, and {worst.bound:.1e} is allowed: {element} in {layer}",
            _advice(outcome, wrong, len(checks)),
            worst,
        )

    def _gives_numbers(self) -> None:
        for activation in self.kernel.activations:
            layer = Layer(COMMON, activation, self.dtype)
            x, weights, bias = layer.operands
            large = np.sign(x) * LARGE[self.dtype], np.sign(weights) * LARGE[self.dtype], bias
            for name, operands in {"zeros": (0 * x, 0 * weights, 0 * bias), "large numbers": large}.items():
                for outcome, found in _outcomes(self.kernel, layer, operands).items():
                    if not np.isfinite(found).all():
                        raise ClaimError(f"{name} in {layer} make {outcome} NaN or infinite", OVERFLOWS)

    def trains(self) -> Check:
        """A small training."""
        (plain,) = (case for case in standard_cases() if case.name == "sgd, small batches")
        activation = self.layers[-1].activation
        config = replace(plain.config, activation=activation)
        case = replace(plain, name=f"{plain.name}, {activation}", config=config)
        backend = replace(BACKENDS["optimized"], kernels=self.kernel, precision=policy_of(self.dtype).name)
        verdict = verify_backend(backend, cases=[case])
        if not verdict.passed:
            raise ClaimError(
                verdict.sentence(), "its layers are right alone: look at batches of 8", verdict.worst
            )
        return verdict.worst


def _failing_pass(kernel: DenseKernel, layer: Layer) -> str:
    try:
        jax.block_until_ready(jax.jit(_dense(kernel, layer))(*layer.operands))
    except Exception:
        return "the layer"
    return "its gradient"


def _advice_on_pass(kernel: DenseKernel) -> str:
    if kernel.gradient == "jax":
        return (
            "dense must take any size and be differentiable by jax; gradient='xla' leaves the gradient to XLA"
        )
    return "dense takes x [B, I], kernel [I, O], bias [O] of any size, and gives y of float32 [B, O]"


def _dense(kernel: DenseKernel, layer: Layer) -> Callable[..., jax.Array]:
    """The layer as a training computes it."""
    policy = policy_of(layer.dtype)
    return partial(kernels.dense, activation=layer.activation, policy=policy, implementation=kernel)


def _outcomes(kernel: DenseKernel, layer: Layer, operands: tuple[np.ndarray, ...]) -> Found:
    values = jax.device_get(_program(kernel, layer)(*operands, layer.dy))
    return dict(zip(OUTCOMES, values, strict=True))


@by_structure
def _program(kernel: DenseKernel, layer: Layer) -> Callable[..., tuple[jax.Array, ...]]:
    @jax.jit
    def program(x: jax.Array, weights: jax.Array, bias: jax.Array, dy: jax.Array) -> tuple[jax.Array, ...]:
        y, pull = jax.vjp(_dense(kernel, layer), x, weights, bias)
        return y, *pull(dy)

    return program


def _advice(outcome: str, wrong: Mapping[Layer, np.ndarray], tried: int) -> str:
    """The mistake that most of the layers look like, or else which layers are wrong."""
    mistakes = Counter(explain(layer, outcome, found) for layer, found in wrong.items())
    del mistakes[""]
    if mistakes:
        return f"it looks as if {mistakes.most_common(1)[0][0]}"
    which = "all are wrong" if len(wrong) == tried else f"wrong are {', '.join(map(str, wrong))}"
    return f"compare with neuroforge_jax/kernels/reference.py: of {tried} layers {which}"


def _check(layer: Layer, outcome: str, found: np.ndarray) -> Check:
    error = relative_error(found, layer.wanted[outcome])
    return Check(OUTCOME_NAMES[outcome], str(layer), outcome, error, layer.bound(outcome))


def _same(kernel: DenseKernel, layer: Layer, found: Found, told: tuple[str, str]) -> Check:
    """Compare with what a program of the layer alone gives. told: what is wrong, and what to do."""
    usual = _outcomes(kernel, layer, layer.operands)
    checks = []
    for outcome, values in found.items():
        right = usual[outcome].astype(np.float64)
        error = relative_error(values, right)
        check = Check(OUTCOME_NAMES[outcome], str(layer), outcome, error, layer.bound(outcome))
        if not check.passed:
            raise ClaimError(f"{told[0]}: {worst_element(values, right, outcome)} in {layer}", told[1], check)
        checks.append(check)
    return max(checks, key=lambda check: check.share)


def _stack_three(operand: jax.Array | np.ndarray) -> jax.Array:
    """Three operands in one array, no two alike; the last of them as it is."""
    return jnp.stack([-0.5 * operand, 2 * operand, jnp.asarray(operand)])


def _without_jit(kernel: DenseKernel, layer: Layer) -> Check:
    found = _dense(kernel, layer)(*map(jnp.asarray, layer.operands))
    told = "outside of jax.jit it gives something else", "let nothing depend on being traced"
    return _same(kernel, layer, {"y": np.asarray(found)}, told)


def _in_scan(kernel: DenseKernel, layer: Layer) -> Check:
    x, weights, bias = map(jnp.asarray, layer.operands)

    def body(carry: jax.Array, part: jax.Array) -> tuple[jax.Array, jax.Array]:
        return carry + 1, _dense(kernel, layer)(part, weights, bias)

    _, found = jax.jit(partial(lax.scan, body))(jnp.zeros(()), _stack_three(x))
    told = "the last of three batches in a lax.scan is another", "keep nothing between two calls"
    return _same(kernel, layer, {"y": np.asarray(found[-1])}, told)


def _under_vmap(kernel: DenseKernel, layer: Layer) -> Check:
    several = map(_stack_three, (*layer.operands, layer.dy))
    hint = "give the kernel a rule for batches, or say vmap=False: then it trains no population"
    try:
        values = jax.jit(jax.vmap(_program(kernel, layer)))(*several)
    except Exception as error:
        raise ClaimError(f"it fails ({first_line(error)})", hint) from error
    found = {outcome: np.asarray(each[-1]) for outcome, each in zip(OUTCOMES, values, strict=True)}
    return _same(kernel, layer, found, ("the last of three networks is another", hint))


def _twice(kernel: DenseKernel, layer: Layer) -> None:
    program = _program(kernel, layer)
    first, second = (jax.device_get(program(*layer.operands, layer.dy)) for _ in range(2))
    for outcome, one, other in zip(OUTCOMES, first, second, strict=True):
        if not np.array_equal(one, other, equal_nan=True):
            raise ClaimError(
                f"{outcome} of the same operands differs from call to call",
                "sums are added up in an order that changes, or memory is read before it is written",
            )


def _leaves_operands(kernel: DenseKernel, layer: Layer) -> None:
    dtype = jnp.dtype(layer.dtype)
    x, weights, bias = (jnp.array(each) for each in layer.operands)
    x, weights = x.astype(dtype), weights.astype(dtype)
    operands = {"x": x, "kernel": weights, "bias": bias}
    before = {name: np.array(each) for name, each in operands.items()}
    jax.block_until_ready(kernel.dense(x, weights, bias, layer.activation))
    for name, operand in operands.items():
        if operand.is_deleted() or not np.array_equal(np.asarray(operand), before[name]):
            raise ClaimError(
                f"{name} is gone or has other numbers after the call",
                "donate no operand and alias none to a result: a training reads them again",
            )


def _captures_nothing(kernel: DenseKernel, layer: Layer) -> None:
    try:
        with jax.checking_leaks():
            traced = jax.make_jaxpr(_dense(kernel, layer))(*map(jnp.asarray, layer.operands))
    except Exception as error:
        raise ClaimError(
            f"it keeps a value of a trace ({first_line(error)})", "store no argument outside of the function"
        ) from error
    captured = [const for const in traced.consts if np.size(const) > 1]
    if captured:
        shapes = ", ".join(f"{const.dtype} {list(const.shape)}" for const in captured)
        raise ClaimError(
            f"it captures {shapes}",
            "make arrays within the function, by jax.numpy: all calls share a capture",
        )
