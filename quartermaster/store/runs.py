"""Runs in the database: the rows are the queue.

A claim is a boot id, an attempt and the instant of claiming. Only who holds all three may finish a run;
everything else that a late worker brings is refused. Whatever changes a run, its events and its journal
entries is one change of one transaction.
"""

import logging
from typing import Final

import msgspec

from quartermaster.core.run import (
    CANCELLED,
    COMPLETED,
    EVALUATION_ERROR,
    FAILED,
    INTERRUPTED,
    QUEUED,
    Asked,
    Completed,
    Failed,
    Outcome,
    Run,
    ended_entries,
    started_entries,
)
from quartermaster.store import baselines, journal, missions
from quartermaster.store.cursors import read_cursor, write_cursor
from quartermaster.store.database import Connection, sqlite3

ATTEMPTS: Final = 2
"""How often a run may take its process down before it is given up."""

_CANCELLED: Final = Failed(reason=CANCELLED, message="the run was cancelled")
_INTERRUPTED: Final = Failed(
    reason=INTERRUPTED,
    message=f"the process ended during this run, {ATTEMPTS} times; queue the run again to try once more",
)
_UNTOLD: Final = Failed(
    reason=EVALUATION_ERROR,
    message="the journal of the mission could not be written; the log of the program says why",
)
_log = logging.getLogger(__name__)

# The condition on two values is the one that the partial index of the queue is made for.
_FIRST_QUEUED: Final = """
select id from eval_run where status in ('queued', 'running') and status = 'queued' and workspace > ?
order by workspace, id limit 1
"""
_OF_WORKSPACE: Final = "where status in ('queued', 'running') and status = 'queued' and workspace = ?"
_IDS_SINCE_OLDEST: Final = f"""
select max(id) - (select min(id) from eval_run {_OF_WORKSPACE}) + 1 from eval_run
"""  # noqa: S608
_COUNT_UP_TO: Final = f"select count(*) from (select 1 from eval_run {_OF_WORKSPACE} limit ?)"  # noqa: S608
_NEXT_QUEUED: Final = f"select coalesce(({_FIRST_QUEUED}), ({_FIRST_QUEUED}))"
_THIS_QUEUED: Final = "select id from eval_run where status = 'queued' and workspace = ? and run_id = ?"
_CLAIM: Final = """
update eval_run set status = 'running', attempt = attempt + 1, boot_id = ?, started_at = ?
where id = ({choice}) returning id
"""

_SELECT: Final = """
select r.id, r.run_id, r.workspace, w.workspace_id, r.kind, r.status, r.seed, r.mission_id,
       r.baseline_mission_id, r.candidate_mission_id, r.total_tokens, r.total_cost_usd, r.regressed,
       r.result, r.reason, r.signature, r.created_by, r.created_at, r.started_at, r.completed_at,
       r.attempt, r.boot_id, r.cancelled, r.request
from eval_run r join workspace w on w.id = r.workspace
"""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list. `mission_id` matches any side; `since` is the earliest instant of queueing."""

    kind: str | None = None
    status: str | None = None
    mission_id: str | None = None
    regressed: bool | None = None
    since: int | None = None
    cursor: str | None = None
    limit: int = 50


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """Runs, newest first, and the cursor of those behind them."""

    rows: tuple[Run, ...]
    next_cursor: str | None


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one run's status."""

    id: int
    run_id: str
    status: str
    at: int


