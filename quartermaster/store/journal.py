"""The journal: entries in, each exactly once; entries out, newest first or in the order of a replay."""

import heapq
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgspec

from quartermaster.core.journal import AUDIT, SEVERITIES, JournalEntry, minted_id, read_entry
from quartermaster.core.trajectory import MODEL_CALL, Step, key_of, step_of
from quartermaster.errors import Rejected, UsageError
from quartermaster.store import absorption, chain, missions
from quartermaster.store.cursors import read_cursor, write_cursor
from quartermaster.store.database import Connection
from quartermaster.store.missions import MissionState
from quartermaster.store.names import Numbers, find_name
from quartermaster.store.raw import RawReader, append_raws

LIST_LIMIT: Final = 500
SEARCH_LIMIT: Final = 200
"""Characters of a phrase that may be searched for."""

EntryKey = int | str
"""How an id is stored: `j_` + 16 hex digits as a number of the same order, any other id as it is."""
_Row = tuple[int, EntryKey, int, int]

_OWN_PREFIX: Final = "eval."
_LINK_CHUNK: Final = 500
_FACTS: Final = frozenset({"mission.created", "mission.outcome"})
_ABSORBED: Final = "mission.absorbed"
_is_numbered: Final = re.compile(r"j_[0-9a-f]{16}").fullmatch


class Decoded(msgspec.Struct, frozen=True, gc=False):
    """One raw entry that was read: ready to be stored."""

    raw: bytes
    key: EntryKey
    checksum: int
    entry: JournalEntry
    step: Step | None


class Appended(msgspec.Struct, frozen=True):
    """What became of a batch: counts, the indexes of those in conflict or rejected, new names."""

    accepted: int
    duplicate: int
    conflicts: tuple[int, ...]
    rejected: tuple[tuple[int, str], ...]
    missions: frozenset[int]
    names: dict[str, int]
    removed: tuple[int, ...] = ()
    """Indexes of entries of missions that were removed: they are not taken in again."""


def entry_key(entry_id: str) -> EntryKey:
    """The stored form of an id."""
    if _is_numbered(entry_id):
        return int(entry_id[2:], 16) - 2**63
    return entry_id


def entry_id_of(key: EntryKey) -> str:
    """The id of its stored form."""
    return key if isinstance(key, str) else f"j_{key + 2**63:016x}"


def decode_entry(
    raw: bytes,
    workspace_names: frozenset[str] | None,
    mint: Callable[[bytes], str],
) -> Decoded:
    """Read one raw entry; raises Rejected with the reason.

    `workspace_names` are the id and the slug that the entry's own workspace_id may name. None is for
    entries that this program has written: it accepts any, and what nobody else may say. `mint` gives
    an id to an entry that comes without one.
    """
    entry = read_entry(raw)
    if (
        entry.workspace_id is not None
        and workspace_names is not None
        and entry.workspace_id not in workspace_names
    ):
        raise Rejected("the entry belongs to another workspace")
    if workspace_names is not None and entry.entry_type.startswith(AUDIT):
        raise Rejected(f"entries of the type {AUDIT}* are written by this program alone")
    if entry.id is None:
        entry.id = mint(raw)
    return Decoded(raw, entry_key(entry.id), zlib.crc32(raw), entry, step_of(entry))


def minted_from_content(raw: bytes) -> str:
    """The id of an entry that comes without one and alone: it follows from its bytes."""
    return minted_id("content", raw, "0")


def append(
    connection: Connection,
    workspace: int,
    raws: Sequence[bytes],
    *,
    revisable: bool = False,
    format_name: str | None = None,
    now: int,
) -> Appended:
    """Decode and keep raw entries (see `append_decoded`)."""
    decoded: list[Decoded] = []
    rejected: list[tuple[int, str]] = []
    for index, raw in enumerate(raws):
        try:
            decoded.append(decode_entry(raw, None, minted_from_content))
        except Rejected as reason:
            rejected.append((index, str(reason)))
    appended = append_decoded(
        connection, workspace, decoded, revisable=revisable, format_name=format_name, known_names={}, now=now
    )
    return msgspec.structs.replace(appended, rejected=tuple(rejected))


