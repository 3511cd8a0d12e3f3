"""Programs of this process, found again by their structure: a second training of one structure compiles nothing.

jax finds a compiled program again where it is given the same function object and arguments of the same shapes. So
the functions that make programs are kept by what the program is made of: the model, the optimizer, the sizes, the
compile options, all of them values that can be compared. What a run reads (parameters, data, the seed's key, the
bounds of a segment) are arguments, and need no program of their own.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MOST = 64
"""Of each kind of program, more than the verifier has cases; the one that was not used for longest goes first."""

_caches: list[Any] = []


def by_structure(make: Callable[P, T], most: int = MOST) -> Callable[P, T]:
    """Decorate a function of hashable values, so that equal values give the same object back."""
    # typed: 1 and 1.0 are equal, and the programs that they are traced into are not.
    cached = lru_cache(maxsize=most, typed=True)(make)
    _caches.append(cached)
    return cached  # type: ignore[return-value]


def forget_programs() -> None:
    """Make every program anew from here on, as where what a program was traced from has been changed."""
    for cached in _caches:
        cached.cache_clear()
