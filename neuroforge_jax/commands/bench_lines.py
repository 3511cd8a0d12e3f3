"""What `bench` prints of each case as soon as it is measured."""

from collections.abc import Mapping
from typing import Any

from neuroforge_jax.report.formats import format_duration, format_speed

Case = Mapping[str, Any]


def describe_case(case: Case) -> str:
    """A case in a line of 80 columns; beside scikit-learn's networks, in as many as it has goals, and two."""
    if case["group"] == "sklearn" and "skipped" not in case:
        return "\n".join([f"  {_name(case)}", f"    {_figures(case)}", *map(_goal, case.get("goals", ()))])
    candidate = f"  {_name(case):<22}"
    return f"{candidate} {_figures(case)}"


def _name(case: Case) -> str:
    networks = case.get("networks", 1)
    if case["group"] in ("tables", "sklearn"):
        return case["name"].partition("/")[2].replace("/", ", ")
    return f"{networks:,} at once" if networks > 1 else case["contender"]


def _figures(case: Case) -> str:
    if "skipped" in case:
        return f"skipped: {case['skipped']}"
    ratio = format_speed(case["ratio"]["median"]) if case.get("ratio") else ""
    if "seconds" in case:
        seconds = case["seconds"]
        duration = f"{format_duration(seconds['median']):>8} {_interval(seconds):<7}"
        return f"{duration}{_score(case)} {ratio}".rstrip()
    step = case["seconds_per_step"]
    share = f"{case['share_of_peak']:>5.0%} of peak" if case.get("share_of_peak") else " " * 13
    interval = _interval(step) if "interval" in step else ""
    return f"{format_duration(step['median']):>8} a step {interval:<8} {share} {ratio}"


def _score(case: Case) -> str:
    """What trainings reached on average, and whether that was the goal; empty where nothing is scored."""
    if (rmse := case.get("rmse")) is not None:
        score, goal = f"   RMSE {rmse['mean']:.4g}", f"{case.get('goal', 0):.4g}"
    elif (r2 := case.get("r2")) is not None:
        score, goal = f"   R² {r2['mean']:.4f}", ""
    elif (accuracy := case.get("accuracy")) is not None:
        score, goal = f"   {accuracy['mean']:.2%} on average", f"{case.get('goal', 0):.2%}"
    else:
        return ""
    return score if "goal" not in case else f"{score}, {'reached' if case['reached'] else 'missed'} {goal}"


def _goal(goal: Mapping[str, Any]) -> str:
    verdict = "reached" if goal["reached"] else "missed"
    return f"      {goal['what']}: {goal['wanted']}: {goal['found']}, {verdict}"


def _interval(spread: Mapping[str, Any]) -> str:
    """Half the width of the interval, as a share of the median."""
    low, high = spread["interval"]
    return f"± {(high - low) / 2 / spread['median']:.1%}"
