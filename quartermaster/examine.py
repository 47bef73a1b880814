"""One mission examined: what is remembered of it, or what its words tell."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from quartermaster.core.assessment import Assessment
from quartermaster.core.examination import ENTRIES_LIMIT, Examination, examine, too_large
from quartermaster.core.pricing import Price
from quartermaster.core.transcript import Transcript
from quartermaster.store import examinations
from quartermaster.store.database import Connection
from quartermaster.store.examinations import Examined
from quartermaster.store.missions import Mission
from quartermaster.store.transcript import read_transcript

_log = logging.getLogger(__name__)


class Seen(NamedTuple):
    """What is known of a mission; `fresh` is what is to be remembered of it."""

    examination: Examination
    fresh: Examined | None


def look(
    connection: Connection,
    mission: Mission,
    assessment: Assessment,
    *,
    price: Price,
    rules: int,
    limit: int = ENTRIES_LIMIT,
    check: Callable[[], None] = lambda: None,
) -> Seen:
    """What is remembered of a mission as it is now, by these `rules`, or else what an examination finds."""
    known = examinations.find(connection, mission, rules)
    if known is not None and known.unexamined is None:
        return Seen(known, None)
    found = too_large(mission.entries, limit)
    if found is None:
        transcript = read_transcript(connection, mission, price=price, check=check)
        found = examined(transcript, assessment)
    fresh = Examined(
        mission=mission.key,
        revision=mission.revision,
        rules=rules,
        examination=found,
        contract=tuple(finding.failure_mode for finding in assessment.findings),
    )
    return Seen(found, fresh)


def examined(transcript: Transcript, assessment: Assessment) -> Examination:
    """A rule that cannot cope with a recording costs its examination, not the page that shows the mission."""
    try:
        return examine(transcript, assessment)
    except Exception:
        _log.exception("the examination of mission %s failed", transcript.mission_id)
        return Examination(unexamined="a fault of this program; its log says where")
