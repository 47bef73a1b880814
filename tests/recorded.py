"""The missions of development recordings, read by their adapters without a store."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from quartermaster.adapters import RejectedLine, recognise
from quartermaster.core.journal import read_entry
from quartermaster.core.transcript import Transcript, transcript_of
from quartermaster.errors import Rejected

PROJECT = Path(__file__).resolve().parents[1]
TRACES = Path(os.environ.get("QUARTERMASTER_TRACES") or PROJECT.parent / "shared/traces")
_HEAD = 262_144

needs_traces = pytest.mark.skipif(
    not TRACES.is_dir(), reason="no development traces beside the project; set QUARTERMASTER_TRACES"
)


def transcripts(path: Path) -> list[Transcript]:
    """Every mission of one recording; what cannot be read is left out."""
    missions: dict[str, list[bytes]] = {}
    for raw in _records(path.read_bytes()):
        try:
            entry = read_entry(raw)
        except Rejected:
            continue
        missions.setdefault(entry.mission_id or "", []).append(raw)
    return [transcript_of(raws, mission_id=mission) for mission, raws in missions.items()]


def transcripts_below(folder: str) -> Iterator[tuple[str, Transcript]]:
    """The name of each recording in a folder of the traces, with each of its missions."""
    for path in sorted((TRACES / folder).rglob("*")):
        if path.is_file() and path.name != "SOURCE.md":
            for transcript in transcripts(path):
                yield path.name, transcript


def _records(data: bytes) -> Iterator[bytes]:
    adapter = recognise(data[:_HEAD], whole=len(data) <= _HEAD)
    if adapter is None:
        return
    if not adapter.line_based:
        yield from (one.raw for one in adapter.read_document(data) if not isinstance(one, RejectedLine))
        return
    reader, position = adapter.line_reader(), 0
    for line in data.split(b"\n"):
        records = reader.read_line(line, position) if line else ()
        yield from (one.raw for one in records if not isinstance(one, RejectedLine))
        position += len(line) + 1
    yield from (one.raw for one in reader.finish())
