"""Two sets of missions, from the database to their comparison."""

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from quartermaster.core.assessment import Assessment, Assessor
from quartermaster.core.pricing import PriceBook
from quartermaster.core.selection import Selection
from quartermaster.core.trials import Status, Trial
from quartermaster.store import missions, trajectory
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts

_NANOSECONDS: Final = 1e9
_TEXTS_LIMIT: Final = 50_000
_PAGE: Final = 1024
_STATUSES: Final[dict[str, Status]] = {
    "succeeded": "succeeded",
    "failed": "failed",
    "aborted": "aborted",
    "timed_out": "timed_out",
    "limit_reached": "limit_reached",
}


def read_trials(
    connection: Connection,
    workspace: int,
    selection: Selection,
    *,
    price: PriceBook,
    check: Callable[[], None],
) -> tuple[Trial, ...]:
    """One side of a comparison: every selected mission judged alone. `check` is asked between missions."""
    texts = Texts(connection)
    return tuple(
        trial_of(mission, _assess(connection, mission, texts, price, check))
        for mission in missions.select_missions(connection, workspace, selection)
    )


def _assess(
    connection: Connection, mission: Mission, texts: Texts, price: PriceBook, check: Callable[[], None]
) -> Assessment:
    if len(texts) > _TEXTS_LIMIT:
        texts.clear()
    assessor = Assessor(texts, 0, price)
    for page in trajectory.step_pages(connection, mission.key, page=_PAGE):
        check()
        assessor.add(page)
    return assessor.result()


def trial_of(mission: Mission, assessment: Assessment) -> Trial:
    """What a comparison of sets looks at. Money that is known in part comes with its coverage."""
    cost = assessment.metric("total_cost_usd")
    known = cost.value if cost.value is not None or not cost.coverage.known else cost.partial
    values: dict[str, float | None] = {
        "work_steps": assessment.model_calls + assessment.commands,
        "steps": assessment.steps,
        "total_tokens": assessment.metric("total_tokens").number,
        "total_cost_usd": float(known) if isinstance(known, int | float) else None,
        "wall_time": _seconds(mission),
        "tool_calls": assessment.commands,
        "hallucinations": assessment.metric("hallucinations").number,
        "guardrail_blocks": assessment.blocks,
    }
    return Trial(
        mission_id=mission.mission_id,
        task=mission.task or _goal_of(mission.title),
        order=mission.trial or 0,
        status=_status(mission, assessment),
        values=values,
        cost_coverage=_priced_share(assessment),
        tool_ok=assessment.commands - assessment.failed_commands - assessment.commands_without_outcome,
        tool_errors=assessment.failed_commands,
        failure_modes={finding.failure_mode: 1 for finding in assessment.findings},
    )


def _status(mission: Mission, assessment: Assessment) -> Status:
    if mission.outcome is not None:
        return _STATUSES.get(mission.outcome, "unknown")
    return "succeeded" if assessment.goal_reached else "unknown"


def _priced_share(assessment: Assessment) -> float | None:
    """Priced tokens over all tokens; over model calls where no tokens are known. None without a call."""
    if assessment.tokens > 0:
        return 1 - assessment.unpriced_tokens / assessment.tokens
    coverage = assessment.metric("total_cost_usd").coverage
    return coverage.known / coverage.of if coverage.of else None


def _seconds(mission: Mission) -> float | None:
    if mission.started_at is None or mission.ended_at is None or mission.ended_at < mission.started_at:
        return None
    return (mission.ended_at - mission.started_at) / _NANOSECONDS


def _goal_of(title: str | None) -> str | None:
    """Missions without a task are paired by what was asked, letter case and white space apart."""
    words = " ".join((title or "").casefold().split())
    return "goal:" + blake2b(words.encode("utf-8", "replace"), digest_size=8).hexdigest() if words else None
