"""A run: one evaluation job, its life, its row for clients and what it writes into the journal."""

from typing import Any, Final

import msgspec

from quartermaster.core.capsule import Sealed
from quartermaster.core.comparison import Profile
from quartermaster.core.journal import format_instant, minted_id
from quartermaster.core.selection import Selection

REPLAY: Final = "replay"
REGRESSION: Final = "regression"
COMPARISON: Final = "comparison"

QUEUED: Final = "queued"
RUNNING: Final = "running"
COMPLETED: Final = "completed"
FAILED: Final = "failed"
STATUSES: Final = (QUEUED, RUNNING, COMPLETED, FAILED)

DEADLINE_EXCEEDED: Final = "deadline_exceeded"
CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"
EVALUATION_ERROR: Final = "evaluation_error"


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked for beside single missions: the sides of a comparison, thresholds of its own."""

    baseline: Selection | None = None
    candidate: Selection | None = None
    thresholds: Profile | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the queue. `key` and `workspace` are internal keys; instants are nanoseconds since 1970.

    `attempt`, `boot_id` and `started_at` name the claim under which it runs: who finishes it has to hold
    all three.
    """

    key: int
    run_id: str
    workspace: int
    workspace_id: str
    kind: str
    status: str
    seed: int
    mission_id: str | None
    baseline_mission_id: str | None
    candidate_mission_id: str | None
    total_tokens: int
    total_cost_usd: float
    regressed: bool
    result: str | None
    reason: str | None
    signature: str | None
    created_by: str | None
    created_at: int
    started_at: int | None
    completed_at: int | None
    attempt: int
    boot_id: str | None
    cancelled: bool
    request: str | None = None
    """JSON of what was `asked`; None where nothing was asked for beside the missions."""

    @property
    def asked(self) -> Asked:
        return msgspec.json.decode(self.request, type=Asked) if self.request else Asked()

    @property
    def subject_mission_id(self) -> str:
        """The mission that the run's journal entries belong to: the candidate, for a regression."""
        return self.mission_id or self.candidate_mission_id or ""

    @property
    def ended(self) -> bool:
        """Whether the run has reached the status in which it stays."""
        return self.status in (COMPLETED, FAILED)


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One metric of one mission, as it is announced in the journal; `side` for a regression only."""

    metric: str
    value: Any
    mission_id: str
    side: str | None = None


class Completed(msgspec.Struct, frozen=True, kw_only=True, tag="completed"):
    """An evaluation that has a result. `report` is JSON; unknown totals are 0 here and None in the report.

    `capsules` hold what the report rests on, as far as it is to be kept.
    """

    result: str
    report: msgspec.Raw
    measured: tuple[Measured, ...]
    total_tokens: int
    total_cost_usd: float
    signature: str | None = None
    regressed_metrics: tuple[str, ...] = ()
    capsules: tuple[Sealed, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An evaluation without a result; every member may read `message`."""

    reason: str
    message: str


Outcome = Completed | Failed


def row(run: Run) -> dict[str, object]:
    """The run as clients read it; what is empty is left out."""
    always: dict[str, object] = {
        "id": run.run_id,
        "workspace_id": run.workspace_id,
        "kind": run.kind,
        "status": run.status,
        "seed": run.seed,
        "total_tokens": run.total_tokens,
        "total_cost_usd": run.total_cost_usd,
        "regressed": run.regressed,
        "created_at": format_instant(run.created_at),
    }
    return always | {name: value for name, value in _optional(run).items() if value}


def row_v1(run: Run) -> dict[str, object]:
    """The older shape: other names for signature, totals and last change; empty texts are kept."""
    last_change = run.completed_at or run.started_at or run.created_at
    texts = {name: value or "" for name, value in _optional(run).items() if name != "signature"}
    return {
        "id": run.run_id,
        "workspace_id": run.workspace_id,
        "kind": run.kind,
        "status": run.status,
        "seed": run.seed,
        "seed_signature": f"sha256:{run.signature}" if run.signature else "",
        "tokens": run.total_tokens,
        "cost_usd": run.total_cost_usd,
        "regressed": run.regressed,
        **texts,
        "created_at": format_instant(run.created_at),
        "updated_at": format_instant(last_change),
    }


