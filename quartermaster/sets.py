"""Two sets of missions, from the database to their comparison."""

from collections.abc import Callable
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from quartermaster.core.assessment import Assessment, Assessor
from quartermaster.core.pricing import PriceBook
from quartermaster.core.selection import Selection
from quartermaster.core.trials import Trial, trial_of
from quartermaster.grounds import ungrounded_actions
from quartermaster.store import missions, trajectory
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts

if TYPE_CHECKING:
    from quartermaster.core.tuning import Known

MISSIONS: Final = 2_000
ENTRIES: Final = 2_000_000
"""How much of a history is read: judging it takes seconds, not hours."""

_TEXTS_LIMIT: Final = 50_000
_PAGE: Final = 1024


def read_trials(
    connection: Connection,
    workspace: int,
    selection: Selection,
    *,
    price: PriceBook,
    check: Callable[[], None],
) -> tuple[Trial, ...]:
    """One side of a comparison: every selected mission judged alone. `check` is asked between missions."""
    texts = Texts(connection)
    return tuple(
        trial_of(
            mission,
            _assess(connection, mission, texts, price, check),
            ungrounded_actions(connection, mission, check),
        )
        for mission in missions.select_missions(connection, workspace, selection)
    )


def read_history(
    connection: Connection,
    workspace: int,
    selection: Selection | None,
    *,
    price: PriceBook,
    check: Callable[[], None],
    words: bool = False,
) -> "tuple[Known, ...]":
    """Missions for questions about run-to-run variation: those selected, else all that were repeated.

    Not more than `MISSIONS` and `ENTRIES`, the last changed first. Hallucinations are only known where the
    `words` of all are read, which takes ten times as long.
    """
    texts = Texts(connection)
    if selection is None:
        found = missions.repeated_missions(connection, workspace, limit=MISSIONS)
    else:
        found = missions.select_missions(connection, workspace, selection)[:MISSIONS]
    entries = accumulate(mission.entries for mission in found)
    return tuple(
        _known(
            mission,
            _assess(connection, mission, texts, price, check),
            ungrounded_actions(connection, mission, check) if words else None,
        )
        for mission, reached in zip(found, entries, strict=True)
        if reached <= ENTRIES
    )


def _known(mission: Mission, assessment: Assessment, ungrounded: int | None) -> "Known":
    from quartermaster.core.tuning import PAIR_METRICS, Known  # noqa: PLC0415 - workers start without it

    return Known(
        variant=mission.variant,
        trial=trial_of(mission, assessment, ungrounded),
        numbers={metric: assessment.metric(metric).number for metric in PAIR_METRICS},
    )


def _assess(
    connection: Connection, mission: Mission, texts: Texts, price: PriceBook, check: Callable[[], None]
) -> Assessment:
    if len(texts) > _TEXTS_LIMIT:
        texts.clear()
    assessor = Assessor(texts, 0, price)
    for page in trajectory.step_pages(connection, mission.key, page=_PAGE):
        check()
        assessor.add(page)
    return assessor.result()
