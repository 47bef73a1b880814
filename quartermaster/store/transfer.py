"""One workspace as one file: NDJSON under zstd, every raw entry byte for byte, and the way back in.

The first line says what the file is and the last how much it holds, so that one which was cut off is
noticed before anything of it is kept. Taking a file in twice changes nothing.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import zstandard

from quartermaster.core.journal import read_entry
from quartermaster.errors import NotFound, Rejected, StorageError, UsageError
from quartermaster.store import journal, sources
from quartermaster.store.database import Connection, Database, sync
from quartermaster.store.journal import Decoded, EntryKey
from quartermaster.store.raw import RawReader
from quartermaster.store.sources import Source

FORMAT: Final = 1
_BATCH: Final = 1_000
_LINE_LIMIT: Final = 1 << 30
_LEVEL: Final = 6


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="workspace"):
    """The first line: of which workspace, in which form, and who wrote it."""

    format: int
    made_by: str
    workspace_id: str
    slug: str


class Mission(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="mission"):
    """The entries behind this line belong to this mission; None: to none yet."""

    mission_id: str | None
    format: str | None
    links: tuple[int, ...] = ()
    kept: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="entry"):
    """One raw entry: as text, or in base64 where it is none. `id` is there when its bytes do not tell it."""

    raw: str | None = None
    data: bytes | None = None
    id: str | None = None


class File(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="source"):
    """One file that was read, and the missions that it has told of."""

    source: Source
    missions: tuple[str, ...]


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """The last line: how many lines of each kind there are."""

    missions: int
    entries: int
    sources: int


Line = Head | Mission | Entry | File | End
_decode: Final = msgspec.json.Decoder(Line).decode


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What became of what a file holds."""

    missions: int
    accepted: int
    duplicate: int
    removed: int
    sources: int


def export(database: Database, workspace: int, head: Head, target: Path, *, seconds: float) -> End:
    """Write a workspace, as it is at one moment, into a new file that its owner alone may read.

    Raises UsageError where something is there already.
    """
    if target.exists():
        raise UsageError(f"{target} exists already; choose another name")
    if not target.parent.is_dir():
        raise NotFound(f"there is no folder {target.parent}")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
            with compressor.stream_writer(file, closefd=False) as packed:
                end = database.read_blocking(
                    lambda connection: _write(connection, workspace, head, packed), seconds
                )
        sync(part)
        part.rename(target)
        sync(target.parent)
    except OSError as error:
        raise StorageError(f"{target} could not be written: {error.strerror}; make room for it") from error
    finally:
        part.unlink(missing_ok=True)
    return end


def _write(
    connection: Connection, workspace: int, head: Head, packed: zstandard.ZstdCompressionWriter
) -> End:
    counts = {Mission: 0, Entry: 0, File: 0}
    encode = msgspec.json.Encoder().encode
    packed.write(encode(head) + b"\n")
    for line in (*_missions(connection, workspace), *_files(connection, workspace)):
        packed.write(encode(line) + b"\n")
        counts[type(line)] += 1
        if isinstance(line, Mission):
            for entry in _entries(connection, workspace, line.mission_id):
                packed.write(encode(entry) + b"\n")
                counts[Entry] += 1
    end = End(missions=counts[Mission], entries=counts[Entry], sources=counts[File])
    packed.write(encode(end) + b"\n")
    return end


def _missions(connection: Connection, workspace: int) -> Iterator[Mission]:
    links: dict[int, list[int]] = {}
    for link, mission in connection.execute(
        "select link, mission from link where workspace = ? order by link", (workspace,)
    ):
        links.setdefault(mission, []).append(link)
    for key, mission_id, format_name in connection.execute(
        "select id, mission_id, format from mission where workspace = ? order by id", (workspace,)
    ):
        kept = connection.execute("select reason from kept_mission where mission = ?", (key,)).fetchall()
        yield Mission(
            mission_id=mission_id,
            format=format_name,
            links=tuple(links.get(key, ())),
            kept=tuple(reason for (reason,) in kept),
        )


def _entries(connection: Connection, workspace: int, mission_id: str | None) -> Iterator[Entry]:
    """The entries of a mission in the order in which they came, with earlier tellings of the same fact."""
    mission, count = connection.execute(
        "select id, next_sequence from mission where workspace = ? and mission_id is ?",
        (workspace, mission_id),
    ).fetchone()
    live: dict[int, EntryKey] = dict(
        connection.execute("select sequence, entry_id from entry where mission = ?", (mission,))
    )
    raws = RawReader(connection)
    for sequence in range(count):
        raw = raws.read(mission, sequence)
        if raw is None:
            continue
        own_id = _own_id(raw)
        if sequence in live:
            yield _entry(raw, None if own_id else journal.entry_id_of(live[sequence]))
        elif own_id is not None and _was_told_again(connection, workspace, mission, own_id):
            yield _entry(raw, None)


def _own_id(raw: bytes) -> str | None:
    try:
        return read_entry(raw).id
    except Rejected:
        return None


def _was_told_again(connection: Connection, workspace: int, mission: int, entry_id: str) -> bool:
    row = connection.execute(
        "select 1 from entry_key where workspace = ? and entry_id = ? and mission = ?"
        " and current is not null",
        (workspace, journal.entry_key(entry_id), mission),
    ).fetchone()
    return row is not None


