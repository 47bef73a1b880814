"""A mission at one glance: a few numbers of every entry, as columns, and what entries say in a window."""

from collections import Counter
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any, Final

import msgspec

from quartermaster.core.journal import SEVERITIES, format_instant
from quartermaster.core.trajectory import COMMAND_END, COMMAND_START, COST_INCURRED, PICODOLLARS
from quartermaster.store.database import Connection
from quartermaster.store.journal import entry_id_of
from quartermaster.store.missions import Mission
from quartermaster.store.names import find_name
from quartermaster.store.raw import RawReader

NAME_LENGTH: Final = 160
"""Command lines and types are cut to so many characters here."""

_MILLISECOND: Final = 10**6
_OWN_TYPES: Final = (
    "eval.run_started",
    "eval.metric",
    "eval.regression_detected",
    "eval.run_completed",
    "eval.run_failed",
)
_AHEAD: Final = 3
_AHEAD_AT_LEAST: Final = 2_000
"""How many entries are read beyond a window, in windows and at least, for the ends of its commands."""
_CHUNK: Final = 500
_TYPE: Final = 2
_KIND: Final = 3
_PAIRING: Final = 11


class Columns(msgspec.Struct, kw_only=True):
    """One list for each fact; the same index in all of them is one row: an entry, or a command with its end.

    `step` is the index in the trajectory, None for an entry that is no step. `place` counts all entries of
    the mission in their order. `at_ms` is the time since the first row; where a command's length is not
    recorded, `duration_ms` is that from its start to its end. `entry_type`, `name` and `actor` are indexes
    of the lists of texts. `context_tokens` is what a model call was given, cached or not.
    """

    entry_id: list[str] = []
    ended_by: list[str | None] = []
    place: list[int] = []
    step: list[int | None] = []
    at_ms: list[int] = []
    duration_ms: list[int | None] = []
    entry_type: list[int] = []
    name: list[int | None] = []
    actor: list[int | None] = []
    success: list[bool | None] = []
    severity: list[int] = []
    tokens: list[int | None] = []
    context_tokens: list[int | None] = []
    cost_usd: list[float | None] = []


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a mission from one index on. `clock` says whether its times are times or only an order."""

    mission_id: str
    clock: str
    started_at: str | None
    entry_types: list[str]
    names: list[str]
    actors: list[str]
    severities: tuple[str, ...]
    count: int | None
    rows: Columns


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry says: `raw` is the whole of it."""

    place: int
    raw: bytes


def read_outline(connection: Connection, mission: Mission, start: int, limit: int) -> Outline:
    """Rows from index `start` on, at most `limit`. What this program wrote about the mission is left out.

    Where many more entries follow, they are not read: `count` is None then, and a command whose end is
    far away is shown without it.
    """
    timed = mission.started_at is not None
    most = _AHEAD * (start + limit) + _AHEAD_AT_LEAST
    entries = _ordered(connection, mission.key, most)
    own = {find_name(connection, name) for name in _OWN_TYPES}
    kept = [
        (place, *entry)
        for place, entry in enumerate(entries)
        if entry[_KIND] != COST_INCURRED and entry[_TYPE] not in own
    ]
    ends = _ends(kept)
    closing = set(ends.values())
    shown = [row for index, row in enumerate(kept) if index not in closing] if ends else kept
    window = shown[start : start + limit]
    first = kept[0][1] if kept else 0
    types, names, actors = _Numbering(), _Numbering(), _Numbering()
    rows = _columns(window, _steps_before(shown[:start]), first, (types, names, actors))
    if ends:
        _close(
            rows, {row[0]: kept[ends[index]] for index, row in enumerate(kept) if index in ends}, first, timed
        )
    texts = _texts(connection, [*types, *names, *actors])
    return Outline(
        mission_id=mission.mission_id,
        clock="time" if timed else "order",
        started_at=format_instant(first) if kept and timed else None,
        entry_types=types.texts(texts),
        names=names.texts(texts),
        actors=actors.texts(texts),
        severities=SEVERITIES,
        count=len(shown) if len(entries) < most else None,
        rows=rows,
    )


def _ends(kept: list[tuple[Any, ...]]) -> dict[int, int]:
    """Index of the row where a command began -> index of the row that ended it; the last one ends first."""
    ends: dict[int, int] = {}
    began: dict[int | None, list[int]] = {}
    for index, row in enumerate(kept):
        kind = row[_KIND + 1]
        if kind == COMMAND_START:
            began.setdefault(row[_PAIRING + 1], []).append(index)
        elif kind == COMMAND_END and began.get(row[_PAIRING + 1]):
            ends[began[row[_PAIRING + 1]].pop()] = index
    return ends


def _steps_before(rows: list[tuple[Any, ...]]) -> int:
    return sum(row[_KIND + 1] is not None for row in rows)


