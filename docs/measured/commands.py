"""Tables of whole commands: trainings to an accuracy, start-up, what survives, what a comparison finds."""

from records import (
    Case,
    Record,
    Records,
    between,
    duration,
    named,
    processor,
    quartiles,
    score,
    source,
    table,
    timed,
    times,
)


def speedrun(records: Records) -> str:
    """MNIST to an accuracy, on every machine that has a record."""
    rows = []
    for name in ("bench_speedrun.json", "bench_speedrun_xeon.json"):
        record = records(name)
        goals = list(dict.fromkeys(case["name"].split("/")[1] for case in timed(record["cases"])))
        for goal in goals:
            cases = [case for case in timed(record["cases"]) if case["name"].split("/")[1] == goal]
            for mine in (True, False):
                group = [case for case in cases if case["contender"].startswith("ours") is mine]
                best = min(group, key=lambda case: case["seconds"]["median"], default=None)
                if best is not None:
                    rows.append(_speedrun_row(record, goal, best))
    head = ["machine", "goal", "candidate", "seconds, median (95 %)", "mean", "accuracy, mean", "runs"]
    return table(head, rows, numbers=(3, 4, 5, 6)) + source(records)


def _speedrun_row(record: Record, goal: str, case: Case) -> list[str]:
    seconds, accuracy = case["seconds"], case["accuracy"]
    mine = case["contender"].removeprefix("ours").strip()
    candidate = named(case["contender"])
    if case["contender"].startswith("ours"):
        candidate = f"NeuroForge JAX, {mine}" if mine else "NeuroForge JAX"
    return [
        processor(record),
        goal,
        candidate,
        f"{seconds['median']:.2f} {between(*seconds['interval'])}",
        f"{seconds['mean']:.2f}",
        f"{100 * accuracy['mean']:.2f} %",
        f"{seconds['repetitions']}",
    ]


def own_tables(records: Records) -> str:
    """What one config reaches on each table, and how long it trains, beside scikit-learn's network."""
    record = records("bench_tables.json")
    by_name = {case["name"]: case for case in timed(record["cases"])}
    rows = []
    for name, ours in by_name.items():
        if ours["contender"] != "ours":
            continue
        theirs = by_name[f"{name.rpartition('/')[0]}/scikit-learn"]
        metric = "accuracy" if ours["metric"] == "accuracy" else "RMSE"
        rows.append(
            [
                name.split("/")[1],
                metric,
                score(ours),
                f"{'' if ours['reached'] else '**missed** '}{_goal(ours)}",
                score(theirs),
                f"{ours['seconds']['median']:.2f}",
                f"{theirs['seconds']['median']:.2f}",
                times(theirs),
                f"{ours['seconds']['repetitions']}, {theirs['seconds']['repetitions']}",
            ]
        )
    head = [
        "table", "metric", "NeuroForge JAX", "goal", "scikit-learn", "seconds", "scikit-learn's seconds",
        "ours ÷ its", "trainings",
    ]  # fmt: skip
    return table(head, rows, numbers=range(2, 9)) + source(records, "tables", rounds=False)


def _goal(case: Case) -> str:
    if case["metric"] == "accuracy":
        return f"≥ {100 * case['goal']:.1f} %"
    return f"≤ {case['goal']:.3g}"


def startup(records: Records) -> str:
    """What a command does before its first step."""
    record = records("bench_quick.json")
    rows = []
    for case in record["cases"]:
        if case["group"] == "startup" and "seconds" in case:
            seconds = case["seconds"]
            low, high = seconds["interval"]
            what = case["name"].rpartition("/")[2]
            rows.append(
                [what, f"{seconds['median']:.2f} s", f"{low:.2f}–{high:.2f}", f"{seconds['repetitions']}"]
            )
    head = ["a process that does this and ends", "median", "95 %", "runs"]
    return table(head, rows) + source(records, "startup", rounds=False)


def start(records: Records) -> str:
    """From the command to an accuracy: when each line is seen, and what is imported until the end."""
    record = records("start.json")["start"]
    until, packages = record["seconds_until"], record["import_seconds"]
    rows, before = [], 0.0
    for name, seconds in until.items():
        if name == "the end":  # which waits for what --benchmark measures
            continue
        rows.append([name, f"{seconds['median']:.2f} s", f"{seconds['median'] - before:.2f} s"])
        before = seconds["median"]
    shown = ", ".join(f"{package} {seconds:.2f} s" for package, seconds in [*packages.items()][:8])
    runs = next(iter(until.values()))["n"]
    note = (
        f"Medians of {runs} runs. Imports of one more, each package without those that it imports: {shown}."
    )
    return table(["seen", "after", "of which since the line above"], rows) + source(records, note=note)


def reliability(records: Records) -> str:
    """What was done to runs, and how many survived."""
    record = records("reliability.json")
    kills, flips = record["kills"], record["flips"]
    fuzz = record["fuzz"] | records("fuzz_readers.json")["fuzz"]
    stops, cost = record["signals"]["seconds"], record["overhead"]["command_epoch_to_never"]
    inputs = sum(kind["inputs"] for kind in fuzz.values())
    other = sum(sum(kind["other errors"].values()) for kind in fuzz.values())
    rows = [
        [
            f"`kill -9` at random moments, {kills['while starting']} of them before the first step",
            f"{kills['survived']} of {kills['tried']} continued from the newest saved step",
        ],
        [
            f"one bit flipped in a saved file, in {len(flips['files'])} kinds of file",
            f"{flips['found and named']:,} of {flips['tried']:,} found, with the name of the file",
        ],
        [
            f"damaged or random inputs of {len(fuzz)} kinds: {', '.join(fuzz)}",
            f"{inputs:,} tried; {other} ended in anything but a result or one line of error",
        ],
        ["SIGTERM while training: seconds until the process has saved and ended", quartiles(stops)],
        [
            f"a checkpoint at the end of every epoch of {record['overhead']['dataset']}: time of the command "
            "relative to none",
            quartiles(cost),
        ],
    ]
    return table(["what was done", "what happened"], rows, numbers=()) + source(records)


def regression(records: Records) -> str:
    """Whether `--compare` finds a slow-down, and whether it raises false alarms."""
    record, monitor = records("regression.json"), records("monitor.json")
    slower, trials = record["slow_down"] - 1, record["trials"]
    span = monitor["span"]["seconds_on"]
    rows = [
        [
            f"a planted slow-down of {100 * slower:.0f} %",
            f"{record['planted, found in every case']} of {trials} found",
        ],
        ["the same code measured twice", f"{record['same, with a false alarm']} of {trials} called slower"],
        ["one span of `PerformanceMonitor`", duration(span["median"])],
    ]
    return table(["trial", "outcome"], rows) + source(records)
