"""Whether `bench --compare` tells a slow-down from noise: `python benchmarks/regression.py --output FILE`.

Each trial measures two trainings three times, one after the other, as three records: the first two of the same
code, the third of one that trains a fifth more steps than it says. Nothing is compiled anew between them, so that
the machine and what was planted are all that differs.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

import neuroforge_jax as nf
from neuroforge_jax.backends.table import BACKENDS
from neuroforge_jax.benchmarking.cases import Case, random_pixels
from neuroforge_jax.benchmarking.harness import Started, measure
from neuroforge_jax.benchmarking.peaks import reference_of
from neuroforge_jax.benchmarking.records import compare


@dataclass(frozen=True)
class Options:
    """Measure, plant, compare; write the record."""

    output: Path
    trials: int = 20
    slow_down: float = 1.2
    repetitions: int = 25
    turn_seconds: float = 0.1


def main() -> None:
    options = tyro.cli(Options)
    backend = BACKENDS["optimized"]
    large = nf.TrainConfig(hidden=(1024, 512), batch_size=64, backend="optimized")
    small = nf.TrainConfig(hidden=(32,), batch_size=32, backend="optimized")
    cases = [
        Case("b64", large, random_pixels()),
        Case("b32, small", small, random_pixels(4096, 64)),
    ]
    started = {case.name: case.start() for case in cases}
    slowed = {name: replace(one, turn=_slower(one.turn, options.slow_down)) for name, one in started.items()}
    small_of = {case.name: case.is_small for case in cases}
    references = {small: reference_of(backend.device, small=small) for small in (False, True)}
    about = backend.environment(64)

    def record(candidates: dict[str, Started]) -> dict[str, Any]:
        measured = measure(
            candidates,
            lambda name: references[small_of[name]],
            repetitions=options.repetitions,
            turn_seconds=options.turn_seconds,
        )
        told = [
            {
                "name": name,
                "seconds_per_step": one.seconds_per_step.to_json(),
                "reference_seconds": list(one.reference_seconds),
            }
            for name, one in measured.items()
        ]
        return {"environment": about, "cases": told}

    outcomes: dict[str, list[list[Any]]] = {"planted": [], "same": []}
    for trial in range(options.trials):
        first, again, slow = record(started), record(started), record(slowed)
        for kind, before, after in (("planted", again, slow), ("same", first, again)):
            verdicts = compare(before, after).verdicts
            outcomes[kind].append(
                [[verdict.name, verdict.kind, verdict.ratio.to_json()] for verdict in verdicts]
            )
            print(
                trial,
                kind,
                [(name, said, f"{ratio['median']:.3f}") for name, said, ratio in outcomes[kind][-1]],
            )
    found = sum(all(said == "slower" for _, said, _ in trial) for trial in outcomes["planted"])
    alarms = sum(any(said == "slower" for _, said, _ in trial) for trial in outcomes["same"])
    print(
        f"planted slow-downs found in {found} of {options.trials}, false alarms in {alarms} of {options.trials}"
    )
    result = {
        "command": "python benchmarks/regression.py --output FILE",
        "slow_down": options.slow_down,
        "trials": options.trials,
        "planted, found in every case": found,
        "same, with a false alarm": alarms,
        "outcomes": outcomes,
        "environment": about,
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")


def _slower(turn: Callable[[int], float], factor: float) -> Callable[[int], float]:
    return lambda steps: turn(round(steps * factor))


if __name__ == "__main__":
    main()