def _columns(
    window: list[tuple[Any, ...]], steps: int, first: int, texts: "tuple[_Numbering, _Numbering, _Numbering]"
) -> Columns:
    if not window:
        return Columns()
    types, names, actors = texts
    place, instant, key, type_, kind, tool, success, severity, tokens, context, cost, duration, _, actor = (
        zip(*window, strict=True)
    )
    number = count(steps)
    return Columns(
        entry_id=[entry_id_of(one) for one in key],
        ended_by=[None] * len(window),
        place=list(place),
        step=[None if one is None else next(number) for one in kind],
        at_ms=[(one - first) // _MILLISECOND for one in instant],
        duration_ms=list(duration),
        entry_type=[types[one] for one in type_],
        name=[None if one is None else names[one] for one in tool],
        actor=[None if one is None else actors[one] for one in actor],
        success=[None if one is None else one == 1 for one in success],
        severity=list(severity),
        tokens=list(tokens),
        context_tokens=list(context),
        cost_usd=[None if one is None else one / PICODOLLARS for one in cost],
    )


def _close(rows: Columns, ends: dict[int, tuple[Any, ...]], first: int, timed: bool) -> None:
    """The ends of commands, by the place of their starts, go onto the rows of those."""
    for index, place in enumerate(rows.place):
        end = ends.get(place)
        if end is None:
            continue
        _, instant, key, _, _, _, success, severity, _, _, _, duration, _, _ = end
        rows.ended_by[index] = entry_id_of(key)
        rows.success[index] = None if success is None else success == 1
        rows.severity[index] = max(rows.severity[index], severity)
        if duration is None and timed:
            duration = (instant - first) // _MILLISECOND - rows.at_ms[index]
        rows.duration_ms[index] = duration


class _Numbering(dict[int, int]):
    """Numbers of the database -> indexes of a list of texts, in the order in which they are met."""

    def __missing__(self, number: int) -> int:
        index = self[number] = len(self)
        return index

    def texts(self, known: dict[int, str]) -> list[str]:
        return [known.get(number, "") for number in self]


def _texts(connection: Connection, numbers: list[int]) -> dict[int, str]:
    known: dict[int, str] = {}
    for chunk in (numbers[at : at + _CHUNK] for at in range(0, len(numbers), _CHUNK)):
        rows = connection.execute(
            f"select id, substr(text, 1, {NAME_LENGTH}) from name"  # noqa: S608 - a number of our own
            f" where id in ({','.join('?' * len(chunk))})",
            chunk,
        )
        known.update(rows.fetchall())
    return known


def _ordered(connection: Connection, mission: int, most: int) -> list[tuple[Any, ...]]:
    """Entries in the order of a replay: by instant, then by the text of the id."""
    rows = connection.execute(
        "select instant, entry_id, type, kind, tool, success, severity, tokens,"
        " input_tokens + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0),"
        " cost, duration_ms, pairing, actor"
        " from entry where mission = ? order by instant, entry_id limit ?",
        (mission, most),
    ).fetchall()
    if _has_ids_of_two_forms(connection, mission):
        rows.sort(key=lambda row: (row[0], entry_id_of(row[1])))
    return rows


def _has_ids_of_two_forms(connection: Connection, mission: int) -> bool:
    return bool(connection.execute("select mixed_ids from mission where id = ?", (mission,)).fetchone()[0])


def read_told(connection: Connection, mission: int, start: int, limit: int) -> Iterator[Told]:
    """The raw entries at places from `start` on, at most `limit`."""
    rows = connection.execute(
        "select instant, entry_id, sequence from entry where mission = ? order by instant, entry_id",
        (mission,),
    )
    if _has_ids_of_two_forms(connection, mission):
        ordered = sorted(rows, key=lambda row: (row[0], entry_id_of(row[1])))
        chosen = ordered[start : start + limit]
    else:
        chosen = connection.execute(
            "select instant, entry_id, sequence from entry where mission = ? order by instant, entry_id"
            " limit ? offset ?",
            (mission, limit, start),
        ).fetchall()
    reader = RawReader(connection)
    for place, (_, _, sequence) in enumerate(chosen, start):
        raw = reader.read(mission, sequence)
        if raw is not None:
            yield Told(place=place, raw=raw)


class Strip(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a mission in cells of equal numbers of steps, in their order.

    `kinds` has one letter a cell, of the kind that most of its steps are: `m` a model call, `t` a tool,
    `g` a guardrail or a budget, `p` a person, `s` an assignment or a status. `failed` counts the steps of
    a cell that failed.
    """

    steps: int
    kinds: str
    failed: list[int]


CELLS: Final = 40
_LETTERS: Final = "-sssstttmsgggppgg-"
"""By kind of core.trajectory."""


def read_strip(connection: Connection, mission: int) -> Strip:
    """The steps of a mission in at most CELLS cells."""
    rows = connection.execute(
        "select kind, success, pairing from entry where mission = ? and kind is not null"
        " order by instant, entry_id",
        (mission,),
    )
    letters: list[str] = []
    failed: list[bool] = []
    open_commands: dict[int | None, list[int]] = {}
    for kind, success, pairing in rows:
        if kind == COST_INCURRED:
            continue
        if kind == COMMAND_END and open_commands.get(pairing):
            failed[open_commands[pairing].pop()] = success == 0
            continue
        if kind == COMMAND_START:
            open_commands.setdefault(pairing, []).append(len(letters))
        letters.append(_LETTERS[kind])
        failed.append(success == 0)
    return _strip(letters, failed)


def _strip(letters: list[str], failed: list[bool]) -> Strip:
    steps = len(letters)
    cells = min(CELLS, steps)
    edges = [cell * steps // cells for cell in range(cells + 1)] if cells else []
    spans = list(pairwise(edges))
    return Strip(
        steps=steps,
        kinds="".join(Counter(letters[first:last]).most_common(1)[0][0] for first, last in spans),
        failed=[sum(failed[first:last]) for first, last in spans],
    )
