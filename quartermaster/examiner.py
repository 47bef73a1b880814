"""Examines missions that went quiet, a few at a time, so that lists tell what was found in each."""

import time
from typing import Final

from quartermaster import examine
from quartermaster.core.assessment import Assessment
from quartermaster.core.examination import ENTRIES_LIMIT, rules_version
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.evaluate import assess_mission, edition_of, nothing_to_check
from quartermaster.examine import Seen
from quartermaster.store import examinations, missions
from quartermaster.store.database import Connection, Database
from quartermaster.store.examinations import Examined
from quartermaster.store.missions import Mission

BACKGROUND_ENTRIES: Final = 20_000
"""Larger missions are examined when somebody looks at them: before that they would keep others waiting."""
_AT_ONCE: Final = 50
_SECONDS_AT_ONCE: Final = 0.5
_READING_SECONDS: Final = 60.0


def rules_of(prices: OwnPrices) -> int:
    """The version of all rules that are in force."""
    return rules_version(edition_of(prices))


def look_at(
    connection: Connection,
    mission: Mission,
    assessment: Assessment,
    prices: OwnPrices,
    *,
    limit: int = ENTRIES_LIMIT,
) -> Seen:
    """What is known of a mission by the rules that are in force."""
    price, rules = PriceBook(prices), rules_of(prices)
    return examine.look(connection, mission, assessment, price=price, rules=rules, limit=limit)


def examine_some(database: Database, prices: OwnPrices, *, quiet_before: int) -> int:
    """Examine a few missions that have not changed since an instant, and remember them; how many."""
    rules = rules_of(prices)
    waiting = database.read_blocking(
        lambda connection: examinations.outdated(connection, rules, quiet_before=quiet_before, limit=_AT_ONCE)
    )
    ends_at = time.monotonic() + _SECONDS_AT_ONCE
    found: list[Examined] = []
    for workspace, mission_id in waiting:
        fresh = database.read_blocking(
            lambda connection: _examined(connection, workspace, mission_id, prices),  # noqa: B023
            _READING_SECONDS,
        )
        if fresh is not None:
            found.append(fresh)
        if time.monotonic() > ends_at:
            break
    if found:
        database.write_blocking(lambda connection: examinations.keep(connection, found))
    return len(found)


def _examined(connection: Connection, workspace: int, mission_id: str, prices: OwnPrices) -> Examined | None:
    mission = missions.find_mission(connection, workspace, mission_id)
    if mission is None:
        return None
    assessment = assess_mission(
        connection, workspace, mission_id, seed=0, check=nothing_to_check, prices=prices
    )
    return look_at(connection, mission, assessment, prices, limit=BACKGROUND_ENTRIES).fresh
