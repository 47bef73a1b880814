"""Alert rules and their deliveries in the database.

A rule has a cursor: what it has looked at. The cursor moves in the transaction that writes the deliveries
of what lies before it, so that a crash neither loses nor doubles one; an event has one delivery by a rule.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from quartermaster.core.alerts import Destination, OnChangePoint, OnFailureMode, OnRegression, Origin, Trigger
from quartermaster.errors import NotFound
from quartermaster.store.cursors import read_cursor, write_cursor
from quartermaster.store.database import Connection

WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
DEAD: Final = "dead"
HELD: Final = "held back"
CANCELLED: Final = "cancelled"
STATES: Final = (WAITING, DELIVERED, DEAD, HELD, CANCELLED)
"""`dead` after the last attempt, `held back` where a rule fired too often, `cancelled` with its rule."""

MOST_AN_HOUR: Final = 60
"""Deliveries of one rule in an hour; what is beyond is written down and not sent."""
KEPT: Final = 90 * 86_400 * 10**9
"""Nanoseconds for which deliveries that have ended are kept."""
LIST_LIMIT: Final = 500

_HOUR: Final = 3600 * 10**9


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants to be told of what, and where. `secret` signs the messages to a webhook."""

    key: int
    rule_id: str
    workspace: int
    workspace_id: str
    slug: str
    name: str
    trigger: Trigger
    destination: Destination
    secret: str | None
    cursor: int
    created_at: int
    created_by: str

    def origin(self, base: str) -> Origin:
        return Origin(
            rule_id=self.rule_id,
            name=self.name,
            workspace_id=self.workspace_id,
            slug=self.slug,
            base=base,
        )


class NewRule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule that is not kept yet. `standing` are the changes that a trend shows already, by series, as of
    the change of a mission that `seen` names."""

    rule_id: str
    name: str
    trigger: Trigger
    destination: Destination
    secret: str | None
    created_by: str
    standing: Mapping[str, str] = {}
    seen: int = 0


class Composed(msgspec.Struct, frozen=True):
    """A message of a rule; `event` is what it tells of, once."""

    delivery_id: str
    event: str
    payload: bytes


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one message. `said` is how its last attempt ended."""

    key: int
    delivery_id: str
    rule: int
    rule_id: str
    name: str
    payload: bytes
    state: str
    attempts: int
    due_at: int
    created_at: int
    ended_at: int | None
    said: str | None


class DeliveryFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to list."""

    rule_id: str | None = None
    state: str | None = None
    cursor: str | None = None
    limit: int = 100


class DeliveryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries, newest first, and the cursor of those behind them."""

    rows: tuple[Delivery, ...]
    next_cursor: str | None


_RULES: Final = """
select r.id, r.rule_id, r.workspace, w.workspace_id, w.slug, r.name, r.trigger, r.destination, r.secret,
       r.cursor, r.created_at, r.created_by
from alert_rule r join workspace w on w.id = r.workspace where r.removed_at is null
"""
_DELIVERIES: Final = """
select d.id, d.delivery_id, d.rule, r.rule_id, r.name, d.payload, d.state, d.attempts, d.due_at,
       d.created_at, d.ended_at, d.said
from alert_delivery d join alert_rule r on r.id = d.rule
"""


def add_rule(connection: Connection, workspace: int, new: NewRule, *, now: int) -> Rule:
    """Keep a rule: it fires for what happens from now on."""
    cursor = new.seen if isinstance(new.trigger, OnChangePoint) else newest(connection, new.trigger)
    (key,) = connection.execute(
        "insert into alert_rule (rule_id, workspace, name, trigger, destination, secret, cursor, created_at,"
        " created_by) values (?, ?, ?, ?, ?, ?, ?, ?, ?) returning id",
        (
            new.rule_id,
            workspace,
            new.name,
            msgspec.json.encode(new.trigger).decode(),
            msgspec.json.encode(new.destination).decode(),
            new.secret,
            cursor,
            now,
            new.created_by,
        ),
    ).fetchone()
    _note_series(connection, key, new.standing)
    return find_rule(connection, workspace, new.rule_id)


def newest(connection: Connection, trigger: OnRegression | OnFailureMode) -> int:
    """The last event of the kind that such a rule looks at; 0 when there was none."""
    query = (
        "select coalesce(max(id), 0) from eval_event"
        if isinstance(trigger, OnRegression)
        else "select coalesce(max(seq), 0) from sqlite_sequence where name = 'examined'"
    )
    return int(connection.execute(query).fetchone()[0])


def list_rules(connection: Connection, workspace: int | None = None) -> list[Rule]:
    """Rules in the order in which they were made, of one workspace or of all."""
    found = connection.execute(
        _RULES + " and r.workspace = coalesce(?, r.workspace) order by r.id", (workspace,)
    )
    return [_rule(row) for row in found]


def find_rule(connection: Connection, workspace: int, rule_id: str) -> Rule:
    """The rule of that id; NotFound where this workspace has none."""
    row = connection.execute(
        _RULES + " and r.workspace = ? and r.rule_id = ?", (workspace, rule_id)
    ).fetchone()
    if row is None:
        raise NotFound(f"no alert rule {rule_id!r}; `quartermaster alert list` lists them")
    return _rule(row)


