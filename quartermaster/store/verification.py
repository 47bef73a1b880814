"""Verification: every raw entry of a workspace against its hash chain, and each bad row by its place.

Reads one mission at a time, each as it is at one moment, while others write; memory follows one block of
raw entries and not the size of the journal. What is held against what is written in `store.chain`.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from struct import Struct
from typing import Any, Final, Generic, TypeVar
from zlib import crc32

import msgspec
import zstandard

from quartermaster.store import chain
from quartermaster.store.chain import CHECKPOINT, ENTRIES, Head
from quartermaster.store.database import Connection, heads_beside
from quartermaster.store.journal import EntryKey, entry_id_of, entry_key, revision_key
from quartermaster.store.raw import unpack

Item = TypeVar("Item")

_CHECKSUM: Final = Struct("<I")
_NAMELESS: Final = "(none)"
"""How the entries are called that belong to no mission."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One bad row: of which mission (by id, or `#` and its number), at which place of it or of the chain,
    and what is wrong with it."""

    what: str
    mission: str | None = None
    sequence: int | None = None
    entry_id: str | None = None
    link: int | None = None

    def __str__(self) -> str:
        where = [
            f"{name} {value}"
            for name, value in (
                ("link", self.link),
                ("mission", self.mission),
                ("sequence", self.sequence),
                ("entry", self.entry_id),
            )
            if value is not None
        ]
        return f"{', '.join(where)}: {self.what}" if where else self.what


class Verified(msgspec.Struct, kw_only=True):
    """What was looked through: the chain up to `head` (number and hash), so many raw entries and bytes."""

    links: int = 0
    checkpoints: int = 0
    missions: int = 0
    entries: int = 0
    size: int = 0
    head: str = ""
    problems: int = 0


class _Own(msgspec.Struct, gc=False):
    id: Any = None
    mission_id: Any = None
    trace_id: Any = None


_decode_own: Final = msgspec.json.Decoder(_Own).decode


def heads_told_beside(database: Path) -> dict[str, Head] | None:
    """How far each chain had come when that was last told beside the database; None without such a file."""
    try:
        told: dict[str, list[Any]] = json.loads(heads_beside(database).read_text())
        return {name: Head(int(number), bytes.fromhex(link)) for name, (number, link) in told.items()}
    except (FileNotFoundError, ValueError, AttributeError):
        return None


def heads_of(connection: Connection) -> dict[str, Head]:
    """How far each chain has come, by workspace id."""
    rows = connection.execute(
        "select workspace_id, number, link from chain_head join workspace on workspace.id = workspace"
    )
    return {name: Head(number, link) for name, number, link in rows}


def verify(
    connection: Connection,
    workspace: int,
    tell: Callable[[Problem], None],
    *,
    heads: Iterable[tuple[str, Head]] = (),
    progress: Callable[[int], None] = lambda size: None,
) -> Verified:
    """Hold a workspace against its chain; every bad row is told at once.

    `heads` are earlier ends of the chain, each with where it was kept: all of them have to be part of it.
    """
    look = _Look(connection, workspace, tell, progress)
    with _one_state(connection):
        _check_chain(look, heads)
        _check_lost_missions(look)
    rows = connection.execute("select id from mission where workspace = ? order by id", (workspace,))
    for (mission,) in rows.fetchall():
        with _one_state(connection):
            _Mission(look, mission).check()
    return look.verified


class _Look:
    """One verification of one workspace: what was seen so far, and who is told what is wrong."""

    def __init__(
        self,
        connection: Connection,
        workspace: int,
        tell: Callable[[Problem], None],
        progress: Callable[[int], None],
    ) -> None:
        self.connection = connection
        self.workspace = workspace
        self.verified = Verified()
        self.progress = progress
        self._tell = tell

    def tell(self, what: str, **where: Any) -> None:
        self.verified.problems += 1
        self._tell(Problem(what=what, **where))


def verify_all(connection: Connection, limit: int = 20) -> list[str]:
    """The first problems of every workspace in words, and how many more there are."""
    told: list[str] = []
    total = 0

    def tell(problem: Problem) -> None:
        nonlocal total
        total += 1
        if total <= limit:
            told.append(str(problem))

    for (workspace,) in connection.execute("select id from workspace order by id").fetchall():
        verify(connection, workspace, tell)
    with _one_state(connection):
        for problem in strays(connection):
            tell(problem)
    return told if total <= limit else [*told, f"{total - limit:,} more raw entries or links are damaged"]


def strays(connection: Connection) -> Iterator[Problem]:
    """Raw entries and rows of missions that are not there, of any workspace."""
    for table in ("block", "tail", "entry"):
        for (mission,) in connection.execute(_MISSIONS_OF.format(table=table)).fetchall():
            known = connection.execute(_IS_KNOWN, (mission, mission)).fetchone()
            if known is None:
                yield Problem(mission=f"#{mission}", what=f"rows of {table} belong to no mission")


_MISSIONS_OF: Final = """
with recursive of_rows (mission) as (
    select min(mission) from {table}
    union all
    select (select min(mission) from {table} where mission > of_rows.mission) from of_rows
    where of_rows.mission is not null
)
select mission from of_rows where mission is not null
"""
_IS_KNOWN: Final = """
select 1 from mission where id = ? union all select 1 from remains where mission = ?
"""


@contextmanager
def _one_state(connection: Connection) -> Iterator[None]:
    connection.execute("begin")
    try:
        yield
    finally:
        connection.execute("rollback")


def _check_chain(look: _Look, heads: Iterable[tuple[str, Head]]) -> None:
    """Every link follows from the one before it, up to the head; earlier heads are among them."""
    (workspace_id,) = look.connection.execute(
        "select workspace_id from workspace where id = ?", (look.workspace,)
    ).fetchone()
    awaited: dict[int, list[tuple[str, bytes]]] = {}
    for place, head in heads:
        awaited.setdefault(head.number, []).append((place, head.link))
    before, last = chain.first_link(workspace_id), 0
    for number, kind, mission, entries, digest, link in look.connection.execute(
        "select number, kind, mission, entries, digest, link from chain_link where workspace = ?"
        " order by number",
        (look.workspace,),
    ):
        for missing in range(last + 1, number):
            look.tell("the link is gone", link=missing)
        if number == last + 1 and chain.next_link(before, number, kind, entries, digest) != link:
            look.tell("the link does not follow from the one before it", link=number)
        for place, expected in awaited.pop(number, ()):
            if link != expected:
                look.tell(f"the chain was rewritten: {place} tells of another link", link=number)
        if kind == CHECKPOINT:
            look.verified.checkpoints += 1
            _check_checkpoint(look, mission, number, (digest, entries))
        look.verified.links += 1
        before, last = link, number
    _check_head(look, Head(last, before))
    for number, kept in sorted(awaited.items()):
        for place, _ in kept:
            what = f"the chain ends at link {last}, and {place} tells of link {number}: its tail was cut"
            look.tell(what, link=number)
    look.verified.head = f"{last}:{before.hex()}"


def _check_head(look: _Look, last: Head) -> None:
    head = chain.head_of(look.connection, look.workspace)
    if head.number > last.number:
        what = f"the chain ends at link {last.number}, and its head is link {head.number}: its tail was cut"
        look.tell(what, link=head.number)
    elif head != last:
        look.tell("the head of the chain is not its last link", link=head.number)


def _check_checkpoint(look: _Look, mission: int, number: int, held: tuple[bytes, int]) -> None:
    if chain.digest_of_links(look.connection, look.workspace, mission) != held:
        what = "the checkpoint does not agree with the links that it took away"
        look.tell(what, link=number, mission=f"#{mission}")
    if look.connection.execute("select 1 from mission where id = ?", (mission,)).fetchone() is not None:
        look.tell("a mission that was taken away is there", link=number, mission=f"#{mission}")


_LOST_MISSIONS: Final = """
select distinct mission from chain_link as held where workspace = ? and kind = ?
and mission not in (select id from mission) and not exists (
    select 1 from chain_link where mission = held.mission and workspace = held.workspace and kind = ?)