class Rescued(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs of an earlier process were queued again, and how many given up."""

    requeued: int
    ended: int


class QueueState(msgspec.Struct, frozen=True, kw_only=True):
    """How long the queue is, over all workspaces; `oldest_started_at` of what runs."""

    queued: int
    running: int
    oldest_started_at: int | None


def queue_run(
    connection: Connection,
    workspace: int,
    *,
    run_id: str,
    kind: str,
    seed: int,
    mission_id: str | None = None,
    baseline_mission_id: str | None = None,
    candidate_mission_id: str | None = None,
    asked: Asked | None = None,
    created_by: str | None,
    now: int,
) -> Run:
    """A new run at the end of the queue."""
    request = msgspec.json.encode(asked).decode() if asked and asked != Asked() else None
    cursor = connection.execute(
        "insert into eval_run (run_id, workspace, kind, status, seed, mission_id, baseline_mission_id,"
        " candidate_mission_id, request, created_by, created_at)"
        " values (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)",
        (
            run_id,
            workspace,
            kind,
            seed,
            mission_id,
            baseline_mission_id,
            candidate_mission_id,
            request,
            created_by,
            now,
        ),
    )
    key = int(cursor.lastrowid or 0)
    _record_event(connection, workspace, key, QUEUED, now)
    return _run_of(connection, key)


def find_run(connection: Connection, workspace: int, run_id: str) -> Run | None:
    """One run of this workspace."""
    found = connection.execute(
        _SELECT + "where r.workspace = ? and r.run_id = ?", (workspace, run_id)
    ).fetchone()
    return None if found is None else _run(found)


def find_report(connection: Connection, workspace: int, run_id: str) -> bytes | None:
    """The report of a completed run, as JSON."""
    found = connection.execute(
        "select report from eval_report join eval_run on eval_run.id = eval_report.run"
        " where workspace = ? and run_id = ?",
        (workspace, run_id),
    ).fetchone()
    return None if found is None else bytes(found[0])


def run_ids_starting(connection: Connection, workspace: int, prefix: str, limit: int = 3) -> list[str]:
    """Ids that begin with these characters, in order of name."""
    found = connection.execute(
        "select run_id from eval_run where workspace = ? and run_id >= ? and substr(run_id, 1, ?) = ?"
        " order by run_id limit ?",
        (workspace, prefix, len(prefix), prefix, limit),
    )
    return [run_id for (run_id,) in found]


def list_runs(connection: Connection, workspace: int, filters: RunFilter) -> RunPage:
    """One page, newest first; raises UsageError for a cursor that another question gave."""
    conditions, values = _conditions(workspace, filters)
    if filters.cursor is not None:
        conditions.append("(r.created_at, r.run_id) < (?, ?)")
        values.extend(read_cursor(filters.cursor, _scope(workspace, filters), (int, str)))
    found = connection.execute(
        f"{_SELECT} where {' and '.join(conditions)} order by r.created_at desc, r.run_id desc limit ?",
        (*values, filters.limit + 1),
    ).fetchall()
    rows = tuple(map(_run, found[: filters.limit]))
    if len(found) <= filters.limit:
        return RunPage(rows=rows, next_cursor=None)
    behind = write_cursor(_scope(workspace, filters), (rows[-1].created_at, rows[-1].run_id))
    return RunPage(rows=rows, next_cursor=behind)


def _conditions(workspace: int, filters: RunFilter) -> tuple[list[str], list[object]]:
    conditions, values = ["r.workspace = ?"], list[object]([workspace])
    for column, value in (("kind", filters.kind), ("status", filters.status)):
        if value is not None:
            conditions.append(f"r.{column} = ?")
            values.append(value)
    if filters.mission_id is not None:
        conditions.append("? in (r.mission_id, r.baseline_mission_id, r.candidate_mission_id)")
        values.append(filters.mission_id)
    if filters.regressed is not None:
        conditions.append("r.regressed = ?")
        values.append(int(filters.regressed))
    if filters.since is not None:
        conditions.append("r.created_at >= ?")
        values.append(filters.since)
    return conditions, values


def _scope(workspace: int, filters: RunFilter) -> tuple[object, ...]:
    """What a cursor belongs to: this list, asked with these filters."""
    asked = (filters.kind, filters.status, filters.mission_id, filters.regressed, filters.since)
    return ("runs", workspace, *asked)


def events_after(connection: Connection, workspace: int, event_id: int, limit: int = 500) -> list[RunEvent]:
    """Changes of status behind this one, oldest first."""
    found = connection.execute(
        "select e.id, r.run_id, e.status, e.at from eval_event e join eval_run r on r.id = e.run"
        " where e.workspace = ? and e.id > ? order by e.id limit ?",
        (workspace, event_id, limit),
    )
    return [RunEvent(id=key, run_id=run_id, status=status, at=at) for key, run_id, status, at in found]


def newest_event(connection: Connection, workspace: int) -> int:
    """The last change of status; 0 when there was none."""
    found = connection.execute(
        "select coalesce(max(id), 0) from eval_event where workspace = ?", (workspace,)
    ).fetchone()
    return int(found[0])


def queue_state(connection: Connection) -> QueueState:
    """Counts over all workspaces."""
    found = connection.execute(
        "select count(*) filter (where status = 'queued'), count(*) filter (where status = 'running'),"
        " min(started_at) from eval_run where status in ('queued', 'running')"
    ).fetchone()
    return QueueState(queued=found[0], running=found[1], oldest_started_at=found[2])


def has_queued(connection: Connection) -> bool:
    """Whether a claim would find something."""
    return connection.execute(_FIRST_QUEUED, (0,)).fetchone() is not None


def has_room(connection: Connection, workspace: int, limit: int) -> bool:
    """Whether fewer than `limit` runs of a workspace wait."""
    ids = connection.execute(_IDS_SINCE_OLDEST, (workspace,)).fetchone()[0]
    if ids is None or ids < limit:  # no more can wait than there are ids: no need to count
        return True
    return int(connection.execute(_COUNT_UP_TO, (workspace, limit)).fetchone()[0]) < limit


def held_by(connection: Connection, boot_id: str) -> list[Run]:
    """What runs in the name of this process."""
    found = connection.execute(
        f"{_SELECT} where r.status in ('queued', 'running') and r.status = 'running' and r.boot_id = ?",
        (boot_id,),
    ).fetchall()
    return [_run(row) for row in found]


def claim_next(connection: Connection, *, boot_id: str, now: int, after: int = 0) -> Run | None:
    """The oldest queued run of the workspace whose turn it is, now running under this boot id.

    Turns go round: `after` is the workspace that had the last one, so that a long queue of one keeps no
    other waiting. None when nothing waits, or when the run has failed at once because its mission cannot
    be told.
    """
    return _claim(connection, _NEXT_QUEUED, (after, 0), boot_id=boot_id, now=now)


def claim_run(connection: Connection, workspace: int, run_id: str, *, boot_id: str, now: int) -> Run | None:
    """Exactly this run, now running under this boot id; None when it is not queued."""
    return _claim(connection, _THIS_QUEUED, (workspace, run_id), boot_id=boot_id, now=now)


def _claim(
    connection: Connection, choice: str, named: tuple[int | str, ...], *, boot_id: str, now: int
) -> Run | None:
    claimed = connection.execute(_CLAIM.format(choice=choice), (boot_id, now, *named)).fetchall()
    if not claimed:
        return None
    run = _run_of(connection, claimed[0][0])
    _record_event(connection, run.workspace, run.key, run.status, now)
    if _announce(connection, run, started_entries(run, now), now):
        return run
    _store_failure(connection, run, _UNTOLD, now)
    return None


def finish(connection: Connection, run: Run, outcome: Outcome, *, now: int) -> bool:
    """End a claimed run; False, and nothing changes, when this claim holds it no more.

    A run that somebody cancelled in the meantime ends cancelled, whatever the outcome brings.
    """
    if not _is_held(connection, run):
        return False
    if _run_of(connection, run.key).cancelled:
        outcome = _CANCELLED
    _end(connection, run, outcome, now)
    return True


def return_to_queue(connection: Connection, run: Run, *, now: int) -> bool:
    """Put a claimed run back without using up an attempt; False when this claim holds it no more."""
    if not _is_held(connection, run):
        return False
    if _run_of(connection, run.key).cancelled:
        _end(connection, run, _CANCELLED, now)
    else:
        _requeue(connection, run, run.attempt - 1, now)
    return True


def cancel_run(connection: Connection, workspace: int, run_id: str, *, now: int) -> Run | None:
    """End a queued run at once, mark a running one, leave one that ended; None when there is none."""
    run = find_run(connection, workspace, run_id)
    if run is None or run.ended:
        return run
    if run.status == QUEUED:
        _end(connection, run, _CANCELLED, now)
    else:
        connection.execute("update eval_run set cancelled = 1 where id = ?", (run.key,))
    return _run_of(connection, run.key)


def rescue(connection: Connection, *, boot_id: str, now: int) -> Rescued:
    """Queue again what another process left running, or give it up when that happened before."""
    left = connection.execute(
        f"{_SELECT} where r.status in ('queued', 'running') and r.status = 'running'"
        " and r.boot_id is not ? order by r.id",
        (boot_id,),
    ).fetchall()
    requeued = 0
    for run in map(_run, left):
        if run.cancelled:
            _end(connection, run, _CANCELLED, now)
        elif run.attempt >= ATTEMPTS:
            _end(connection, run, _INTERRUPTED, now)
        else:
            _requeue(connection, run, run.attempt, now)
            requeued += 1
    return Rescued(requeued=requeued, ended=len(left) - requeued)


def _is_held(connection: Connection, run: Run) -> bool:
    found = connection.execute(
        "select 1 from eval_run where id = ? and status = 'running'"
        " and attempt = ? and boot_id = ? and started_at = ?",
        (run.key, run.attempt, run.boot_id, run.started_at),
    )
    return found.fetchone() is not None


def _requeue(connection: Connection, run: Run, attempt: int, now: int) -> None:
    connection.execute(
        "update eval_run set status = 'queued', attempt = ?, boot_id = null, started_at = null where id = ?",
        (attempt, run.key),
    )
    _record_event(connection, run.workspace, run.key, QUEUED, now)


def _end(connection: Connection, run: Run, outcome: Outcome, now: int) -> None:
    if not _announce(connection, run, ended_entries(run, outcome, now), now):
        outcome = _UNTOLD
    if isinstance(outcome, Completed):
        _store_result(connection, run, outcome, now)
    else:
        _store_failure(connection, run, outcome, now)


def _store_failure(connection: Connection, run: Run, failed: Failed, now: int) -> None:
    connection.execute(
        "update eval_run set status = 'failed', result = ?, reason = ?, completed_at = ? where id = ?",
        (failed.message, failed.reason, now, run.key),
    )
    _record_event(connection, run.workspace, run.key, FAILED, now)


def _store_result(connection: Connection, run: Run, outcome: Completed, now: int) -> None:
    connection.execute(
        "update eval_run set status = 'completed', result = ?, signature = ?, regressed = ?,"
        " total_tokens = ?, total_cost_usd = ?, completed_at = ? where id = ?",
        (
            outcome.result,
            outcome.signature,
            int(bool(outcome.regressed_metrics)),
            outcome.total_tokens,
            outcome.total_cost_usd,
            now,
            run.key,
        ),
    )
    connection.execute(
        "insert into eval_report (run, report) values (?, ?)", (run.key, bytes(outcome.report))
    )
    for sealed in outcome.capsules:
        baselines.keep_capsule(connection, run.workspace, sealed)
    _record_event(connection, run.workspace, run.key, COMPLETED, now)


def _announce(connection: Connection, run: Run, entries: list[dict[str, object]], now: int) -> bool:
    """Tell the mission's journal; False, with nothing told, when that mission cannot be told anything.

    One damaged mission must neither hold up the queue nor keep a run from ending. A mission that does
    not exist is not made by being evaluated.
    """
    if not missions.exists(connection, run.workspace, run.subject_mission_id):
        return True
    connection.execute("savepoint announcement")
    try:
        journal.append_facts(connection, run.workspace, entries, now=now)
    except sqlite3.OperationalError:  # busy or full: the whole change is tried again
        raise
    except Exception:
        _log.exception("the journal of run %s cannot be written", run.run_id)
        connection.execute("rollback to announcement")
        connection.execute("release announcement")
        return False
    connection.execute("release announcement")
    return True


def _record_event(connection: Connection, workspace: int, key: int, status: str, now: int) -> None:
    connection.execute(
        "insert into eval_event (workspace, run, status, at) values (?, ?, ?, ?)",
        (workspace, key, status, now),
    )


def _run_of(connection: Connection, key: int) -> Run:
    return _run(connection.execute(_SELECT + "where r.id = ?", (key,)).fetchone())


def _run(found: tuple[object, ...]) -> Run:
    return msgspec.convert(dict(zip(Run.__struct_fields__, found, strict=True)), Run, strict=False)