def remove_rule(connection: Connection, rule: Rule, *, now: int) -> None:
    """End a rule: what waits is not sent, its secret is forgotten, what it told of stays in the list."""
    connection.execute(
        "update alert_delivery set state = ?, ended_at = ? where rule = ? and state = ?",
        (CANCELLED, now, rule.key, WAITING),
    )
    connection.execute("delete from alert_series where rule = ?", (rule.key,))
    connection.execute("update alert_rule set removed_at = ?, secret = null where id = ?", (now, rule.key))


def revive(connection: Connection, rule: Rule, *, now: int) -> int:
    """Let the dead messages of a rule wait once more, with all their attempts; how many there were."""
    revived = connection.execute(
        "update alert_delivery set state = ?, attempts = 0, due_at = ?, ended_at = null"
        " where rule = ? and state = ? returning id",
        (WAITING, now, rule.key, DEAD),
    )
    return len(revived.fetchall())


def told_series(connection: Connection, rule: int) -> dict[str, str]:
    """The last change that a rule knows of, by series."""
    return dict(connection.execute("select series, at from alert_series where rule = ?", (rule,)).fetchall())


def advance(
    connection: Connection,
    rule: Rule,
    cursor: int,
    composed: Sequence[Composed],
    *,
    series: Mapping[str, str],
    now: int,
) -> int:
    """Move a rule's cursor and write what lies before it; how many deliveries are to be sent.

    Nothing changes where the rule is gone or its cursor stands elsewhere meanwhile.
    """
    moved = connection.execute(
        "update alert_rule set cursor = ? where id = ? and cursor = ? and removed_at is null returning id",
        (cursor, rule.key, rule.cursor),
    ).fetchone()
    if moved is None:
        return 0
    _note_series(connection, rule.key, series)
    allowed = MOST_AN_HOUR - _sent_within_an_hour(connection, rule.key, now)
    sent = 0
    for one in composed:
        state, ended_at = (WAITING, None) if sent < allowed else (HELD, now)
        kept = connection.execute(
            "insert into alert_delivery (delivery_id, rule, event, payload, state, due_at, created_at,"
            " ended_at) values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing returning id",
            (one.delivery_id, rule.key, one.event, one.payload, state, now, now, ended_at),
        ).fetchone()
        sent += kept is not None and state == WAITING
    return sent


def _sent_within_an_hour(connection: Connection, rule: int, now: int) -> int:
    query = "select count(*) from alert_delivery where rule = ? and created_at > ? and state <> ?"
    return int(connection.execute(query, (rule, now - _HOUR, HELD)).fetchone()[0])


def _note_series(connection: Connection, rule: int, series: Mapping[str, str]) -> None:
    connection.executemany(
        "insert or replace into alert_series (rule, series, at) values (?, ?, ?)",
        [(rule, name, at) for name, at in series.items()],
    )


def due(connection: Connection, now: int) -> list[Delivery]:
    """Of every rule the first delivery that is due, the longest due one first."""
    first = "select min(id) from alert_delivery where state = 'waiting' and due_at <= ? group by rule"
    found = connection.execute(f"{_DELIVERIES} where d.id in ({first}) order by d.due_at, d.id", (now,))
    return [_delivery(row) for row in found]


def settle(
    connection: Connection, delivery: Delivery, *, state: str, said: str, due_at: int, now: int
) -> bool:
    """Write down how an attempt ended; False where the delivery was cancelled meanwhile."""
    settled = connection.execute(
        "update alert_delivery set state = ?, attempts = attempts + 1, said = ?, due_at = ?, ended_at = ?"
        " where id = ? and state = ? returning id",
        (state, said, due_at, None if state == WAITING else now, delivery.key, WAITING),
    ).fetchone()
    return settled is not None


def forget(connection: Connection, *, now: int) -> None:
    """Remove deliveries that ended long ago, and removed rules without any."""
    connection.execute("delete from alert_delivery where ended_at < ?", (now - KEPT,))
    connection.execute(
        "delete from alert_rule where removed_at < ? and id not in (select rule from alert_delivery)",
        (now - KEPT,),
    )


def list_deliveries(connection: Connection, workspace: int, filters: DeliveryFilter) -> DeliveryPage:
    """One page, newest first; raises UsageError for a cursor that another question gave."""
    conditions, values = ["r.workspace = ?"], list[Any]([workspace])
    scope = ("alert deliveries", workspace, filters.rule_id, filters.state)
    for condition, value in (("r.rule_id = ?", filters.rule_id), ("d.state = ?", filters.state)):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if filters.cursor is not None:
        conditions.append("d.id < ?")
        values.extend(read_cursor(filters.cursor, scope, (int,)))
    found = connection.execute(
        f"{_DELIVERIES} where {' and '.join(conditions)} order by d.id desc limit ?",
        (*values, filters.limit + 1),
    ).fetchall()
    rows = tuple(map(_delivery, found[: filters.limit]))
    more = len(found) > filters.limit
    return DeliveryPage(rows=rows, next_cursor=write_cursor(scope, (rows[-1].key,)) if more else None)


def _rule(row: tuple[Any, ...]) -> Rule:
    told = dict(zip(Rule.__struct_fields__, row, strict=True))
    told["trigger"] = msgspec.json.decode(told["trigger"], type=Trigger)
    told["destination"] = msgspec.json.decode(told["destination"], type=Destination)
    return Rule(**told)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    return Delivery(**dict(zip(Delivery.__struct_fields__, row, strict=True)))
