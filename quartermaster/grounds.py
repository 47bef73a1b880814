"""How often a mission acted on what nothing had told it, counted in its words."""

import logging
from collections.abc import Callable
from typing import Final

from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.transcript import read_transcript

MOST_ENTRIES: Final = 50_000
"""Of one mission; the words of longer ones would not fit into memory beside everything else."""

_DETECTOR: Final = "ungrounded_action"
_log = logging.getLogger(__name__)


def ungrounded_actions(connection: Connection, mission: Mission, check: Callable[[], None]) -> int | None:
    """Findings of ungrounded actions; None where the mission is too long to be read for it.

    A recording that a rule cannot cope with costs this count, not the comparison.
    """
    if mission.entries > MOST_ENTRIES:
        return None
    from quartermaster.core.failure_modes import find_failure_modes  # noqa: PLC0415 - detectors are slow to load

    transcript = read_transcript(connection, mission, check=check)
    try:
        return len(find_failure_modes(transcript, names=(_DETECTOR,)))
    except Exception:
        _log.exception("the words of mission %s cannot be judged", mission.mission_id)
        return None
