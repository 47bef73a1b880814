"""Session files that agents write while a command runs, told as parts of the mission of that command."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from quartermaster.adapters import Record, RejectedLine, recognise
from quartermaster.core.journal import ID_LIMIT, minted_id, parse_instant
from quartermaster.errors import Rejected
from quartermaster.ingest import IGNORED_ENDINGS

_HEAD_BYTES: Final = 256 << 10
_FACTS: Final = ("mission.created", "mission.outcome")


class Grown(msgspec.Struct, frozen=True):
    """A session file that is new, or has grown, since a moment."""

    path: Path
    is_new: bool


def sizes_below(folders: Iterable[Path]) -> dict[Path, int]:
    """Every file below these folders with its size. What may not be looked into is left out."""
    sizes: dict[Path, int] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                if os.fsencode(name).endswith(IGNORED_ENDINGS) or path.is_symlink() or not path.is_file():
                    continue
                sizes[path] = path.stat().st_size
    return sizes


def grown_since(before: Mapping[Path, int], folders: Iterable[Path]) -> list[Grown]:
    """The files that appeared or grew, in order of name."""
    now = sizes_below(folders)
    return [Grown(path, path not in before) for path in sorted(now) if now[path] > before.get(path, 0)]


class Session(msgspec.Struct, frozen=True):
    """What one session has told; `parent` is the session that started it."""

    mission_id: str
    parent: str | None
    entries: list[dict[str, Any]]


def sessions_in(files: Sequence[Grown], since: int) -> list[Session]:
    """The sessions of these files; of one that was there before, what it has told from `since` on."""
    told: dict[str, dict[str, dict[str, Any]]] = {}
    parents: dict[str, str | None] = {}
    for file in files:
        for number, entry in enumerate(_entries_of(file.path)):
            mission_id = str(entry["mission_id"])
            if entry["entry_type"] == "mission.created":
                parents[mission_id] = (entry.get("payload") or {}).get("parent_mission_id")
            if file.is_new or entry["entry_type"] in _FACTS or _instant(entry) >= since:
                entry["id"] = entry.get("id") or f"{file.path.name} {number}"
                told.setdefault(mission_id, {})[entry["id"]] = entry  # a later telling says more
    return [
        Session(name, parents.get(name), list(entries.values()))
        for name, entries in told.items()
        if _says(entries.values())
    ]


def _says(entries: Iterable[Mapping[str, Any]]) -> bool:
    return any(entry["entry_type"] not in _FACTS for entry in entries)


def _instant(entry: Mapping[str, Any]) -> int:
    try:
        return parse_instant(entry.get("ts"))
    except Rejected:
        return 0


def _entries_of(path: Path) -> Iterator[dict[str, Any]]:
    for record in _records_of(path):
        if isinstance(record, RejectedLine):
            continue
        entry = msgspec.json.decode(record.raw)
        if entry.get("mission_id") and entry.get("entry_type"):
            yield entry


def _records_of(path: Path) -> Iterator[Record | RejectedLine]:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        adapter = recognise(head, whole=len(head) < _HEAD_BYTES)
        if adapter is None:
            return
        file.seek(0)
        if not adapter.line_based:
            yield from adapter.read_document(file.read())
            return
        reader, offset = adapter.line_reader(), 0
        for line in file:
            yield from reader.read_line(line.rstrip(b"\r\n"), offset)
            offset += len(line)
        yield from reader.finish()


def parts_of(mission_id: str, sessions: Sequence[Session], *, merged: bool) -> Iterator[bytes]:
    """The entries of sessions as native entries of a mission and of missions below it.

    `merged` puts sessions that nobody started into the mission itself; without it they hang below it,
    for a mission whose steps were told by other means. Ids are new ones: the same files may be watched.
    """
    known = {session.mission_id for session in sessions}
    begun = {session.mission_id for session in sessions if session.parent is None}
    homes = {name: mission_id if merged and name in begun else _below(mission_id, name) for name in known}
    for session in sessions:
        home = homes[session.mission_id]
        above = None if home == mission_id else homes.get(session.parent or "", mission_id)
        if above is not None:
            yield _parent_told(home, above, session)
        for entry in session.entries:
            yield msgspec.json.encode(_moved(entry, home, above))


def _below(mission_id: str, session: str) -> str:
    name = f"{mission_id}.{session}"
    return name if len(name) <= ID_LIMIT else f"{mission_id}.{minted_id(session)}"


def _parent_told(home: str, above: str, session: Session) -> bytes:
    told = {
        "id": minted_id("run", home, "parent"),
        "mission_id": home,
        "ts": session.entries[0]["ts"],
        "entry_type": "mission.created",
        "actor_type": "system",
        "summary": "",
        "payload": {"parent_mission_id": above},
    }
    return msgspec.json.encode(told)


def _moved(entry: Mapping[str, Any], home: str, above: str | None) -> dict[str, Any]:
    moved = {**entry, "mission_id": home, "id": minted_id("run", home, str(entry["id"]))}
    moved.pop("workspace_id", None)
    if entry["entry_type"] == "mission.created":
        payload = {**(entry.get("payload") or {}), "parent_mission_id": above}
        moved["payload"] = {key: value for key, value in payload.items() if value is not None}
    return moved