def append_facts(
    connection: Connection, workspace: int, facts: Iterable[Mapping[str, object]], *, now: int
) -> Appended:
    """Keep entries of this program's own making; ids that are known already add nothing."""
    return append(connection, workspace, [msgspec.json.encode(fact) for fact in facts], now=now)


def append_decoded(
    connection: Connection,
    workspace: int,
    decoded: Sequence[Decoded],
    *,
    revisable: bool,
    format_name: str | None,
    known_names: Mapping[str, int],
    now: int,
) -> Appended:
    """Keep entries that are not known yet, each once.

    The same id with the same content is a duplicate. With another content it is a conflict, and the
    first one stays, unless `revisable`: then the later telling replaces the earlier one, of which only
    the bytes stay. `known_names` are numbers of texts from earlier commits.
    """
    removed = _of_removed(connection, workspace, decoded)
    if removed:
        gone = set(removed)
        kept = [index for index in range(len(decoded)) if index not in gone]
        appended = append_decoded(
            connection,
            workspace,
            [decoded[index] for index in kept],
            revisable=revisable,
            format_name=format_name,
            known_names=known_names,
            now=now,
        )
        conflicts = tuple(kept[index] for index in appended.conflicts)
        return msgspec.structs.replace(appended, conflicts=conflicts, removed=removed)
    known = _known_keys(connection, workspace, [one.key for one in decoded])
    fresh, duplicate, conflicts, revisions = _sort_out(
        connection, workspace, decoded, known, revisable=revisable
    )
    touched = {row.mission for row in known.values()}
    if not fresh:
        return Appended(0, duplicate, conflicts, (), frozenset(touched), {})
    homes = _find_homes(connection, workspace, fresh)
    states = missions.open_missions(
        connection, workspace, dict.fromkeys(homes), format_name=format_name, now=now
    )
    numbers = Numbers(connection, known_names)
    _insert(connection, workspace, fresh, homes=homes, states=states, numbers=numbers)
    for revised, revision in revisions:
        _replace(connection, workspace, revised, revision, states)
    for state in states.values():
        missions.save_state(connection, state, now=now)
    _tell_facts(connection, fresh, homes, states)
    _learn_links(connection, workspace, fresh, homes, states, now=now)
    absorbed = _absorb(connection, workspace, fresh, homes, states)
    return Appended(
        len(fresh),
        duplicate,
        conflicts,
        (),
        frozenset(touched.union(state.key for state in states.values()) - absorbed),
        numbers.added,
    )


def _of_removed(connection: Connection, workspace: int, decoded: Sequence[Decoded]) -> tuple[int, ...]:
    """Indexes of the entries that belong to missions which retention has removed."""
    if not _is_there(connection, "select 1 from removed where workspace = ? limit 1", workspace):
        return ()

    @cache
    def is_removed(link: int) -> bool:
        known = "select 1 from removed where workspace = ? and link = ?"
        return _is_there(connection, known, workspace, link)

    def links_of(entry: JournalEntry) -> list[int]:
        return _links_of(entry) if entry.mission_id is None else [mission_link(entry.mission_id)]

    return tuple(index for index, one in enumerate(decoded) if any(map(is_removed, links_of(one.entry))))


def _is_there(connection: Connection, query: str, *values: int) -> bool:
    return connection.execute(query, values).fetchone() is not None


def mission_link(mission_id: str) -> int:
    """How a mission is remembered that was absorbed or removed."""
    return key_of("mission", mission_id)


def _absorb(
    connection: Connection,
    workspace: int,
    fresh: Sequence[Decoded],
    homes: Sequence[str | None],
    states: Mapping[str | None, MissionState],
) -> set[int]:
    """Missions that turned out to be a part of another end; their numbers."""
    told = [(one, home) for one, home in zip(fresh, homes, strict=True) if one.entry.entry_type == _ABSORBED]
    ended = [
        absorption.absorb(connection, workspace, one.raw, states[home].key, entry_key) for one, home in told
    ]
    return {key for key in ended if key is not None}


class _KeyRow(msgspec.Struct, frozen=True, gc=False):
    mission: int
    instant: int
    checksum: int
    current: EntryKey | None


