"""Tables of our estimators in the place of scikit-learn's: scores, times, and the goals that are missed."""

from collections.abc import Iterator

from records import METRICS, Case, Records, duration, paired, score, source, table, timed, with_interval

RECORD = "bench_sklearn.json"


def fits(records: Records) -> str:
    """Each data set: the scores of both and how far they are apart, and the time of a fit."""
    rows = []
    for what, ours, others in _groups(records):
        if "training_rows" in ours:
            theirs, one_thread = others.values()
            goals = {goal["what"]: goal for goal in ours["goals"]}
            rows.append(
                [
                    what,
                    f"{ours['training_rows']:,} × {ours['inputs']}",
                    score(ours),
                    score(theirs),
                    _mark(goals, "score") + _difference(ours, goals),
                    *(duration(case["seconds"]["median"]) for case in (ours, theirs, one_thread)),
                    _mark(goals, "time", "each") + _times(ours, others),
                ]
            )
    head = [
        "data", "rows × inputs", "NeuroForge JAX", "scikit-learn", "difference, noise", "a fit", "scikit-learn's",
        "on one thread", "times the faster (95 %)",
    ]  # fmt: skip
    return table(head, rows) + _source(records)


def waits(records: Records) -> str:
    """First fits, a grid search and predictions: what was wanted, and what was found."""
    rows = []
    for what, ours, others in _groups(records):
        if "training_rows" not in ours:
            (goal,) = ours["goals"]
            who = ours["contender"].partition(", ")[2]
            seconds = [duration(case["seconds"]["median"]) for case in (ours, *others.values())]
            found = f"{'' if goal['reached'] else '**missed** '}{goal['found']}"
            rows.append([f"{what}, {who}" if who else what, *seconds, goal["wanted"], found])
    head = ["what", "NeuroForge JAX", "scikit-learn", "on one thread", "wanted", "found"]
    return table(head, rows, numbers=(1, 2, 3)) + _source(records)


def _groups(records: Records) -> Iterator[tuple[str, Case, dict[str, Case]]]:
    """Each row of ours with what it is of, and scikit-learn's rows of the same by their sides."""
    cases = timed(records(RECORD)["cases"])
    for ours in cases:
        _, what, who = ours["name"].split("/")
        if who.startswith("ours"):
            beside = [case for case in cases if case["name"].startswith(f"sklearn/{what}/scikit-learn")]
            yield what, ours, {case["contender"]: case for case in beside}


def _difference(ours: Case, goals: dict[str, Case]) -> str:
    """In points of accuracy, or of R² as it is; beside it two standard errors of it."""
    if "score" not in goals:
        return "–"
    metric = METRICS[ours["metric"]]
    value, limit = (metric.scale * goals["score"][what] for what in ("value", "limit"))
    return f"{value:+.{metric.digits}f}, ± {limit:.{metric.digits}f}"


def _times(ours: Case, others: dict[str, Case]) -> str:
    """How many times as fast as the faster of scikit-learn's, pair by pair."""
    ratios = [paired(case, ours) for case in others.values()]
    return with_interval(min(ratios, key=lambda ratio: ratio.median))


def _mark(goals: dict[str, Case], *names: str) -> str:
    return "".join("**missed** " for name in names if name in goals and not goals[name]["reached"])


def _source(records: Records) -> str:
    """The line below, with the version that ours is compared with, which is none of its own."""
    versions = {case["version"] for case in records(RECORD)["cases"] if "version" in case}
    note = f"scikit-learn {', '.join(sorted(versions))}."
    return source(records, "sklearn", note, rounds=False)
