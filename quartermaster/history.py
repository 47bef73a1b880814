"""What the store knows of run-to-run variation: earlier runs of a task, and all tasks that were repeated."""

from collections.abc import Callable, Mapping
from typing import Final

from quartermaster.core.assessment import Assessment
from quartermaster.core.noise import RISING, History
from quartermaster.store import missions
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission

MISSIONS: Final = 400
ENTRIES: Final = 400_000
"""How much is looked back on, the latest first: a grade must not take longer than the comparison."""

Assess = Callable[[Mission], Assessment]


def read_histories(
    connection: Connection, workspace: int, baseline_id: str, candidate_id: str, assess: Assess
) -> dict[str, History]:
    """Runs by the baseline's agent, without the candidate: those of its task, and all repeated tasks."""
    baseline = missions.find_mission(connection, workspace, baseline_id)
    if baseline is None or baseline.task is None:
        return {}
    runs = missions.repeated_runs(connection, workspace, baseline, limit=MISSIONS)
    known: dict[str, dict[str, list[float]]] = {metric: {} for metric in RISING}
    entries = 0
    for mission in runs:
        if mission.mission_id == candidate_id:
            continue
        entries += mission.entries
        if entries > ENTRIES:
            break
        assessment = assess(mission)
        for metric in RISING:
            number = assessment.metric(metric).number
            if number is not None:
                known[metric].setdefault(mission.task or "", []).append(float(number))
    return {metric: _history(values, baseline.task) for metric, values in known.items()}


def _history(values: Mapping[str, list[float]], task: str) -> History:
    return History(task=tuple(values.get(task, ())), project=values)
