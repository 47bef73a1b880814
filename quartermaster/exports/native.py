"""Missions as native entries, one a line: what an ingest elsewhere makes the same missions of."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from quartermaster.store.database import Connection
from quartermaster.store.journal import entry_id_of
from quartermaster.store.missions import Mission
from quartermaster.store.raw import RawReader

_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def native_lines(connection: Connection, missions: Iterable[Mission]) -> Iterator[bytes]:
    """Every entry in the order in which it came, with its id and mission, and of no workspace."""
    raws = RawReader(connection)
    for mission in missions:
        rows = connection.execute(
            "select sequence, entry_id from entry where mission = ? order by sequence", (mission.key,)
        )
        for sequence, key in rows:
            raw = raws.read(mission.key, sequence)
            if raw is not None:
                yield _line(raw, mission.mission_id, entry_id_of(key))


def _line(raw: bytes, mission_id: str, entry_id: str) -> bytes:
    """Values stay as they were written, numbers to their last digit."""
    entry = _decode(raw)
    entry.pop("workspace_id", None)
    entry["id"] = msgspec.Raw(msgspec.json.encode(entry_id))
    entry["mission_id"] = msgspec.Raw(msgspec.json.encode(mission_id))
    line = msgspec.json.encode(entry)
    if b"\n" in line:
        line = msgspec.json.format(line, indent=-1)
    return line + b"\n"
