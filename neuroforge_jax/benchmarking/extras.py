"""The parts of suites that are no trainings in turn: each gives its rows, one after the other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from neuroforge_jax.benchmarking import claims, fits, speedrun, speedrun_command, startup, tables
from neuroforge_jax.benchmarking.drop_in import first_fits, predictions, search
from neuroforge_jax.benchmarking.drop_in import fits as drop_in_fits
from neuroforge_jax.benchmarking.options import BenchOptions


@dataclass(frozen=True)
class Extra:
    """names: of its rows. measure: given the options and the reference for large steps; the rows that the options
    select, with the baselines that they need.
    """

    names: Callable[[], list[str]]
    measure: Callable[[BenchOptions, Callable[[], float]], Iterator[dict[str, Any]]]


EXTRAS: Mapping[str, Extra] = {
    "published": Extra(claims.published_names, claims.published_cases),
    "fits": Extra(fits.names, fits.cases),
    "startup": Extra(startup.names, startup.cases),
    "speedrun": Extra(speedrun.names, speedrun.cases),
    "speedrun-command": Extra(speedrun_command.names, speedrun_command.cases),
    "tables": Extra(tables.names, tables.cases),
    "sklearn-fits": Extra(drop_in_fits.names, drop_in_fits.cases),
    "sklearn-first-fits": Extra(first_fits.names, first_fits.cases),
    "sklearn-search": Extra(search.names, search.cases),
    "sklearn-predict": Extra(predictions.names, predictions.cases),
}


def select_extras(extras: tuple[str, ...], options: BenchOptions) -> dict[str, BenchOptions]:
    """Those of which something is asked for, each with what it is: all of it where its own name is."""
    chosen = {}
    for extra in extras:
        if options.selects(extra):
            chosen[extra] = replace(options, only="*")
        elif any(map(options.selects, EXTRAS[extra].names())):
            chosen[extra] = options
    return chosen
