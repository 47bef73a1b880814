"""Missions of one shape: what is known of each shape, kept by revision, and who is like whom."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from quartermaster.core.assessment import LEVELS, Layers, Level
from quartermaster.core.shape import CALLLESS, Shape, distances, shape_of
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts
from quartermaster.store.trajectory import step_pages

NEAR: Final = 0.35
"""Two missions of one task seldom go the same way: up to this distance of their profiles they are shown."""

_TEXTS_LIMIT: Final = 50_000


class Drawn(msgspec.Struct, frozen=True):
    """The shape of a mission as it was at a revision."""

    mission: int
    revision: int
    shape: Shape


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """A mission like another. `level` is the finest of the four signatures that both share, None where
    none is; `distance` is that of their profiles, from 0 to 1."""

    mission_id: str
    level: Level | None
    distance: float
    outcome: str | None
    task: str | None
    variant: str | None
    title: str | None


class Similar(msgspec.Struct, frozen=True, kw_only=True):
    """Missions like one, nearest first. `same` counts those that share each signature, `outcomes` how they
    all ended (without a word on it: `unknown`); `compared` is how many were looked at, `not_yet` how many
    have changed since they were."""

    mission_id: str
    rows: tuple[Alike, ...]
    found: int
    same: dict[Level, int]
    outcomes: dict[str, int]
    compared: int
    not_yet: int


def draw_stale(
    connection: Connection, workspace: int, mission: Mission, limit: int, is_over: Callable[[], bool]
) -> list[Drawn]:
    """Shapes of missions that have changed since theirs was drawn: first the one that is asked for, then
    those that changed last, until time is over."""
    own = _stale(connection, workspace, "m.id = ?", mission.key, 1)
    others = _stale(connection, workspace, "m.id <> ?", mission.key, limit)
    texts = Texts(connection)
    drawn: list[Drawn] = []
    for key, revision in [*own, *others]:
        if drawn and is_over():
            break
        if len(texts) > _TEXTS_LIMIT:
            texts.clear()
            texts[None] = None
        rows = (row for page in step_pages(connection, key) for row in page)
        drawn.append(Drawn(key, revision, shape_of(rows, texts)))
    return drawn


def _stale(
    connection: Connection, workspace: int, condition: str, key: int, limit: int
) -> list[tuple[int, int]]:
    return connection.execute(
        "select m.id, m.revision from mission m left join shape s on s.mission = m.id"  # noqa: S608 - our own
        " where m.workspace = ? and m.mission_id is not null and s.revision is not m.revision"
        f" and {condition} order by m.changed_at desc limit ?",
        (workspace, key, limit),
    ).fetchall()


def keep(connection: Connection, drawn: Sequence[Drawn]) -> None:
    """Remember shapes, and forget those of missions that are gone."""
    connection.executemany(
        "insert into shape (mission, revision, steps, kinds, tools, arguments, outcomes, edges)"
        " values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (mission) do update set revision = excluded.revision,"
        " steps = excluded.steps, kinds = excluded.kinds, tools = excluded.tools,"
        " arguments = excluded.arguments, outcomes = excluded.outcomes, edges = excluded.edges",
        [
            (one.mission, one.revision, one.shape.steps, *_digests(one.shape.layers), one.shape.edges)
            for one in drawn
        ],
    )
    connection.execute("delete from shape where mission not in (select id from mission)")


def _digests(layers: Layers) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(getattr(layers, level)) for level in LEVELS)


def find_similar(
    connection: Connection,
    workspace: int,
    mission: Mission,
    *,
    level: Level | None = None,
    near: float = NEAR,
    limit: int = 50,
) -> Similar | None:
    """Missions of the same shape (at `level` where one is asked for) or nearly the same; None while the
    shape of the mission itself is not known."""
    own = next(iter(_shapes(connection, workspace, "s.mission = ?", (mission.key,))), None)
    if own is None:
        return None
    others = _others(connection, workspace, mission.key, own, level)
    spread = distances(own[_EDGES], [other[_EDGES] for other in others])
    alike = [_alike(own, other, distance) for other, distance in zip(others, spread, strict=True)]
    has_profile = own[_EDGES] != CALLLESS
    wanted = [one for one in alike if one.level is not None or (has_profile and one.distance <= near)]
    wanted.sort(key=lambda one: (-_depth(one.level), one.distance, one.mission_id))
    return Similar(
        mission_id=mission.mission_id,
        rows=tuple(wanted[:limit]),
        found=len(wanted),
        same={
            name: _count(connection, workspace, f"s.{name} = ?", own[_depth(name) - 1]) - 1 for name in LEVELS
        },
        outcomes=_counted(one.outcome or "unknown" for one in wanted),
        compared=_count(connection, workspace, "s.mission <> ?", mission.key),
        not_yet=_count_stale(connection, workspace),
    )


def _others(
    connection: Connection, workspace: int, key: int, own: tuple[Any, ...], level: Level | None
) -> list[tuple[Any, ...]]:
    """Every other mission, or those that share a signature, which an index finds."""
    if level is None:
        return _shapes(connection, workspace, "s.mission <> ?", (key,))
    condition = f"s.mission <> ? and s.{level} = ?"
    return _shapes(connection, workspace, condition, (key, own[_depth(level) - 1]))


def _count(connection: Connection, workspace: int, condition: str, value: object) -> int:
    row = connection.execute(
        "select count(*) from shape s join mission m on m.id = s.mission"  # noqa: S608 - our own conditions
        f" where m.workspace = ? and m.mission_id is not null and {condition}",
        (workspace, value),
    ).fetchone()
    return int(row[0])


def _count_stale(connection: Connection, workspace: int) -> int:
    row = connection.execute(
        "select count(*) from mission m left join shape s on s.mission = m.id"
        " where m.workspace = ? and m.mission_id is not null and s.revision is not m.revision",
        (workspace,),
    ).fetchone()
    return int(row[0])


_EDGES: Final = 4
_FACTS: Final = 5


def _shapes(
    connection: Connection, workspace: int, condition: str, values: tuple[object, ...]
) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select s.kinds, s.tools, s.arguments, s.outcomes, s.edges,"  # noqa: S608 - our own conditions
        " m.mission_id, m.outcome, m.task, m.variant, m.title"
        " from mission m join shape s on s.mission = m.id"
        f" where m.workspace = ? and m.mission_id is not null and {condition}",
        (workspace, *values),
    ).fetchall()


def _alike(own: tuple[Any, ...], other: tuple[Any, ...], distance: float) -> Alike:
    mission_id, outcome, task, variant, title = other[_FACTS:]
    return Alike(
        mission_id=mission_id,
        level=_finest(own, other),
        distance=round(distance, 9),
        outcome=outcome,
        task=task,
        variant=variant,
        title=title,
    )


def _finest(own: tuple[Any, ...], other: tuple[Any, ...]) -> Level | None:
    """Each signature covers those before it."""
    for index in reversed(range(len(LEVELS))):
        if own[index] == other[index]:
            return LEVELS[index]
    return None


def _depth(level: Level | None) -> int:
    return 0 if level is None else 1 + LEVELS.index(level)


def _counted(words: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
