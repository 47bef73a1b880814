"""What is known of a mission by the rules and prices that are in force."""

from typing import NamedTuple

import msgspec

from quartermaster.core.assessment import Assessment
from quartermaster.core.examination import ENTRIES_LIMIT, Examination, rules_version
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.evaluate import assess_mission, edition_of, nothing_to_check
from quartermaster.examine import look
from quartermaster.store import missions
from quartermaster.store.database import Connection
from quartermaster.store.examinations import Examined
from quartermaster.store.missions import Mission


class Looked(msgspec.Struct, frozen=True):
    """What is known of a mission as it was at a revision, as one process tells it another. `is_fresh` where
    it was found out just now and is to be remembered."""

    examination: Examination
    mission: int
    revision: int
    rules: int
    contract: tuple[str, ...]
    is_fresh: bool

    @property
    def fresh(self) -> Examined | None:
        """What is to be remembered of it."""
        if not self.is_fresh:
            return None
        return Examined(
            mission=self.mission,
            revision=self.revision,
            rules=self.rules,
            examination=self.examination,
            contract=self.contract,
        )


def rules_of(prices: OwnPrices) -> int:
    """The version of all rules that are in force."""
    return rules_version(edition_of(prices))


class Judged(NamedTuple):
    """A mission judged alone: its numbers, what is known of it, and what of that was found out here and is
    to be remembered."""

    assessment: Assessment
    examination: Examination
    fresh: Examined | None


def judged(
    connection: Connection,
    workspace: int,
    mission: Mission,
    prices: OwnPrices,
    *,
    limit: int = ENTRIES_LIMIT,
    looked: Looked | None = None,
) -> Judged:
    """A mission by the rules that are in force. It is examined here where nothing is remembered of it and no
    other process has `looked` at it; of more entries than the limit it is not examined."""
    assessment = assess_mission(
        connection, workspace, mission.mission_id, seed=0, check=nothing_to_check, prices=prices
    )
    if looked is not None:
        return Judged(assessment, looked.examination, None)
    seen = look(
        connection,
        workspace,
        mission,
        assessment,
        price=PriceBook(prices),
        rules=rules_of(prices),
        limit=limit,
    )
    return Judged(assessment, seen.examination, seen.fresh)


def looked_at(
    connection: Connection,
    workspace: int,
    mission_id: str,
    prices: OwnPrices,
    *,
    limit: int = ENTRIES_LIMIT,
) -> Looked | None:
    """What is known of the mission of this id, found out where nothing is remembered of it."""
    mission = missions.find_mission(connection, workspace, mission_id)
    if mission is None:
        return None
    _, examination, fresh = judged(connection, workspace, mission, prices, limit=limit)
    return Looked(
        examination,
        mission.key,
        mission.revision,
        rules_of(prices),
        () if fresh is None else fresh.contract,
        fresh is not None,
    )