"""


def _check_lost_missions(look: _Look) -> None:
    """Links that lead to a mission which is gone, although no checkpoint says that it was taken away."""
    rows = look.connection.execute(_LOST_MISSIONS, (look.workspace, ENTRIES, CHECKPOINT))
    for (mission,) in rows.fetchall():
        lost = look.connection.execute(
            "select number, entries from chain_link where mission = ? and kind = ? order by number",
            (mission, ENTRIES),
        )
        for number, entries in lost:
            what = f"the mission is gone with {entries:,} raw entries, and no checkpoint says why"
            look.tell(what, link=number, mission=f"#{mission}")


class _Steps(Generic[Item]):
    """Items in the order of their places, taken up to a place at a time."""

    def __init__(self, items: Iterator[tuple[int, Item]]) -> None:
        self._items = items
        self._next = next(items, None)

    def before(self, place: int | None) -> Iterator[tuple[int, Item]]:
        """What lies before a place; None: all that is left."""
        while self._next is not None and (place is None or self._next[0] < place):
            yield self._next
            self._next = next(self._items, None)

    def at(self, place: int) -> list[Item]:
        """What lies at a place: one, unless something is wrong."""
        found = []
        while self._next is not None and self._next[0] == place:
            found.append(self._next[1])
            self._next = next(self._items, None)
        return found


class _Row(msgspec.Struct, frozen=True, gc=False):
    key: EntryKey
    checksum: int | None


class _Mission:
    """One mission as it is at one moment, held against its links."""

    def __init__(self, look: _Look, mission: int) -> None:
        self._look = look
        self._connection = look.connection
        self._verified = look.verified
        self._key = mission
        self._name: str | None = None

    def check(self) -> None:
        found = self._connection.execute(
            "select mission_id, next_sequence, entries from mission where id = ?", (self._key,)
        ).fetchone()
        if found is None:  # removed since the list was read
            return
        self._name, next_sequence, counted = found
        self._name = self._name or _NAMELESS
        self._verified.missions += 1
        self._raws = _Steps(self._raw_entries())
        self._rows = _Steps(self._entry_rows())
        covered = 0
        for number, first, entries, checksums, digest in self._connection.execute(
            "select number, first_sequence, entries, checksums, digest from chain_link"
            " where mission = ? and kind = ? order by first_sequence",
            (self._key, ENTRIES),
        ).fetchall():
            if checksums is None or len(checksums) != 4 * entries:
                self._say("the checksums of the link are gone", link=number)
                continue
            self._uncovered(first)
            if first != covered:
                self._say(f"no link tells of what lies from {covered} to {first - 1}", sequence=covered)
            self._check_link(number, first, checksums, digest)
            covered = first + entries
        self._uncovered(None)
        if covered != next_sequence:
            self._say(f"the mission counts {next_sequence:,} raw entries, and its links {covered:,}")
        self._check_count(counted)

    def _say(self, what: str, **where: Any) -> None:
        self._look.tell(what, mission=self._name, **where)

    def _check_count(self, counted: int) -> None:
        there = self._connection.execute(
            "select count(*) from entry where mission = ?", (self._key,)
        ).fetchone()[0]
        if there != counted:
            self._say(f"the mission counts {counted:,} entries, and there are {there:,}")

    def _uncovered(self, place: int | None) -> None:
        for sequence, _ in self._raws.before(place):
            self._say("the raw entry was put in: no link tells of it", sequence=sequence)
        for sequence, row in self._rows.before(place):
            self._say("the row was put in: no link tells of it", sequence=sequence, entry_id=_id_of(row))

    def _check_link(self, number: int, first: int, checksums: bytes, digest: bytes) -> None:
        held = sha256(checksums)
        lengths: list[int] = []
        problems_before = self._verified.problems
        for index, (expected,) in enumerate(_CHECKSUM.iter_unpack(checksums)):
            sequence = first + index
            raws, rows = self._raws.at(sequence), self._rows.at(sequence)
            raw = raws[0] if raws else None
            for _ in raws[1:]:
                self._say("a second raw entry was put in at this place", sequence=sequence)
            for row in rows[1:]:
                self._say("a second row was put in at this place", sequence=sequence, entry_id=_id_of(row))
            self._check_entry(sequence, raw, rows[0] if rows else None, expected)
            if raw is not None:
                held.update(raw)
                lengths.append(len(raw))
        held.update(chain.pack_lengths(lengths))
        if held.digest() != digest and self._verified.problems == problems_before:
            last = first + len(checksums) // 4 - 1
            what = f"of the raw entries {first} to {last}, one was changed so that its checksum fits"
            self._say(what, link=number, sequence=first)
        self._verified.entries += len(lengths)
        self._verified.size += sum(lengths)
        self._look.progress(self._verified.size)

    def _check_entry(self, sequence: int, raw: bytes | None, row: _Row | None, expected: int) -> None:
        entry_id = None if row is None else _id_of(row)
        if raw is None:
            self._say("the raw entry is missing", sequence=sequence, entry_id=entry_id)
            return
        if crc32(raw) != expected:
            self._say("the raw entry was changed", sequence=sequence, entry_id=entry_id)
            return
        own = _own(raw)
        if row is None:
            if not self._had_reason_to_go(own):
                gone = None if own is None else own.id
                self._say("the row of the raw entry is gone", sequence=sequence, entry_id=gone)
        elif row.checksum is None:
            self._say("the row's id is not known any more", sequence=sequence, entry_id=entry_id)
        elif row.checksum != expected or not _is_of(row.key, own, raw):
            self._say("the row belongs to another raw entry", sequence=sequence, entry_id=entry_id)

    def _had_reason_to_go(self, own: _Own | None) -> bool:
        """Whether a raw entry without a row was told again, moved on, or told of an absorbed mission."""
        if own is None or own.id is None:
            return self._name == _NAMELESS  # what came without an id leaves nothing when it moves on
        found = self._connection.execute(
            "select mission, current from entry_key where workspace = ? and entry_id = ?",
            (self._look.workspace, entry_key(own.id)),
        ).fetchone()
        if found is None:
            return False
        was_absorbed = own.trace_id is None and own.mission_id is not None and own.mission_id != self._name
        return found[0] != self._key or found[1] is not None or was_absorbed

    def _raw_entries(self) -> Iterator[tuple[int, bytes]]:
        return heapq.merge(self._of_blocks(), self._of_tail(), key=lambda item: item[0])

    def _of_blocks(self) -> Iterator[tuple[int, bytes]]:
        decompress = zstandard.ZstdDecompressor().decompress
        for first, entries, data in self._connection.execute(
            "select first_sequence, entries, data from block where mission = ? order by first_sequence",
            (self._key,),
        ):
            try:
                raws = unpack(decompress(data))
            except (zstandard.ZstdError, ValueError):
                self._say(f"the block of {entries:,} raw entries from here on is damaged", sequence=first)
                continue
            yield from enumerate(raws, first)

    def _of_tail(self) -> Iterator[tuple[int, bytes]]:
        rows = self._connection.execute(
            "select sequence, raw from tail where mission = ? order by sequence", (self._key,)
        )
        yield from rows

    def _entry_rows(self) -> Iterator[tuple[int, _Row]]:
        rows = self._connection.execute(
            "select entry.sequence, entry.entry_id, entry_key.checksum from entry"
            " left join entry_key on entry_key.workspace = ? and entry_key.entry_id = entry.entry_id"
            " and entry_key.mission = entry.mission"
            " where entry.mission = ? order by entry.sequence",
            (self._look.workspace, self._key),
        )
        for sequence, key, checksum in rows:
            yield sequence, _Row(key, checksum)


def _id_of(row: _Row) -> str:
    return entry_id_of(row.key)


def _own(raw: bytes) -> _Own | None:
    try:
        own = _decode_own(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if type(own.id) is not str or not own.id.strip():
        own.id = None
    return own


def _is_of(key: EntryKey, own: _Own | None, raw: bytes) -> bool:
    """Whether a row's id is the one that its raw entry tells, or that of a later telling."""
    if own is None or own.id is None:
        return True
    return key in (entry_key(own.id), revision_key(own.id, raw))
