"""Recordings read here and handed to a daemon elsewhere, as native entries."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from quartermaster.adapters import Adapter, Record, RejectedLine, recognise
from quartermaster.cli.client import path_of
from quartermaster.cli.target import Row
from quartermaster.core.journal import read_entry
from quartermaster.core.vocabulary import unknown_types
from quartermaster.errors import Rejected

_HEAD_BYTES: Final = 256 * 1024
_BATCH_BYTES: Final = 2**20


class Poster(Protocol):
    """What posts to a daemon."""

    def post(self, path: str, body: bytes) -> Row:
        """The answer to a JSON body."""
        ...


class _Ledger(msgspec.Struct, kw_only=True):
    """What became of one file. Missions are the daemon's to count."""

    path: str
    format: str | None = None
    state: str = "complete"
    reason: str | None = None
    missions: int | None = None
    accepted: int = 0
    duplicate: int = 0
    conflicting: int = 0
    rejected: int = 0
    unread: int = 0
    unknown_types: dict[str, int] = {}
    rejected_lines: list[dict[str, Any]] = []


def deliver(client: Poster, paths: Sequence[Path], on_progress: Callable[[str], None]) -> list[Row]:
    """Read every file of the paths and post what it says; what became of each."""
    ledgers: list[Row] = []
    for path in _files(paths):
        on_progress(f"{len(ledgers):,} files delivered, now {path.name}")
        ledger = _Ledger(path=str(path))
        try:
            _deliver_file(client, path, ledger)
        except OSError as error:
            ledger.state, ledger.reason = "failed", error.strerror
        ledgers.append(msgspec.to_builtins(ledger))
    return ledgers


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, _, names in sorted(os.walk(path)):
            yield from (Path(folder, name) for name in sorted(names))


def _deliver_file(client: Poster, path: Path, ledger: _Ledger) -> None:
    if not path.is_file():
        ledger.state, ledger.reason = "refused", "it is no regular file"
        return
    recording = path.read_bytes()
    head = recording[:_HEAD_BYTES]
    adapter = recognise(head, whole=len(head) == len(recording))
    if adapter is None:
        ledger.state, ledger.reason = "unrecognised", "no known format of recordings"
        ledger.unread = len(recording)
        return
    ledger.format = adapter.name
    raws = list(_accepted(_records(adapter, recording), recording, ledger))
    for batch in _batches(_newest_tellings(raws) if adapter.revisable else raws):
        _post(client, batch, ledger)


def _records(adapter: Adapter, recording: bytes) -> Iterator[Record | RejectedLine]:
    if not adapter.line_based:
        yield from adapter.read_document(recording)
        return
    reader, offset = adapter.line_reader(), 0
    for line in recording.split(b"\n"):
        if line:
            yield from reader.read_line(line, offset)
        offset += len(line) + 1
    yield from reader.finish()


def _accepted(records: Iterable[Record | RejectedLine], recording: bytes, ledger: _Ledger) -> Iterator[bytes]:
    for record in records:
        try:
            if isinstance(record, RejectedLine):
                raise Rejected(record.reason)
            entry_type = read_entry(record.raw).entry_type
            for name, count in unknown_types([entry_type], ledger.unknown_types).items():
                ledger.unknown_types[name] = ledger.unknown_types.get(name, 0) + count
            yield record.raw
        except Rejected as reason:
            _reject(ledger, recording.count(b"\n", 0, record.offset) + 1, record.offset, str(reason))


def _newest_tellings(raws: Sequence[bytes]) -> list[bytes]:
    """Of a fact that is told again under its id, only the last telling."""
    by_id: dict[str, bytes] = {}
    for raw in raws:
        by_id[str(msgspec.json.decode(raw)["id"])] = raw
    return list(by_id.values())


def _batches(raws: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        if batch and size + len(raw) > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(raw)
        size += len(raw) + 1
    if batch:
        yield batch


def _post(client: Poster, batch: list[bytes], ledger: _Ledger) -> None:
    answer = client.post(path_of("journal"), b"[" + b",".join(batch) + b"]")
    ledger.accepted += answer["accepted"]
    ledger.duplicate += answer["duplicate"]
    for one in answer["rejected"]:
        _reject(ledger, None, 0, one["reason"])


def _reject(ledger: _Ledger, line: int | None, position: int, reason: str) -> None:
    ledger.rejected += 1
    ledger.rejected_lines.append({"line": line, "position": position, "reason": reason})
