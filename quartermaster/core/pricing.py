"""What a model call cost by list price, from the offline catalogue of genai-prices.

The catalogue takes a third of a second and 15 MB to import, so it is imported by the first call
that has to be priced, and never updated over the network.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Protocol

from quartermaster.core.trajectory import PICODOLLARS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PICODOLLARS_PER_TOKEN: Final = Decimal(PICODOLLARS // 10**6)
"""Of a price of one dollar for a million tokens."""


class Price(Protocol):
    """Whole picodollars of one call, or None where that cannot be said."""

    def __call__(
        self,
        model: str,
        *,
        fresh: int | None,
        output: int | None,
        cache_read: int | None,
        cache_write: int | None,
        instant: int,
    ) -> int | None: ...


def list_price(
    model: str,
    *,
    fresh: int | None,
    output: int | None,
    cache_read: int | None,
    cache_write: int | None,
    instant: int,
) -> int | None:
    """Price of a call at its own date; None for an unknown model or without input and output counts.

    The four counters are disjoint: `fresh` is input that no cache was asked for. Cached input without
    a price of its own costs what fresh input costs. A call that used no token at all cost nothing.
    """
    if fresh is None or output is None:
        return None
    read, write = cache_read or 0, cache_write or 0
    if min(fresh, output, read, write) < 0:
        return None
    context = fresh + read + write
    if not context and not output:
        return 0
    found = _model(model)
    if found is None:
        return None
    prices = vars(found.get_prices(_EPOCH + timedelta(microseconds=instant // 1000)))
    incoming, outgoing = prices.get("input_mtok"), prices.get("output_mtok")
    if (context and incoming is None) or (output and outgoing is None):
        return None
    dollars = (
        fresh * _rate(incoming, context)
        + read * _rate(prices.get("cache_read_mtok") or incoming, context)
        + write * _rate(prices.get("cache_write_mtok") or incoming, context)
        + output * _rate(outgoing, context)
    )
    requests = _rate(prices.get("requests_kcount"), context) * PICODOLLARS / 1000
    return int((dollars * _PICODOLLARS_PER_TOKEN + requests).to_integral_value())


def _rate(price: Any, context: int) -> Decimal:
    """Dollars for a million tokens; a long context moves the whole call into its tier."""
    if price is None:
        return Decimal(0)
    if isinstance(price, Decimal):
        return price
    reached = [tier.price for tier in price.tiers if context > tier.start]
    rate: Decimal = reached[-1] if reached else price.base
    return rate


@lru_cache(maxsize=4096)
def _model(reference: str) -> Any:
    """The catalogue's model of that name, `provider/name` included; None where it knows none."""
    from genai_prices.data_snapshot import get_snapshot

    catalogue = get_snapshot()
    provider, slash, name = reference.partition("/")
    for wanted, provider_id in ((reference, None), (name, provider if slash else None)):
        if not wanted:
            continue
        try:
            return catalogue.find_provider_model(wanted, None, provider_id, None)[1]
        except LookupError:
            continue
    return None
