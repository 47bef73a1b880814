"""Recordings become entries: files and folders that are named, and entries that are handed in."""

import errno
import math
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from quartermaster.adapters import Record, RejectedLine
from quartermaster.adapters.native import ADAPTER as NATIVE
from quartermaster.adapters.native_document import ADAPTER as NATIVE_DOCUMENT
from quartermaster.core.journal import minted_id
from quartermaster.core.secrets import Masker
from quartermaster.core.vocabulary import unknown_types
from quartermaster.errors import NotFound, Rejected, StorageBusy, StorageError
from quartermaster.recording import Batch, Recording, Refused
from quartermaster.store import access, journal, sources
from quartermaster.store.database import Connection, Database
from quartermaster.store.sources import Source, SourceLedger

BUILT_IN_MASKER: Final = Masker()
LINE_LIMIT_BYTES: Final = 16 << 20
_BATCH_ENTRIES: Final = 2_000
_BATCH_SECONDS: Final = 0.1
BATCH_FILES: Final = 256
_OPEN_RECORDINGS: Final = 256
_KNOWN_NAMES: Final = 100_000
_BUSY_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 60.0
"""How long files that were named wait for a database that is busy or full."""


_LINKS: Final = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK)
FAULT: Final = "a fault of this program; its log says more"
_OF_REMOVED: Final = "{:,} of its last entries belong to missions that retention has removed; not taken in"
_REMOVED: Final = "retention has removed its mission"
_CONFLICT: Final = "another entry of this id is kept already"
IGNORED_ENDINGS: Final = (b"~", b".swp", b".tmp", b".part", b".crdownload")

log = structlog.get_logger("ingest")


class Progress(msgspec.Struct, frozen=True):
    """How far an ingest has come: files and bytes, of how many."""

    files: int
    of_files: int
    bytes_read: int
    of_bytes: int
    entries: int


class RejectedEntry(msgspec.Struct, frozen=True):
    """An entry that was not accepted: its line (or its place in an array) from 1, and why."""

    line: int
    reason: str


class Accepted(msgspec.Struct, frozen=True):
    """What became of entries that were handed in."""

    accepted: int
    duplicate: int
    rejected: tuple[RejectedEntry, ...]


