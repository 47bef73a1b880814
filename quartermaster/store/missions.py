"""Missions: what is known of each beside its events, with running totals so that lists touch no entry."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec.structs import astuple

from quartermaster.core.journal import JournalEntry, parse_instant
from quartermaster.core.selection import LARGEST, Selection
from quartermaster.errors import NotFound, UsageError
from quartermaster.store.cursors import read_cursor, write_cursor
from quartermaster.store.database import Connection

LIST_LIMIT: Final = 500
_OUTCOMES: Final = frozenset({"succeeded", "failed", "aborted", "timed_out", "limit_reached"})
_MOST: Final = 2**63 - 1
"""What a total stays at, when recordings claim more than a database can count."""
_STRONGEST_ORIGIN: Final = ("verifier", "harness", "human")
"""Whose word on the outcome wins, strongest first; everybody else comes after these, the agent last."""


Sort = Literal["changed", "started", "cost", "tokens", "entries", "title"]
SORTS: Final[tuple[Sort, ...]] = get_args(Sort)
_SORT_KEYS: Final[dict[Sort, str]] = {
    "changed": "changed_at",
    "started": "case when ordinal then null else started_at end",
    "cost": "case when calls_with_cost = model_calls and model_calls > 0 then cost end",
    "tokens": "case when calls_with_tokens = model_calls and model_calls > 0 then total_tokens end",
    "entries": "entries",
    "title": "lower(coalesce(title, mission_id))",
}
"""All but the title go downwards; what is not known comes last."""
_NOT_KNOWN: Final = -(2**63)


class Mission(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work. Instants are nanoseconds since 1970; times are None where the recording has none.

    `total_tokens` and `cost` (picodollars) are None unless every model call says its own; `key` is the
    number of the mission inside this database and never leaves it. `known_cost` is that of the
    `calls_with_cost`.
    """

    key: int
    mission_id: str
    format: str | None
    title: str | None
    task: str | None
    variant: str | None
    trial: int | None
    agent: str | None
    model: str | None
    version: str | None
    commit_id: str | None
    parent_mission_id: str | None
    labels: dict[str, Any] | None
    outcome: str | None
    outcome_origin: str | None
    reward: float | None
    started_at: int | None
    ended_at: int | None
    entries: int
    model_calls: int
    calls_with_tokens: int
    calls_with_cost: int
    total_tokens: int | None
    cost: int | None
    known_cost: int
    revision: int
    created_at: int
    changed_at: int


class MissionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of missions is narrowed to. `q` is looked for in id, title, task and variant,
    `failure_mode` in what was found when it was last examined."""

    q: str | None = None
    task: str | None = None
    variant: str | None = None
    outcome: str | None = None
    format: str | None = None
    failure_mode: str | None = None
    since: int | None = None
    until: int | None = None
    sort: Sort = "changed"
    cursor: str | None = None
    limit: int = 100


class MissionPage(msgspec.Struct, frozen=True):
    """One page of missions in the order that was asked for, last changed first without a word."""

    rows: tuple[Mission, ...]
    next_cursor: str | None


class Outcome(msgspec.Struct, frozen=True):
    """What somebody said of how a mission ended."""

    origin: str
    outcome: str | None
    reward: float | None


_COLUMNS: Final = (
    "id, mission_id, format, title, task, variant, trial, agent, model, version, commit_id,"
    " parent_mission_id, labels, outcome, outcome_origin, reward, ordinal, started_at, ended_at, entries,"
    " model_calls, calls_with_tokens, calls_with_cost, total_tokens, cost, revision, created_at, changed_at"
)


def _mission(row: tuple[Any, ...]) -> Mission:
    ordinal, started_at, ended_at, entries, calls, with_tokens, with_cost, tokens, cost = row[16:25]
    return Mission(
        key=row[0],
        mission_id=row[1],
        format=row[2],
        title=row[3],
        task=row[4],
        variant=row[5],
        trial=row[6],
        agent=row[7],
        model=row[8],
        version=row[9],
        commit_id=row[10],
        parent_mission_id=row[11],
        labels=msgspec.json.decode(row[12]) if row[12] else None,
        outcome=row[13],
        outcome_origin=row[14],
        reward=row[15],
        started_at=None if ordinal else started_at,
        ended_at=None if ordinal else ended_at,
        entries=entries,
        model_calls=calls,
        calls_with_tokens=with_tokens,
        calls_with_cost=with_cost,
        total_tokens=tokens if with_tokens == calls else None,
        cost=cost if with_cost == calls else None,
        known_cost=cost,
        revision=row[25],
        created_at=row[26],
        changed_at=row[27],
    )


def find_mission(connection: Connection, workspace: int, mission_id: str) -> Mission | None:
    """The mission of that id in that workspace, if there is one."""
    row = connection.execute(
        f"select {_COLUMNS} from mission where workspace = ? and mission_id = ?",  # noqa: S608
        (workspace, mission_id),
    ).fetchone()
    return None if row is None else _mission(row)


def exists(connection: Connection, workspace: int, mission_id: str) -> bool:
    """Whether the workspace has a mission of that id."""
    found = connection.execute(
        "select 1 from mission where workspace = ? and mission_id = ?", (workspace, mission_id)
    )
    return found.fetchone() is not None


def mission_ids_starting(connection: Connection, workspace: int, prefix: str, limit: int = 3) -> list[str]:
    """Ids of missions that begin with a prefix, in order of id."""
    rows = connection.execute(
        "select mission_id from mission where workspace = ? and mission_id >= ?"
        " and substr(mission_id, 1, ?) = ? order by mission_id limit ?",
        (workspace, prefix, len(prefix), prefix, limit),
    )
    return [row[0] for row in rows]


def list_missions(connection: Connection, workspace: int, filters: MissionFilter) -> MissionPage:
    """One page of missions in their order; raises UsageError on a cursor of another list."""
    conditions, values = _conditions(filters)
    by_title = filters.sort == "title"
    sort_key = _SORT_KEYS[filters.sort]
    if filters.sort not in ("changed", "title"):
        sort_key = f"coalesce({sort_key}, {_NOT_KNOWN})"
    scope = ("missions", workspace) if filters.sort == "changed" else ("missions", workspace, filters.sort)
    if filters.cursor:
        last_value, key = read_cursor(filters.cursor, scope, (str if by_title else int, int))
        conditions.append(f"({sort_key}, id) {'>' if by_title else '<'} (?, ?)")
        values += [last_value, key]
    where = "".join(f" and {condition}" for condition in conditions)
    direction = "asc" if by_title else "desc"
    rows = connection.execute(
        f"select {_COLUMNS}, {sort_key} from mission"  # noqa: S608
        f" where workspace = ? and mission_id is not null{where}"
        f" order by {sort_key} {direction}, id {direction} limit ?",
        (workspace, *values, filters.limit + 1),
    ).fetchall()
    page = rows[: filters.limit]
    more = len(rows) > filters.limit
    cursor = write_cursor(scope, (page[-1][-1], page[-1][0])) if more else None
    return MissionPage(tuple(_mission(row) for row in page), cursor)


def select_missions(connection: Connection, workspace: int, selection: Selection) -> list[Mission]:
    """The missions of one side of a comparison, by id; raises NotFound for an id that is not there."""
    if selection.by_ids:
        return [_named(connection, workspace, one) for one in sorted(set(selection.mission_ids))]
    conditions, values = _described(selection)
    rows = connection.execute(
        f"select {_COLUMNS} from mission where workspace = ? and mission_id is not null"  # noqa: S608
        f" and {' and '.join(conditions)} order by mission_id limit ?",
        (workspace, *values, LARGEST + 1),
    ).fetchall()
    if len(rows) > LARGEST:
        raise UsageError(f"more than {LARGEST:,} missions match; describe them more closely")
    return [_mission(row) for row in rows]


def _named(connection: Connection, workspace: int, mission_id: str) -> Mission:
    mission = find_mission(connection, workspace, mission_id)
    if mission is None:
        raise NotFound(f"no mission {mission_id!r}; it may have been removed since this run was queued")
    return mission


def repeated_runs(connection: Connection, workspace: int, like: Mission, *, limit: int) -> list[Mission]:
    """Ended missions of the same variant: first those of its task, then of other tasks run more than once."""
    rows = connection.execute(
        f"select {_COLUMNS} from mission m where workspace = ?1 and mission_id is not null"  # noqa: S608
        " and variant is ?2 and task is not null and outcome is not null"
        " and (task = ?3 or exists (select 1 from mission other where other.workspace = ?1"
        " and other.variant is ?2 and other.task = m.task and other.id <> m.id))"
        " order by task <> ?3, changed_at desc, id desc limit ?4",
        (workspace, like.variant, like.task, limit),
    )
    return [_mission(row) for row in rows]


def earlier_runs(connection: Connection, workspace: int, like: Mission, *, limit: int) -> list[Mission]:
    """Runs of the same task by the same variant that ended and began before this one, the latest first;
    none for a mission without a task or without a clock."""
    if like.task is None or like.started_at is None:
        return []
    rows = connection.execute(
        f"select {_COLUMNS} from mission where workspace = ? and mission_id is not null"  # noqa: S608 - our own
        " and task = ? and variant is ? and outcome is not null and not ordinal and started_at < ?"
        " order by started_at desc, mission_id limit ?",
        (workspace, like.task, like.variant, like.started_at, limit),
    )
    return [_mission(row) for row in rows]


def repeated_missions(connection: Connection, workspace: int, *, limit: int) -> list[Mission]:
    """Ended missions whose task was run more than once by their variant, last changed first."""
    rows = connection.execute(
        f"select {_COLUMNS} from mission m where workspace = ?1 and mission_id is not null"  # noqa: S608
        " and task is not null and outcome is not null"
        " and exists (select 1 from mission other where other.workspace = ?1 and other.task = m.task"
        " and other.variant is m.variant and other.outcome is not null and other.id <> m.id)"
        " order by changed_at desc, id desc limit ?2",
        (workspace, limit),
    )
    return [_mission(row) for row in rows]


_SELECTED: Final = {
    "task": "task",
    "variant": "variant",
    "format": "format",
    "model": "model",
    "agent": "agent",
    "commit": "commit_id",
}


def _described(selection: Selection) -> tuple[list[str], list[Any]]:
    found = {column: getattr(selection, name) for name, column in _SELECTED.items()}
    conditions = [f"{column} = ?" for column, value in found.items() if value is not None]
    values: list[Any] = [value for value in found.values() if value is not None]
    filters = MissionFilter(
        q=selection.q,
        since=None if selection.since is None else parse_instant(selection.since),
        until=None if selection.until is None else parse_instant(selection.until),
    )
    narrowed, more = _conditions(filters)
    conditions += narrowed
    values += more
    for label, value in sorted(selection.labels.items()):
        conditions.append("json_extract(cast(labels as text), ?) = ?")
        values += ['$."' + label.replace('"', '\\"') + '"', int(value) if isinstance(value, bool) else value]
    return conditions, values


def _conditions(filters: MissionFilter) -> tuple[list[str], list[Any]]:
    if not 1 <= filters.limit <= LIST_LIMIT:
        raise UsageError(f"limit is a number from 1 to {LIST_LIMIT}")
    conditions: list[str] = []
    values: list[Any] = []
    for column in ("task", "variant", "outcome", "format"):
        value = getattr(filters, column)
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if filters.failure_mode is not None:
        conditions.append("id in (select mission from failure_mode where name = ?)")
        values.append(filters.failure_mode)
    if filters.since is not None:
        conditions.append("ended_at >= ?")
        values.append(filters.since)
    if filters.until is not None:
        conditions.append("started_at < ?")
        values.append(filters.until)
    if filters.q:
        pattern = "%" + filters.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        columns = ("mission_id", "title", "task", "variant")
        conditions.append("(" + " or ".join(f"{column} like ? escape '\\'" for column in columns) + ")")
        values += [pattern] * len(columns)
    return conditions, values


class MissionState(msgspec.Struct):
    """What an append needs to know of a mission, and what it adds to it."""

    key: int
    next_sequence: int
    tail_entries: int
    entries: int = 0
    model_calls: int = 0
    calls_with_tokens: int = 0
    calls_with_cost: int = 0
    total_tokens: int = 0
    cost: int = 0
    first_instant: int | None = None
    last_instant: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    mixed_ids: bool = False

    def count(self, instants: Sequence[int], recorded: Sequence[int]) -> None:
        """Add entries to the running totals; `recorded`: without those of its own making."""
        self.entries += len(instants)
        self.first_instant, self.last_instant = _span(self.first_instant, self.last_instant, instants)
        self.started_at, self.ended_at = _span(self.started_at, self.ended_at, recorded)

    def count_call(self, tokens: int | None, cost: int | None, sign: int) -> None:
        """Add a model call to the running totals, or take it away."""
        self.model_calls += sign
        if tokens is not None:
            self.calls_with_tokens += sign
            self.total_tokens += sign * tokens
        if cost is not None:
            self.calls_with_cost += sign
            self.cost += sign * cost


def _span(first: int | None, last: int | None, instants: Sequence[int]) -> tuple[int | None, int | None]:
    if not instants:
        return first, last
    earliest, latest = min(instants), max(instants)
    return earliest if first is None else min(first, earliest), latest if last is None else max(last, latest)


def open_missions(
    connection: Connection,
    workspace: int,
    mission_ids: Iterable[str | None],
    *,
    format_name: str | None,
    now: int,
) -> dict[str | None, MissionState]:
    """The state of each mission, made where it does not exist; None is where homeless entries wait."""
    states: dict[str | None, MissionState] = {}
    for mission_id in mission_ids:
        row = connection.execute(
            "select id, next_sequence, tail_entries from mission where workspace = ? and mission_id is ?",
            (workspace, mission_id),
        ).fetchone()
        if row is None:
            inserted = connection.execute(
                "insert into mission (workspace, mission_id, format, created_at, changed_at)"
                " values (?, ?, ?, ?, ?) returning id, 0, 0",
                (workspace, mission_id, format_name, now, now),
            )
            row = inserted.fetchone()
        states[mission_id] = MissionState(*row)
    return states


def save_state(connection: Connection, state: MissionState, *, now: int) -> None:
    """Write the running totals of a mission that has got entries."""
    connection.execute(
        "update mission set next_sequence = :next_sequence, tail_entries = :tail_entries,"
        " entries = entries + :entries, model_calls = model_calls + :model_calls,"
        " calls_with_tokens = calls_with_tokens + :calls_with_tokens,"
        " calls_with_cost = calls_with_cost + :calls_with_cost,"
        " total_tokens = max(min(total_tokens + :total_tokens, :most), -:most),"
        " cost = max(min(cost + :cost, :most), -:most),"
        " first_instant = coalesce(min(first_instant, :first_instant), first_instant, :first_instant),"
        " last_instant = coalesce(max(last_instant, :last_instant), last_instant, :last_instant),"
        " started_at = coalesce(min(started_at, :started_at), started_at, :started_at),"
        " ended_at = coalesce(max(ended_at, :ended_at), ended_at, :ended_at),"
        " mixed_ids = max(mixed_ids, :mixed_ids), revision = revision + 1,"
        " changed_at = max(changed_at, :now) where id = :key",
        {
            **msgspec.structs.asdict(state),
            "total_tokens": _bounded(state.total_tokens),
            "cost": _bounded(state.cost),
            "most": _MOST,
            "now": now,
        },
    )


def _bounded(total: int) -> int:
    return max(min(total, _MOST), -_MOST)


def apply_fact(connection: Connection, mission: int, entry: JournalEntry, raw: bytes) -> None:
    """What `mission.created` and `mission.outcome` say goes onto the mission; other entries say nothing."""
    if entry.entry_type == "mission.created":
        _apply_created(connection, mission, created_facts(raw))
    elif entry.entry_type == "mission.outcome":
        _apply_outcome(connection, mission, entry.instant, told_outcome(raw))


def _payload_of(raw: bytes) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(raw).get("payload")
    except (msgspec.DecodeError, RecursionError):  # numbers beyond any type, or nested to the limit
        return {}
    return payload if isinstance(payload, dict) else {}


def created_facts(raw: bytes) -> dict[str, Any]:
    """What a `mission.created` says, by column; what it leaves open is left out."""
    payload = _payload_of(raw)
    facts: dict[str, Any] = {
        column: _text(payload.get(key))
        for column, key in (
            ("title", "title"),
            ("task", "task"),
            ("variant", "variant"),
            ("agent", "agent"),
            ("model", "model"),
            ("version", "version"),
            ("commit_id", "commit"),
            ("parent_mission_id", "parent_mission_id"),
        )
    }
    facts["variant"] = facts["variant"] or _variant(facts["agent"], facts["model"], facts["version"])
    trial = payload.get("trial")
    facts["trial"] = trial if type(trial) is int and abs(trial) < 2**62 else None
    labels = payload.get("labels")
    facts["labels"] = msgspec.json.encode(labels) if isinstance(labels, dict) and labels else None
    known = {column: value for column, value in facts.items() if value is not None}
    if payload.get("clock") == "ordinal":
        known["ordinal"] = 1
    return known


def _apply_created(connection: Connection, mission: int, known: Mapping[str, Any]) -> None:
    if known:
        assignments = ", ".join(f"{column} = ?" for column in known)
        connection.execute(f"update mission set {assignments} where id = ?", (*known.values(), mission))  # noqa: S608


def _variant(agent: str | None, model: str | None, version: str | None) -> str | None:
    """Agent, model and version in one word, as far as they are known."""
    return " ".join(part for part in (agent, model, version) if part) or None


def told_outcome(raw: bytes) -> Outcome:
    """What a `mission.outcome` says, and who says so."""
    payload = _payload_of(raw)
    outcome = payload.get("outcome")
    return Outcome(
        origin=_text(payload.get("origin")) or "agent",
        outcome=outcome if isinstance(outcome, str) and outcome in _OUTCOMES else None,
        reward=_number(payload.get("reward")),
    )


def _apply_outcome(connection: Connection, mission: int, instant: int, told: Outcome) -> None:
    connection.execute(
        "insert into mission_outcome (mission, origin, instant, outcome, reward) values (?, ?, ?, ?, ?)"
        " on conflict (mission, origin) do update set instant = excluded.instant, outcome = excluded.outcome,"
        " reward = excluded.reward where excluded.instant >= mission_outcome.instant",
        (mission, told.origin, instant, told.outcome, told.reward),
    )
    strongest = strongest_outcome(outcomes_of(connection, mission))
    origin, outcome, reward = astuple(strongest) if strongest else (None, None, None)
    connection.execute(
        "update mission set outcome = ?, outcome_origin = ?, reward = ? where id = ?",
        (outcome, origin, reward, mission),
    )


def strongest_outcome(told: Iterable[Outcome]) -> Outcome | None:
    """The word that wins; None where nobody said anything."""
    return min(told, key=lambda one: (_rank(one.origin), one.origin), default=None)


def _rank(origin: str) -> int:
    if origin in _STRONGEST_ORIGIN:
        return _STRONGEST_ORIGIN.index(origin)
    return len(_STRONGEST_ORIGIN) + (origin == "agent")


def _number(value: Any) -> float | None:
    if type(value) is float or type(value) is int:
        return float(value) if abs(value) < 1e300 else None
    return None


def _text(value: Any) -> str | None:
    return value[:2_000] if isinstance(value, str) and value else None


def quiet_tails(connection: Connection, before: int, limit: int = 200) -> list[tuple[int, int, int]]:
    """Missions with an open tail that have not changed since an instant: key, next sequence, tail length."""
    return connection.execute(
        "select id, next_sequence, tail_entries from mission"
        " where tail_entries > 0 and changed_at < ? limit ?",
        (before, limit),
    ).fetchall()


def outcomes_of(connection: Connection, mission: int) -> list[Outcome]:
    """Every outcome that somebody told, by who it was; one that was taken back is none."""
    rows = connection.execute(
        "select origin, outcome, reward from mission_outcome where mission = ?"
        " and (outcome is not null or reward is not null) order by origin",
        (mission,),
    )
    return [Outcome(*row) for row in rows]
