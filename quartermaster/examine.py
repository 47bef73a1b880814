"""One mission examined: what is remembered of it, or what its words tell."""

import logging
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from quartermaster.core.assessment import Assessment, Assessor
from quartermaster.core.catalogue import context_window
from quartermaster.core.examination import ENTRIES_LIMIT, Examination, examine, too_large
from quartermaster.core.failure_modes import Context
from quartermaster.core.pricing import Price
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Transcript
from quartermaster.store import examinations, missions, trajectory
from quartermaster.store.database import Connection
from quartermaster.store.examinations import Examined
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts
from quartermaster.store.transcript import read_transcript

_EARLIER_RUNS: Final = 20
_EARLIER_ENTRIES: Final = 100_000
"""How much is looked back on: an examination must not take longer for it than for its own mission."""

_log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What is known of a mission; `fresh` is what is to be remembered of it."""

    examination: Examination
    fresh: Examined | None


def look(
    connection: Connection,
    workspace: int,
    mission: Mission,
    assessment: Assessment,
    *,
    price: Price,
    rules: int,
    limit: int = ENTRIES_LIMIT,
    check: Callable[[], None] = lambda: None,
) -> Seen:
    """What is remembered of a mission as it is now, by these `rules` and beside the same earlier runs of its
    task, or else what an examination finds."""
    earlier = _earlier_runs(connection, workspace, mission)
    around = _digest(earlier)
    known = examinations.find(connection, mission, rules)
    if known is not None and known.unexamined is None and known.around == around:
        return Seen(known, None)
    found = too_large(mission.entries, limit)
    if found is None:
        transcript = read_transcript(connection, mission, price=price, check=check)
        context = Context(
            context_window=context_window, earlier_costs=tuple(_costs(connection, earlier, price, check))
        )
        found = msgspec.structs.replace(_examined(transcript, assessment, context), around=around)
    fresh = Examined(
        mission=mission.key,
        revision=mission.revision,
        rules=rules,
        examination=found,
        contract=tuple(finding.failure_mode for finding in assessment.findings),
    )
    return Seen(found, fresh)


def _examined(transcript: Transcript, assessment: Assessment, context: Context) -> Examination:
    """A rule that cannot cope with a recording costs its examination, not the page that shows the mission."""
    try:
        return examine(transcript, assessment, context)
    except Exception:
        _log.exception("the examination of mission %s failed", transcript.mission_id)
        return Examination(unexamined="a fault of this program; its log says where")


def _earlier_runs(connection: Connection, workspace: int, mission: Mission) -> list[Mission]:
    """As many as may be looked back on, the latest first."""
    kept, entries = [], 0
    for one in missions.earlier_runs(connection, workspace, mission, limit=_EARLIER_RUNS):
        entries += one.entries
        if entries > _EARLIER_ENTRIES:
            break
        kept.append(one)
    return kept


def _digest(earlier: Sequence[Mission]) -> int:
    """Stands for these runs as they are now; 0 for none."""
    if not earlier:
        return 0
    named = msgspec.json.encode([(one.mission_id, one.revision) for one in earlier])
    return int.from_bytes(blake2b(named, digest_size=7).digest(), "big")


def _costs(
    connection: Connection, earlier: Sequence[Mission], price: Price, check: Callable[[], None]
) -> Iterator[int]:
    """What those runs cost whose cost is known whole, in picodollars."""
    texts = Texts(connection)
    for mission in earlier:
        check()
        assessor = Assessor(texts, 0, price)
        for page in trajectory.step_pages(connection, mission.key):
            assessor.add(page)
        cost = assessor.result().metric("total_cost_usd").number
        if cost is not None:
            yield round(cost * PICODOLLARS)