def _entry(raw: bytes, entry_id: str | None) -> Entry:
    try:
        return Entry(raw=raw.decode(), id=entry_id)
    except UnicodeDecodeError:
        return Entry(data=raw, id=entry_id)


def _files(connection: Connection, workspace: int) -> Iterator[File]:
    paths = connection.execute("select path from source where workspace = ? order by id", (workspace,))
    for (path,) in paths.fetchall():
        source = sources.find_source(connection, workspace, path)
        assert source is not None
        missions = connection.execute(
            "select mission.mission_id from source_mission join mission on mission.id = mission"
            " where source = ? and mission.mission_id is not null order by mission.id",
            (source.id,),
        )
        yield File(source=source, missions=tuple(name for (name,) in missions))


def take_in(database: Database, workspace: int, file: Path, *, now: int) -> Imported:
    """Keep what a file holds and the workspace does not have yet.

    Raises NotFound or UsageError, with nothing changed, for a file that is none, damaged or cut off.
    """
    check(file)
    database.space.require()
    total = Imported(missions=0, accepted=0, duplicate=0, removed=0, sources=0)
    mission: Mission | None = None
    batch: list[Decoded] = []

    def keep() -> None:
        nonlocal total, batch
        if mission is not None:
            keep_batch = partial(_keep, workspace=workspace, mission=mission, batch=batch, now=now)
            appended = database.write_blocking(keep_batch)
            total = msgspec.structs.replace(
                total,
                accepted=total.accepted + appended.accepted,
                duplicate=total.duplicate + appended.duplicate,
                removed=total.removed + len(appended.removed),
            )
        batch = []

    for line in _lines(file):
        match line:
            case Entry():
                batch.append(_decoded(line, mission))
                if len(batch) >= _BATCH:
                    keep()
            case Mission():
                keep()
                mission = line
                total = msgspec.structs.replace(total, missions=total.missions + 1)
            case File():
                keep()
                mission = None
                change = partial(_keep_file, workspace=workspace, file=line, now=now)
                kept = database.write_blocking(change)
                total = msgspec.structs.replace(total, sources=total.sources + kept)
    keep()
    return total


def check(file: Path) -> Head:
    """Read a file to its end; what its first line says.

    Raises NotFound or UsageError for one that is none, damaged, cut off or of a newer version.
    """
    counts = {Mission: 0, Entry: 0, File: 0}
    head: Head | None = None
    end: End | None = None
    for line in _lines(file):
        if end is not None or (head is None) != isinstance(line, Head):
            raise UsageError(f"{file} is no export of a workspace")
        if isinstance(line, Head):
            head = line
            if head.format > FORMAT:
                raise UsageError(f"{file} was written by a newer Quartermaster; install that version")
        elif isinstance(line, End):
            end = line
        else:
            counts[type(line)] += 1
    found = End(missions=counts[Mission], entries=counts[Entry], sources=counts[File])
    if head is None or end != found:
        raise UsageError(f"{file} ends too early; export it again")
    return head


def _lines(file: Path) -> Iterator[Line]:
    try:
        with _unpacked(file) as unpacked:
            while text := unpacked.readline(_LINE_LIMIT):
                yield _decode(text)
    except FileNotFoundError:
        raise NotFound(f"no file {str(file)!r}") from None
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no export of a workspace, or it is damaged") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error


@contextmanager
def _unpacked(file: Path) -> Iterator[io.BufferedReader]:
    with file.open("rb") as packed:
        reader = zstandard.ZstdDecompressor().stream_reader(packed)
        yield io.BufferedReader(reader, 1 << 20)


def _decoded(line: Entry, mission: Mission | None) -> Decoded:
    raw = line.raw.encode() if line.raw is not None else line.data or b""
    try:
        one = journal.decode_entry(raw, None, lambda _: line.id or journal.minted_from_content(raw))
    except Rejected as error:
        raise UsageError(f"the export holds an entry that is none: {error}") from error
    one.entry.mission_id = None if mission is None else mission.mission_id
    return one


def _keep(
    connection: Connection, workspace: int, mission: Mission, batch: list[Decoded], now: int
) -> journal.Appended:
    appended = journal.append_decoded(
        connection, workspace, batch, revisable=True, format_name=mission.format, known_names={}, now=now
    )
    row = connection.execute(
        "select id from mission where workspace = ? and mission_id is ?", (workspace, mission.mission_id)
    ).fetchone()
    if row is not None:
        connection.executemany(
            "insert or ignore into link values (?, ?, ?)",
            [(workspace, link, row[0]) for link in mission.links],
        )
        connection.executemany(
            "insert or ignore into kept_mission values (?, ?)", [(row[0], reason) for reason in mission.kept]
        )
    return appended


def _keep_file(connection: Connection, workspace: int, file: File, now: int) -> bool:
    """Whether the file was not known; where it lies, and is the same one, reading goes on where it was."""
    if sources.find_source(connection, workspace, file.source.path) is not None:
        return False
    source = msgspec.structs.replace(file.source, id=0)
    key = sources.save_source(connection, workspace, source, (0, 0), now)
    for mission_id in file.missions:
        connection.execute(
            "insert or ignore into source_mission (source, mission)"
            " select ?, id from mission where workspace = ? and mission_id = ?",
            (key, workspace, mission_id),
        )
    return True