class _Journalist:
    """Keeps batches in one transaction each, and remembers the numbers of names that were committed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names: dict[str, int] = {}

    def keep(self, workspace: int, batches: Sequence[Batch]) -> list[Source]:
        """The sources as they stand after the commit, in the order of the batches."""
        added: dict[str, int] = {}

        def change(connection: Connection) -> list[Source]:
            added.clear()
            now = time.time_ns()
            return [self._keep_one(connection, workspace, batch, added, now) for batch in batches]

        saved = self._database.write_blocking(change)
        for batch, source in zip(batches, saved, strict=True):
            _count(self._database, batch.source, source)
        if len(self._names) > _KNOWN_NAMES:
            self._names.clear()
        self._names.update(added)
        return saved

    def _keep_one(
        self, connection: Connection, workspace: int, batch: Batch, added: dict[str, int], now: int
    ) -> Source:
        appended = journal.append_decoded(
            connection,
            workspace,
            batch.decoded,
            revisable=batch.revisable,
            format_name=batch.source.format,
            known_names=self._names,
            now=now,
        )
        added.update(appended.names)
        source = msgspec.structs.replace(
            batch.source,
            accepted=batch.source.accepted + appended.accepted,
            duplicate=batch.source.duplicate + appended.duplicate,
            conflicting=batch.source.conflicting + len(appended.conflicts),
            rejected=batch.source.rejected + len(batch.rejections),
            masked=_added(batch.source.masked, batch.masked),
            unknown_types=_with_unknown(batch.source.unknown_types, batch.decoded),
            reason=_OF_REMOVED.format(len(appended.removed)) if appended.removed else batch.source.reason,
        )
        source.id = sources.save_source(connection, workspace, source, batch.read_from, now)
        rejections = (*batch.rejections, *batch.amended)
        sources.keep_rejections(connection, source.id, source.generation, rejections)
        sources.add_missions(connection, source.id, appended.missions)
        if batch.archive is not None:
            sources.keep_bytes(
                connection, source.id, source.generation, batch.archive_position, batch.archive
            )
            if batch.whole_document:
                sources.drop_older_bytes(connection, source.id, source.generation)
        return source


def _count(database: Database, before: Source, after: Source) -> None:
    name = after.format or "unknown"
    for result in ("accepted", "duplicate", "conflicting", "rejected"):
        database.intake.add(getattr(after, result) - getattr(before, result), name, result)


def _added(known: bytes | None, counts: Mapping[str, int]) -> bytes | None:
    """Counts by rule as JSON, with further ones added."""
    if not counts:
        return known
    total = Counter(msgspec.json.decode(known, type=dict[str, int])) if known else Counter()
    total.update(counts)
    return msgspec.json.encode(total, order="sorted")


def _with_unknown(known: bytes | None, decoded: Sequence[journal.Decoded]) -> bytes | None:
    """Counts of entry types that no number is made of, with those of these entries added."""
    named = msgspec.json.decode(known, type=dict[str, int]) if known else ()
    return _added(known, unknown_types((one.entry.entry_type for one in decoded), named))


class Reading:
    """A set of recordings being read in turns, a piece of each, so that a large one starves no other."""

    def __init__(
        self,
        database: Database,
        *,
        line_limit_bytes: int,
        at_rest: bool = False,
        patience_seconds: float = math.inf,
    ) -> None:
        self._database = database
        self._journalist = _Journalist(database)
        self._line_limit = line_limit_bytes
        self._open: OrderedDict[tuple[int, Path], Recording] = OrderedDict()
        self._at_rest = at_rest
        self._patience_seconds = patience_seconds
        self._busy_since: float | None = None

    def open(
        self,
        workspace: int,
        names: frozenset[str],
        root: Path,
        path: Path,
        masker: Masker | None = None,
    ) -> Recording:
        """The recording of a path, as it was left or as the database knows it."""
        recording = self._open.get((workspace, path))
        if recording is None:
            source = self._database.read_blocking(
                lambda connection: sources.find_source(connection, workspace, os.fsencode(path))
            )
            recording = Recording(
                root,
                path,
                source,
                workspace_names=names,
                line_limit_bytes=self._line_limit,
                masker=masker,
            )
            self._open[workspace, path] = recording
        self._open.move_to_end((workspace, path))
        return recording

    def read_some(self, workspace: int, recordings: Sequence[Recording]) -> list[tuple[Recording, bool]]:
        """Read a piece of each recording and keep it all in one transaction.

        Answers the recordings that were looked at, each with whether there is more to read at once; those
        behind are left for the next turn when the batch is full.
        """
        began = time.monotonic()
        looked_at: list[tuple[Recording, bool]] = []
        batches: list[tuple[Recording, Batch]] = []
        entries = 0
        for recording in recordings[:BATCH_FILES]:
            batch = self._read(recording)
            looked_at.append((recording, batch is not None and batch.more))
            if batch is not None:
                batches.append((recording, batch))
                entries += len(batch.decoded)
            if entries >= _BATCH_ENTRIES or time.monotonic() - began > _BATCH_SECONDS:
                break
        if not self._keep(workspace, batches):
            return [(recording, True) for recording, _ in looked_at]
        return looked_at

    def finish(self, workspace: int, recordings: Sequence[Recording]) -> list[Recording]:
        """Say what can be said of recordings that are at rest; answers those to be read again first."""
        batches = [(one, batch) for one in recordings if (batch := one.finish()) is not None]
        if self._keep(workspace, batches):
            return []
        return [recording for recording, _ in batches]

    def close_oldest(self) -> None:
        """Forget the recordings that have rested longest, when many are open."""
        while len(self._open) > _OPEN_RECORDINGS:
            key = next((key for key, one in self._open.items() if not one.awaits_finish), None)
            if key is None:
                return
            del self._open[key]

    def awaiting_finish(self) -> Iterator[tuple[int, Recording]]:
        """Open recordings of which something can be said once they are at rest."""
        return ((key[0], one) for key, one in self._open.items() if one.awaits_finish)

    def _read(self, recording: Recording) -> Batch | None:
        try:
            return recording.read(now=time.time_ns(), at_rest=self._at_rest)
        except Refused as refusal:
            return _told(recording, refusal.state, str(refusal))
        except FileNotFoundError:
            known = recording.source
            if not known.id or known.state == "complete":
                return None
            return _told(recording, "vanished", "the file was removed")
        except OSError as error:
            return _told(recording, "refused" if error.errno in _LINKS else "failed", _why(error))
        except Exception:  # whatever a format makes of a file, it costs that file alone
            log.exception("reading failed", file=_shown(recording))
            recording.forget()
            return _told(recording, "failed", FAULT)

    def _keep(self, workspace: int, batches: Sequence[tuple[Recording, Batch]]) -> bool:
        if not batches:
            return True
        try:
            saved = self._journalist.keep(workspace, [batch for _, batch in batches])
        except StorageBusy as busy:
            if not sources.contradicts(busy):
                return self._wait(workspace, batches, busy)
            return self._keep_apart(workspace, batches, busy)
        except StorageError:
            raise
        except Exception as error:  # one batch must not take the others with it
            return self._keep_apart(workspace, batches, error)
        self._busy_since = None
        for (recording, batch), source in zip(batches, saved, strict=True):
            recording.committed(source)
            if batch.decoded or batch.rejections:
                _log_batch(recording, batch, source)
        return True

    def _wait(self, workspace: int, batches: Sequence[tuple[Recording, Batch]], busy: StorageBusy) -> bool:
        log.warning("ingest waits", reason=str(busy))
        now = time.monotonic()
        self._busy_since = now if self._busy_since is None else self._busy_since
        if now - self._busy_since > self._patience_seconds:
            raise busy
        self._forget(workspace, [recording for recording, _ in batches])
        time.sleep(_BUSY_SECONDS)
        return False

    def _keep_apart(
        self, workspace: int, batches: Sequence[tuple[Recording, Batch]], error: Exception
    ) -> bool:
        """Keep batches one by one; the one that cannot be kept is filed as failed."""
        if len(batches) > 1:
            kept = [self._keep(workspace, [one]) for one in batches]
            return all(kept)
        [(recording, _)] = batches
        log.error("keeping failed", file=_shown(recording), exc_info=error)
        self._forget(workspace, [recording])
        told = _told(recording, "failed", FAULT)
        if told is not None:
            recording.committed(self._journalist.keep(workspace, [told])[0])
        return True

    def _forget(self, workspace: int, recordings: Sequence[Recording]) -> None:
        for recording in recordings:
            recording.forget()
            path = recording.source.path
            recording.source = self._database.read_blocking(
                partial(sources.find_source, workspace=workspace, path=path)
            ) or Source(path=path, name=recording.source.name)


def _shown(recording: Recording) -> str:
    return os.fsdecode(recording.source.path).encode("utf-8", "backslashreplace").decode()


def _why(error: OSError) -> str:
    if error.errno in _LINKS:
        return "symbolic links are not followed"
    if isinstance(error, PermissionError):
        return "the file may not be read; change its permissions"
    return f"the file cannot be read: {os.strerror(error.errno or 0)}"


def _told(recording: Recording, state: sources.State, reason: str) -> Batch | None:
    """A batch that only files the state of a source; None when that is known already."""
    recording.awaits_finish = False
    known = recording.source
    source = msgspec.structs.replace(known, state=state, reason=reason)
    with suppress(OSError):
        status = recording.path.lstat()
        source.inode, source.device = status.st_ino, status.st_dev
        source.size, source.modified = status.st_size, status.st_ctime_ns
    if source.id and source == known:
        return None
    return Batch(
        source=source,
        read_from=(known.generation, known.position),
        decoded=[],
        rejections=[],
        archive=None,
        masked={},
        revisable=False,
        whole_document=False,
        more=False,
    )


def _log_batch(recording: Recording, batch: Batch, source: Source) -> None:
    log.info(
        "ingested",
        file=_shown(recording),
        format=source.format,
        entries=len(batch.decoded),
        rejected=len(batch.rejections),
        state=source.state,
    )


def files_below(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every file of a folder that may be a recording, with its status; links, pipes and sockets too."""
    folders = [os.fsencode(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith(b".") or entry.name.endswith(IGNORED_ENDINGS):
                        continue
                    with suppress(OSError):
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            yield Path(os.fsdecode(entry.path)), entry.stat(follow_symlinks=False)
        except OSError:
            continue


def ingest_paths(
    database: Database,
    workspace: int,
    paths: Sequence[Path],
    on_progress: Callable[[Progress], None] | None = None,
    *,
    line_limit_bytes: int = LINE_LIMIT_BYTES,
    masker: Masker | None = BUILT_IN_MASKER,
) -> list[SourceLedger]:
    """Read files and whole folders to their end; the ledger of each file, in the order of reading.

    Secrets are masked before anything is kept; `masker` None keeps them.

    Raises NotFound for a path that does not exist. A symbolic link that is named itself is followed,
    one that is met inside of a folder is not.
    """
    names = _names_of(database, workspace)
    reading = Reading(
        database, line_limit_bytes=line_limit_bytes, at_rest=True, patience_seconds=_PATIENCE_SECONDS
    )
    files = [found for path in paths for found in _found_below(path)]
    progress = Progress(0, len(files), 0, sum(size for _, _, size in files), 0)
    tell = on_progress or (lambda _: None)
    ids: list[int] = []
    for start in range(0, len(files), BATCH_FILES):
        group = files[start : start + BATCH_FILES]
        recordings = [reading.open(workspace, names, root, path, masker) for root, path, _ in group]
        waiting = recordings[:]
        while waiting:
            looked_at = reading.read_some(workspace, waiting)
            waiting = waiting[len(looked_at) :] + [recording for recording, more in looked_at if more]
            if not waiting:
                waiting = reading.finish(workspace, [one for one in recordings if one.awaits_finish])
            tell(_advanced(progress, recordings, len(recordings) - len(waiting)))
        progress = _advanced(progress, recordings, len(recordings))
        ids += [recording.source.id for recording in recordings if recording.source.id]
        reading.close_oldest()
    return database.read_blocking(lambda connection: [sources.ledger_of(connection, one) for one in ids])


def _advanced(progress: Progress, recordings: Sequence[Recording], finished: int) -> Progress:
    current = [recording.source for recording in recordings]
    return msgspec.structs.replace(
        progress,
        files=progress.files + finished,
        bytes_read=progress.bytes_read + sum(source.position for source in current),
        entries=progress.entries + sum(source.accepted + source.duplicate for source in current),
    )


def _found_below(path: Path) -> list[tuple[Path, Path, int]]:
    try:
        resolved = path.resolve(strict=True)
    except (OSError, RuntimeError):
        raise NotFound(f"no file or folder {str(path)!r}") from None
    if resolved.is_dir():
        return sorted((resolved, file, status.st_size) for file, status in files_below(resolved))
    return [(resolved.parent, resolved, resolved.lstat().st_size)]


def _names_of(database: Database, workspace: int) -> frozenset[str]:
    """The id and the slug of a workspace: what entries may name as theirs."""
    found = database.read_blocking(access.list_workspaces)
    return frozenset(name for one in found if one.key == workspace for name in (one.workspace_id, one.slug))


def accept_entries(
    database: Database, workspace: int, body: bytes, masker: Masker | None = BUILT_IN_MASKER
) -> Accepted:
    """Keep native entries that were handed in: one JSON object a line, an array of them, or a document."""
    database.space.require()
    if masker is not None:
        body, _ = masker.mask(body)
    names = _names_of(database, workspace)
    occurrences: Counter[bytes] = Counter()

    def mint(entry: bytes) -> str:
        occurrences[entry] += 1
        return minted_id("content", entry, str(occurrences[entry] - 1))

    decoded: list[journal.Decoded] = []
    places: list[int] = []
    rejected: list[RejectedEntry] = []
    for place, record in _handed_in(body):
        try:
            if isinstance(record, RejectedLine):
                raise Rejected(record.reason)
            decoded.append(journal.decode_entry(record.raw, names, mint))
            places.append(place)
        except Rejected as reason:
            rejected.append(RejectedEntry(place, str(reason)))

    def change(connection: Connection) -> journal.Appended:
        return journal.append_decoded(
            connection,
            workspace,
            decoded,
            revisable=False,
            format_name=NATIVE.name,
            known_names={},
            now=time.time_ns(),
        )

    appended = database.write_blocking(change)
    database.intake.add(appended.accepted, NATIVE.name, "accepted")
    database.intake.add(appended.duplicate, NATIVE.name, "duplicate")
    database.intake.add(len(appended.conflicts), NATIVE.name, "conflicting")
    database.intake.add(len(rejected), NATIVE.name, "rejected")
    rejected += [RejectedEntry(places[index], _CONFLICT) for index in appended.conflicts]
    rejected += [RejectedEntry(places[index], _REMOVED) for index in appended.removed]
    return Accepted(appended.accepted, appended.duplicate, tuple(sorted(rejected, key=lambda one: one.line)))


def _handed_in(body: bytes) -> Iterator[tuple[int, Record | RejectedLine]]:
    """Each entry of a body with its line, or its place in an array, from 1."""
    if body.startswith(b"\xef\xbb\xbf"):
        body = body[3:]
    if NATIVE_DOCUMENT.recognises(body, whole=True) or body.lstrip().startswith(b"["):
        yield from enumerate(NATIVE_DOCUMENT.read_document(body), start=1)
        return
    reader = NATIVE.line_reader()
    for number, line in enumerate(body.split(b"\n"), start=1):
        for record in reader.read_line(line, 1):
            yield number, record
