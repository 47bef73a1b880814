"""Two sets of missions, from the database to their comparison."""

from collections.abc import Callable
from typing import Final

from quartermaster.core.assessment import Assessment, Assessor
from quartermaster.core.pricing import PriceBook
from quartermaster.core.selection import Selection
from quartermaster.core.trials import Trial, trial_of
from quartermaster.store import missions, trajectory
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts

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
        trial_of(mission, _assess(connection, mission, texts, price, check))
        for mission in missions.select_missions(connection, workspace, selection)
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
