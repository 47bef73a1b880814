"""What is known of a mission by the rules and prices that are in force."""

from quartermaster import examine
from quartermaster.core.assessment import Assessment
from quartermaster.core.examination import ENTRIES_LIMIT, rules_version
from quartermaster.core.pricing import OwnPrices, PriceBook
from quartermaster.evaluate import edition_of
from quartermaster.examine import Seen
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission


def rules_of(prices: OwnPrices) -> int:
    """The version of all rules that are in force."""
    return rules_version(edition_of(prices))


def look_at(
    connection: Connection,
    workspace: int,
    mission: Mission,
    assessment: Assessment,
    prices: OwnPrices,
    *,
    limit: int = ENTRIES_LIMIT,
) -> Seen:
    """What is known of a mission by the rules that are in force."""
    price, rules = PriceBook(prices), rules_of(prices)
    return examine.look(connection, workspace, mission, assessment, price=price, rules=rules, limit=limit)