def _known_keys(connection: Connection, workspace: int, keys: Sequence[EntryKey]) -> dict[EntryKey, _KeyRow]:
    known: dict[EntryKey, _KeyRow] = {}
    for start in range(0, len(keys), _LINK_CHUNK):
        chunk = keys[start : start + _LINK_CHUNK]
        rows = connection.execute(
            "select entry_id, mission, instant, checksum, current from entry_key"  # noqa: S608
            f" where workspace = ? and entry_id in ({','.join('?' * len(chunk))})",
            (workspace, *chunk),
        )
        for row in rows:
            known[row[0]] = _KeyRow(*row[1:])
    return known


def _sort_out(
    connection: Connection,
    workspace: int,
    decoded: Sequence[Decoded],
    known: Mapping[EntryKey, _KeyRow],
    *,
    revisable: bool,
) -> tuple[list[Decoded], int, tuple[int, ...], list[tuple[EntryKey, Decoded]]]:
    """New entries, the count of duplicates, the indexes of conflicts, and which id each revision replaces."""
    fresh: list[Decoded] = []
    batch: dict[EntryKey, Decoded] = {}
    revisions: list[tuple[EntryKey, Decoded]] = []
    conflicts: list[int] = []
    duplicate = 0
    raws = RawReader(connection)
    for index, one in enumerate(decoded):
        earlier = batch.get(one.key) or known.get(one.key)
        if earlier is None:
            batch[one.key] = one
            fresh.append(one)
        elif earlier.checksum == one.checksum or _says_the_same(connection, raws, earlier, one):
            duplicate += 1
        elif not revisable:
            conflicts.append(index)
        else:
            revision = _revision_of(one)
            if revision.key in batch or _known_keys(connection, workspace, [revision.key]):
                duplicate += 1
            else:
                batch[revision.key] = revision
                fresh.append(revision)
                revisions.append((one.key, revision))
    return fresh, duplicate, tuple(conflicts), revisions


def _says_the_same(
    connection: Connection, raws: RawReader, earlier: Decoded | _KeyRow, later: Decoded
) -> bool:
    """Whether two tellings differ in their bytes only: order of keys, white space."""
    raw = earlier.raw if isinstance(earlier, Decoded) else _raw_at(connection, raws, earlier, later.key)
    try:
        return raw is not None and bool(msgspec.json.decode(raw) == msgspec.json.decode(later.raw))
    except (msgspec.DecodeError, RecursionError):  # numbers beyond any type, or nested to the limit
        return False


def _raw_at(connection: Connection, raws: RawReader, row: _KeyRow, key: EntryKey) -> bytes | None:
    found = connection.execute(
        "select sequence from entry where mission = ? and instant = ? and entry_id = ?",
        (row.mission, row.instant, key),
    ).fetchone()
    return raws.read(row.mission, found[0]) if found else None


def _revision_of(one: Decoded) -> Decoded:
    return msgspec.structs.replace(one, key=revision_key(entry_id_of(one.key), one.raw))


def revision_key(entry_id: str, raw: bytes) -> EntryKey:
    """Under which id the later telling of a fact is kept."""
    return entry_key(minted_id("revision", entry_id, blake2b(raw, digest_size=16).digest()))


def _links_of(entry: JournalEntry) -> list[int]:
    links = []
    assignment = entry.payload.assignment_id
    if type(assignment) is str and assignment:
        links.append(key_of("assignment", assignment))
    if entry.trace_id is not None:
        links.append(key_of("trace", entry.trace_id))
    return links


def _find_homes(connection: Connection, workspace: int, fresh: Sequence[Decoded]) -> list[str | None]:
    """The mission id of each entry; of those that carry none, by assignment or trace where that is known."""
    homes = absorption.homes_of(connection, workspace, [one.entry.mission_id for one in fresh])
    homeless = [index for index, home in enumerate(homes) if home is None]
    if not homeless:
        return homes
    in_batch: dict[int, str] = {}
    for one in fresh:
        if one.entry.mission_id is not None:
            for link in _links_of(one.entry):
                in_batch.setdefault(link, one.entry.mission_id)
    for index in homeless:
        for link in _links_of(fresh[index].entry):
            home = linked_mission(connection, workspace, link) or in_batch.get(link)
            if home is not None:
                homes[index] = home
                break
    return homes


