"""Known changes made to the sample recordings: is each called what it is, at the step where it begins?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quartermaster.adapters import Record, recognise
from quartermaster.core.alignment import align
from quartermaster.core.changes import changes_of
from quartermaster.core.journal import read_entry
from quartermaster.core.resampling import Rate
from quartermaster.core.seeded_changes import SEEDS, Seeded
from quartermaster.core.transcript import EventKind, transcript_of
from quartermaster.recording import HEAD_BYTES
from quartermaster.selftest.figures import Bar, Figure, counted
from quartermaster.selftest.work import Extent, Sources, Work, together

PART: Final = "changes"


def figures(work: Work, extent: Extent, sources: Sources) -> Iterator[Figure]:
    recordings = sorted(path for path in sources.samples.rglob("*") if path.is_file())
    found = work.spread(look, [(path, extent.seed) for path in recordings])
    for kind in found[0][1]:
        rate = together(named[kind] for _, named in found)
        yield counted(PART, f"seeded change named, first step right: {kind}", rate, Bar(least=0.97))
    untouched = together(quiet for quiet, _ in found)
    yield counted(PART, "nothing said of an untouched copy", untouched, Bar(least=1.0))


def look(path: Path, seed: int) -> tuple[Rate, dict[str, Rate]]:
    """Of the missions of one recording with calls enough to change some: untouched and changed."""
    quiet = Rate(0, 0)
    named = {make.__name__.replace("_", " "): Rate(0, 0) for make in SEEDS}
    for raws in missions_of(path.read_bytes()):
        mission = transcript_of(raws)
        if not any(event.kind is EventKind.TOOL_CALL for event in mission.events):
            continue
        said = changes_of(mission, transcript_of(reversed(raws)))
        quiet = together((quiet, Rate(int(not said), 1)))
        for make in SEEDS:
            seeded = make(raws, seed)
            if seeded is not None:
                kind = make.__name__.replace("_", " ")
                named[kind] = together((named[kind], Rate(int(is_right(seeded)), 1)))
    return quiet, named


def missions_of(data: bytes) -> list[list[bytes]]:
    """The native entries of every mission in a recording; nothing for what is no recording."""
    missions: dict[str, dict[str, bytes]] = {}
    for raw in _raws(data):
        entry = read_entry(raw)
        missions.setdefault(entry.mission_id or "", {})[entry.id or ""] = raw
    return [list(entries.values()) for entries in missions.values()]


def _raws(data: bytes) -> list[bytes]:
    adapter = recognise(data[:HEAD_BYTES], whole=len(data) <= HEAD_BYTES)
    if adapter is None:
        return []
    if not adapter.line_based:
        return [one.raw for one in adapter.read_document(data) if isinstance(one, Record)]
    reader = adapter.line_reader()
    told = [one for line in data.split(b"\n") for one in reader.read_line(line, 0)]
    return [one.raw for one in [*told, *reader.finish()] if isinstance(one, Record)]


def is_right(seeded: Seeded) -> bool:
    """Called what it is, and nothing else, with both the first divergence and its first step in place."""
    baseline, candidate = transcript_of(seeded.baseline), transcript_of(seeded.candidate)
    alignment = align(baseline.events, candidate.events)
    changes = changes_of(baseline, candidate, alignment)
    if [change.kind for change in changes] != [seeded.kind] or alignment.first_divergence is None:
        return False
    of_baseline = seeded.kind == "tool dropped"
    places = (alignment.first_divergence, changes[0].first)
    positions = {place.baseline if of_baseline else place.candidate for place in places}
    events = (baseline if of_baseline else candidate).events
    return all(
        position is not None and seeded.parts_at in (events[position].entry_id, events[position].ended_id)
        for position in positions
    )
