"""What the store knows of run-to-run variation: earlier runs of a task, and all tasks that were repeated."""

from collections.abc import Callable, Mapping
from typing import Final

from quartermaster.core.assessment import Assessment
from quartermaster.core.comparison import Comparison
from quartermaster.core.noise import (
    Counts,
    Evidence,
    History,
    grade_hallucinations,
    grade_rise,
    grade_tool_errors,
)
from quartermaster.store import missions
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission

MISSIONS: Final = 400
ENTRIES: Final = 400_000
"""How much is looked back on, the latest first: a grade must not take longer than the comparison."""

_RISING: Final = ("steps_to_goal", "total_cost_usd")
Assess = Callable[[Mission], Assessment]


def grade_breaches(
    connection: Connection,
    workspace: int,
    *,
    comparison: Comparison,
    baseline: Assessment,
    candidate: Assessment,
    mission_ids: tuple[str, str],
    assess: Assess,
) -> dict[str, Evidence]:
    """How much each breach is worth, by metric. The history is read only where a breach asks for it."""
    breached = comparison.regressed_metrics
    rising = [metric for metric in _RISING if metric in breached]
    histories = read_histories(connection, workspace, *mission_ids, assess) if rising else {}
    graded: dict[str, Evidence] = {}
    for metric in breached:
        if metric in rising:
            before, after = (float(side.metric(metric).number or 0) for side in (baseline, candidate))
            graded[metric] = grade_rise(before, after, histories.get(metric, History()))
        elif metric == "tool_success_rate":
            graded[metric] = grade_tool_errors(*(_tool_errors(side) for side in (baseline, candidate)))
        elif metric == "hallucinations":
            graded[metric] = grade_hallucinations(*(_hallucinations(side) for side in (baseline, candidate)))
    return graded


def _tool_errors(side: Assessment) -> Counts:
    outcomes = side.metric("tool_success_rate").coverage.known
    return Counts(side.failed_commands + side.decisions_denied, outcomes)


def _hallucinations(side: Assessment) -> Counts:
    return Counts(int(side.metric("hallucinations").number or 0), side.model_calls)


def read_histories(
    connection: Connection, workspace: int, baseline_id: str, candidate_id: str, assess: Assess
) -> dict[str, History]:
    """Runs by the baseline's agent, without the candidate: those of its task, and all repeated tasks."""
    baseline = missions.find_mission(connection, workspace, baseline_id)
    if baseline is None or baseline.task is None:
        return {}
    runs = missions.repeated_runs(connection, workspace, baseline, limit=MISSIONS)
    known: dict[str, dict[str, list[float]]] = {metric: {} for metric in _RISING}
    entries = 0
    for mission in runs:
        if mission.mission_id == candidate_id:
            continue
        entries += mission.entries
        if entries > ENTRIES:
            break
        assessment = assess(mission)
        for metric in _RISING:
            number = assessment.metric(metric).number
            if number is not None:
                known[metric].setdefault(mission.task or "", []).append(float(number))
    return {metric: _history(values, baseline.task) for metric, values in known.items()}


def _history(values: Mapping[str, list[float]], task: str) -> History:
    return History(task=tuple(values.get(task, ())), project=values)