def linked_mission(connection: Connection, workspace: int, link: int) -> str | None:
    """The mission that an assignment or a trace belongs to, as far as that is known."""
    row = connection.execute(
        "select mission.mission_id from link join mission on mission.id = link.mission"
        " where link.workspace = ? and link.link = ?",
        (workspace, link),
    ).fetchone()
    return row[0] if row else None


_INSERT_ENTRY: Final = f"insert into entry values ({','.join('?' * 25)})"  # noqa: S608
_INSERT_KEY: Final = "insert into entry_key values (?, ?, ?, ?, ?, null)"
_NULL: Final = float("nan")
"""SQLite stores it as null. Binding None costs ten times as much, and most columns of a row are null."""

_NO_STEP: Final = (_NULL,) * 15


def _insert(
    connection: Connection,
    workspace: int,
    fresh: Sequence[Decoded],
    *,
    homes: Sequence[str | None],
    states: Mapping[str | None, MissionState],
    numbers: Numbers,
) -> None:
    by_home: dict[str | None, list[Decoded]] = {home: [] for home in states}
    for one, home in zip(fresh, homes, strict=True):
        by_home[home].append(one)
    rows: list[tuple[Any, ...]] = []
    keys: list[tuple[Any, ...]] = []
    for home, ones in by_home.items():
        state = states[home]
        rows += [_row(state.key, place, one, numbers) for place, one in enumerate(ones, state.next_sequence)]
        keys += [(workspace, one.key, state.key, one.entry.instant, one.checksum) for one in ones]
        _count(state, ones)
    if any(state.mixed_ids for state in states.values()):
        keys.sort(key=_order_of_key)
    else:
        keys.sort()  # neighbours share a page
    connection.executemany(_INSERT_KEY, keys)
    connection.executemany(_INSERT_ENTRY, rows)
    chain.extend(
        connection,
        workspace,
        [_keep_raws(connection, states[home], ones) for home, ones in by_home.items() if ones],
    )


def _count(state: MissionState, ones: Sequence[Decoded]) -> None:
    state.mixed_ids = any(type(one.key) is str for one in ones)
    instants = recorded = [one.entry.instant for one in ones]
    own = {kind for kind in {one.entry.entry_type for one in ones} if kind.startswith(_OWN_PREFIX)}
    if own:
        recorded = [one.entry.instant for one in ones if one.entry.entry_type not in own]
    state.count(instants, recorded)
    for one in ones:
        if one.step is not None and one.step.kind == MODEL_CALL:
            state.count_call(one.step.tokens, one.step.cost, 1)


def _keep_raws(connection: Connection, state: MissionState, ones: Sequence[Decoded]) -> chain.Piece:
    raws, first = [one.raw for one in ones], state.next_sequence
    state.tail_entries = append_raws(connection, state.key, first, state.tail_entries, raws)
    state.next_sequence += len(raws)
    return chain.piece(state.key, first, raws, [one.checksum for one in ones])


def _order_of_key(row: tuple[Any, ...]) -> tuple[bool, Any]:
    return type(row[1]) is str, row[1]


def _row(mission: int, sequence: int, one: Decoded, numbers: Numbers) -> tuple[Any, ...]:
    entry, step = one.entry, one.step
    actor_type, actor, trace, run = entry.actor_type, entry.actor_id, entry.trace_id, entry.payload.run_id
    envelope = (
        mission,
        entry.instant,
        one.key,
        sequence,
        numbers[entry.entry_type],
        entry.severity,
        _NULL if actor_type is None else numbers[actor_type],
        _NULL if actor is None else numbers[actor],
        _NULL if trace is None else numbers[trace],
        numbers[run] if type(run) is str and run else _NULL,
    )
    if step is None:
        return envelope + _NO_STEP
    tool, success, arguments, terms = step.tool, step.success, step.arguments, step.terms
    return (
        *envelope,
        step.kind,
        _NULL if tool is None else numbers[tool],
        _NULL if success is None else int(success),
        *[_NULL if value is None else value for value in step[5:14]],
        _NULL if arguments is None else numbers[arguments],
        _NULL if step.cache_write_1h_tokens is None else step.cache_write_1h_tokens,
        _NULL if terms is None else numbers[terms],
    )