def _optional(run: Run) -> dict[str, str | None]:
    return {
        "mission_id": run.mission_id,
        "baseline_mission_id": run.baseline_mission_id,
        "candidate_mission_id": run.candidate_mission_id,
        "result": run.result,
        "reason": run.reason,
        "signature": run.signature,
        "created_by": run.created_by,
        "started_at": None if run.started_at is None else format_instant(run.started_at),
        "completed_at": None if run.completed_at is None else format_instant(run.completed_at),
    }


def started_entries(run: Run, now: int) -> list[dict[str, object]]:
    """What the journal is told before the work."""
    summary = f"{run.kind} started with seed {run.seed}"
    return [_entry(run, now, "eval.run_started", summary, {"kind": run.kind, "seed": run.seed, **_ids(run)})]


def ended_entries(run: Run, outcome: Outcome, now: int) -> list[dict[str, object]]:
    """What the journal is told with the result: every metric, a regression, the end.

    They are a nanosecond apart, because a journal is read in the order of time.
    """
    if isinstance(outcome, Failed):
        told: dict[str, object] = {"kind": run.kind, "reason": outcome.reason, "message": outcome.message}
        summary = f"{run.kind} failed: {outcome.message}"
        return [_entry(run, now, "eval.run_failed", summary, told | _ids(run))]
    entries = [_metric_entry(run, measured, now) for measured in outcome.measured]
    if outcome.regressed_metrics:
        entries.append(_regression_entry(run, outcome, now + 1))
    ended: dict[str, object] = {"kind": run.kind, "result": outcome.result, **_ids(run)}
    if outcome.signature:
        ended["signature"] = outcome.signature
    entries.append(
        _entry(run, now + 2, "eval.run_completed", f"{run.kind} completed: {outcome.result}", ended)
    )
    return entries


def _metric_entry(run: Run, measured: Measured, now: int) -> dict[str, object]:
    payload = {"metric": measured.metric, "value": measured.value, "mission_id": measured.mission_id}
    if measured.side is not None:
        payload["side"] = measured.side
    summary = f"metric {measured.metric}"
    return _entry(run, now, "eval.metric", summary, payload, measured.metric, measured.side or "")


def _regression_entry(run: Run, outcome: Completed, now: int) -> dict[str, object]:
    payload: dict[str, object] = {
        "delta_summary": outcome.result.removeprefix("regressed: "),
        "regressed_metrics": list(outcome.regressed_metrics),
    }
    entry = _entry(run, now, "eval.regression_detected", outcome.result, payload | _ids(run))
    return entry | {"severity": "warn"}


def _entry(
    run: Run, now: int, entry_type: str, summary: str, payload: dict[str, Any], *identity: str
) -> dict[str, object]:
    """The id follows from the run and from what is told, so that a second attempt tells nothing twice."""
    return {
        "id": minted_id("eval", run.run_id, entry_type, *identity),
        "workspace_id": run.workspace_id,
        "mission_id": run.subject_mission_id,
        "ts": format_instant(now),
        "entry_type": entry_type,
        "severity": "info",
        "priority": "normal",
        "actor_type": "system",
        "actor_id": "quartermaster",
        "summary": summary,
        "payload": {"run_id": run.run_id, **payload},
        "refs": {"eval_run_id": run.run_id, **_ids(run)},
    }


def _ids(run: Run) -> dict[str, str]:
    named = {
        "mission_id": run.mission_id,
        "baseline_mission_id": run.baseline_mission_id,
        "candidate_mission_id": run.candidate_mission_id,
    }
    return {name: mission_id for name, mission_id in named.items() if mission_id}