def _replace(
    connection: Connection,
    workspace: int,
    revised: EntryKey,
    revision: Decoded,
    states: Mapping[str | None, MissionState],
) -> None:
    """Take the telling that a revision replaces out of the mission and its totals; its bytes stay."""
    row = _known_keys(connection, workspace, [revised])[revised]
    outdated = revised if row.current is None else row.current
    place = _known_keys(connection, workspace, [outdated])[outdated]
    removed = connection.execute(
        "delete from entry where mission = ? and instant = ? and entry_id = ? returning tokens, cost, kind",
        (place.mission, place.instant, outdated),
    ).fetchone()
    connection.execute(
        "update entry_key set current = ? where workspace = ? and entry_id = ?",
        (revision.key, workspace, revised),
    )
    for state in states.values():
        if state.key == place.mission and removed is not None:
            state.entries -= 1
            if removed[2] == MODEL_CALL:
                state.count_call(removed[0], removed[1], -1)


def _tell_facts(
    connection: Connection,
    fresh: Sequence[Decoded],
    homes: Sequence[str | None],
    states: Mapping[str | None, MissionState],
) -> None:
    for one, home in zip(fresh, homes, strict=True):
        if home is not None and one.entry.entry_type in _FACTS:
            missions.apply_fact(connection, states[home].key, one.entry, one.raw)


def _learn_links(
    connection: Connection,
    workspace: int,
    fresh: Sequence[Decoded],
    homes: Sequence[str | None],
    states: Mapping[str | None, MissionState],
    *,
    now: int,
) -> None:
    """Remember which mission an assignment or trace belongs to; entries that waited for it move in."""
    learned: dict[int, str] = {}
    seen: set[tuple[str | None, str | None, str | None]] = set()
    for one, home in zip(fresh, homes, strict=True):
        entry = one.entry
        if entry.trace_id is None and entry.payload.assignment_id is None:
            continue
        if home is None:
            _wait(connection, workspace, one)
            continue
        assignment = entry.payload.assignment_id
        told = (entry.trace_id, None if assignment is None else str(assignment), home)
        if told not in seen:
            seen.add(told)
            for link in _links_of(entry):
                learned.setdefault(link, home)
    connection.executemany(
        "insert or ignore into link values (?, ?, ?)",
        [(workspace, link, states[home].key) for link, home in learned.items()],
    )
    if learned and _somebody_waits(connection, workspace):
        for link, home in learned.items():
            _move_in(connection, workspace, link, home, now=now)


def _wait(connection: Connection, workspace: int, one: Decoded) -> None:
    connection.executemany(
        "insert or ignore into waiting values (?, ?, ?, ?)",
        [(workspace, link, one.entry.instant, one.key) for link in _links_of(one.entry)],
    )


def _somebody_waits(connection: Connection, workspace: int) -> bool:
    waiting = connection.execute("select 1 from waiting where workspace = ? limit 1", (workspace,))
    return waiting.fetchone() is not None


def _move_in(connection: Connection, workspace: int, link: int, home: str, *, now: int) -> None:
    waiting = connection.execute(
        "delete from waiting where workspace = ? and link = ? returning instant, entry_id", (workspace, link)
    ).fetchall()
    raws = RawReader(connection)
    moved: list[Decoded] = []
    for instant, key in sorted(waiting, key=lambda row: (row[0], str(row[1]))):
        raw = _move_out(connection, workspace, raws, instant, key, now=now)
        if raw is not None:
            one = decode_entry(raw, None, minted_from_content)
            one.entry.mission_id = home
            moved.append(msgspec.structs.replace(one, key=key))  # minted ids count copies; keep them
    append_decoded(connection, workspace, moved, revisable=False, format_name=None, known_names={}, now=now)


def _move_out(
    connection: Connection, workspace: int, raws: RawReader, instant: int, key: EntryKey, *, now: int
) -> bytes | None:
    """Take a homeless entry out of its waiting room; None when another link has moved it before."""
    room = missions.open_missions(connection, workspace, [None], format_name=None, now=now)[None]
    row = connection.execute(
        "delete from entry where mission = ? and instant = ? and entry_id = ? returning sequence",
        (room.key, instant, key),
    ).fetchone()
    if row is None:
        return None
    connection.execute("delete from entry_key where workspace = ? and entry_id = ?", (workspace, key))
    connection.execute("update mission set entries = entries - 1 where id = ?", (room.key,))
    return raws.read(room.key, row[0])


class JournalFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a list of entries is narrowed to. `since` and `until` are instants, `q` is one phrase."""

    mission_id: str | None = None
    entry_type: tuple[str, ...] = ()
    exclude_entry_type: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    actor_type: tuple[str, ...] = ()
    trace_id: str | None = None
    run_id: str | None = None
    since: int | None = None
    until: int | None = None
    q: str | None = None
    cursor: str | None = None
    limit: int = 100


class JournalPage(msgspec.Struct, frozen=True):
    """One page of raw entries, newest first by (instant, id)."""

    entries: tuple[bytes, ...]
    next_cursor: str | None


def find_entry(connection: Connection, workspace: int, entry_id: str) -> bytes | None:
    """The raw entry of that id in that workspace; of a fact that was told again, the newest telling."""
    key = entry_key(entry_id)
    row = _known_keys(connection, workspace, [key]).get(key)
    if row is not None and row.current is not None:
        key = row.current
        row = _known_keys(connection, workspace, [key]).get(key)
    if row is None or _is_there(connection, "select 1 from remains where mission = ?", row.mission):
        return None
    return _raw_at(connection, RawReader(connection), row, key)


class _Selection(msgspec.Struct, frozen=True):
    """A filter in the words of the database. `nothing` says that no entry can pass."""

    conditions: str
    values: tuple[Any, ...]
    nothing: bool = False


def _selection(connection: Connection, filters: JournalFilter) -> _Selection:
    conditions: list[str] = []
    values: list[Any] = []

    def among(column: str, texts: Sequence[str], *, negated: bool = False) -> bool:
        numbers = [number for text in texts if (number := find_name(connection, text)) is not None]
        if numbers:
            conditions.append(f"{column} {'not ' * negated}in ({','.join('?' * len(numbers))})")
            values.extend(numbers)
        return bool(numbers) or negated or not texts

    possible = among("type", filters.entry_type) and among("actor_type", filters.actor_type)
    among("type", filters.exclude_entry_type, negated=True)
    if filters.severity:
        conditions.append(f"severity in ({','.join('?' * len(filters.severity))})")
        values.extend(_severity_index(severity) for severity in filters.severity)
    if filters.trace_id is not None:
        possible = among("trace", (filters.trace_id,)) and possible
    if filters.run_id is not None:
        number = find_name(connection, filters.run_id)
        possible = possible and number is not None
        conditions.append("? in (run, trace, actor)")
        values.append(number)
    if filters.since is not None:
        conditions.append("instant >= ?")
        values.append(filters.since)
    return _Selection("".join(f" and {one}" for one in conditions), tuple(values), not possible)


def _severity_index(severity: str) -> int:
    if severity not in SEVERITIES:
        raise UsageError("severity is one of " + ", ".join(SEVERITIES))
    return SEVERITIES.index(severity)


def list_entries(connection: Connection, workspace: int, filters: JournalFilter) -> JournalPage:
    """One page of entries, newest first; raises UsageError on a bad limit, severity, phrase or cursor."""
    if not 1 <= filters.limit <= LIST_LIMIT:
        raise UsageError(f"limit is a number from 1 to {LIST_LIMIT}")
    scope = ("journal", workspace)
    bound: tuple[int, EntryKey] = (2**63 - 1 if filters.until is None else filters.until, -(2**63))
    if filters.cursor:
        instant, entry_id = read_cursor(filters.cursor, scope, (int, str))
        bound = min(bound, (instant, entry_key(entry_id)), key=_order)
    selection = _selection(connection, filters)
    raws = RawReader(connection)
    newest: list[_Row] = []
    if not selection.nothing:
        candidates = _candidates(connection, workspace, filters, bound[0])

        def rows_of(mission: int) -> Iterator[_Row]:
            return _rows_of(connection, raws, mission, selection=selection, filters=filters, bound=bound)

        newest = list(islice(_newest_first(candidates, rows_of), filters.limit + 1))
    page = newest[: filters.limit]
    entries = tuple(raw for row in page if (raw := raws.read(row[2], row[3])) is not None)
    more = len(newest) > filters.limit
    cursor = write_cursor(scope, (page[-1][0], entry_id_of(page[-1][1]))) if more else None
    return JournalPage(entries, cursor)


class _Head:
    """The next row of a mission, and those behind it. Heads are in the order in which they are taken."""

    __slots__ = ("key", "rest", "row")

    def __init__(self, row: _Row, rest: Iterator[_Row]) -> None:
        self.row, self.rest, self.key = row, rest, _order(row)

    def __lt__(self, other: "_Head") -> bool:
        return self.key > other.key


def _newest_first(
    candidates: Iterable[tuple[int, int]], rows_of: Callable[[int], Iterator[_Row]]
) -> Iterator[_Row]:
    """The rows of all missions in one order. Of each no more is read than is taken, and one that ended
    before what was taken so far is not asked: of thousands that overlap, a page wants a few."""
    heads: list[_Head] = []
    for mission, last_instant in candidates:
        while heads and heads[0].row[0] > last_instant:
            yield _taken(heads)
        rest = rows_of(mission)
        first = next(rest, None)
        if first is not None:
            heapq.heappush(heads, _Head(first, rest))
    while heads:
        yield _taken(heads)


def _taken(heads: list[_Head]) -> _Row:
    head = heads[0]
    following = next(head.rest, None)
    if following is None:
        heapq.heappop(heads)
    else:
        heapq.heapreplace(heads, _Head(following, head.rest))
    return head.row


def _order(row: tuple[Any, ...]) -> tuple[int, bool, Any]:
    """The order of the database: by instant, then numbers before texts."""
    return row[0], type(row[1]) is str, row[1]


def _candidates(
    connection: Connection, workspace: int, filters: JournalFilter, until: int
) -> Iterator[tuple[int, int]]:
    """Missions that may hold such entries, with their last instant, latest first."""
    conditions, values = "", []
    if filters.mission_id is not None:
        conditions, values = " and mission_id = ?", [filters.mission_id]
    return iter(
        connection.execute(
            "select id, last_instant from mission where workspace = ? and last_instant is not null"  # noqa: S608
            f" and first_instant <= ?{conditions} order by last_instant desc",
            (workspace, until, *values),
        ).fetchall()
    )


def _rows_of(
    connection: Connection,
    raws: RawReader,
    mission: int,
    *,
    selection: _Selection,
    filters: JournalFilter,
    bound: tuple[int, EntryKey],
) -> Iterator[_Row]:
    rows: Iterator[_Row] = connection.execute(
        "select instant, entry_id, mission, sequence from entry"  # noqa: S608
        f" where mission = ? and (instant, entry_id) < (?, ?){selection.conditions}"
        " order by instant desc, entry_id desc",
        (mission, *bound, *selection.values),
    )
    if filters.q is None:
        return rows
    holding = set(raws.sequences_with(mission, needles_of(filters.q)))
    return (row for row in rows if row[3] in holding) if holding else iter(())


def needles_of(phrase: str) -> tuple[bytes, ...]:
    """How a phrase may stand in JSON text, in lower case; UsageError when it is empty or too long."""
    if not phrase.strip() or len(phrase) > SEARCH_LIMIT:
        raise UsageError(f"q is a phrase of 1 to {SEARCH_LIMIT} characters")
    needles: dict[bytes, None] = {}
    for spelling in (phrase, phrase.lower(), phrase.upper()):  # bytes fold the case of ASCII only
        plain = msgspec.json.encode(spelling)[1:-1]
        escaped = "".join(char if ord(char) < 128 else _escaped(char) for char in plain.decode())
        needles[plain.lower()] = None
        needles[escaped.encode().lower()] = None
    return tuple(needles)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def count_entries(connection: Connection, workspace: int, filters: JournalFilter) -> int:
    """How many entries pass a filter (its cursor and limit aside)."""
    until = 2**63 - 1 if filters.until is None else filters.until
    selection = _selection(connection, filters)
    if selection.nothing:
        return 0
    raws = RawReader(connection)
    total = 0
    for mission, _ in _candidates(connection, workspace, filters, until):
        if filters.q is not None:
            bound = (until, -(2**63))
            rows = _rows_of(connection, raws, mission, selection=selection, filters=filters, bound=bound)
            total += sum(1 for _ in rows)
            continue
        total += connection.execute(
            f"select count(*) from entry where mission = ? and instant < ?{selection.conditions}",  # noqa: S608
            (mission, until, *selection.values),
        ).fetchone()[0]
    return total
