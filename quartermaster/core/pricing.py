"""What a model call cost by list price: the user's own prices first, then the catalogue.

Prices are applied to partitions of what was used: fresh input, input read from a cache, input written to
it for minutes or for an hour, and output, of which reasoning is a part. Whatever cannot be said is None.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from quartermaster.core.catalogue import Rate, Rates, is_dated, rates_at
from quartermaster.core.trajectory import PICODOLLARS, Terms, terms_of

_PICODOLLARS_PER_TOKEN: Final = Decimal(PICODOLLARS // 10**6)
"""Of a price of one dollar for a million tokens."""
_HIGHEST: Final = 1_000_000


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
        cache_write_1h: int | None = None,
        terms: str | None = None,
    ) -> int | None: ...


class OwnPrice(msgspec.Struct, frozen=True, kw_only=True):
    """A price that the user states, in dollars for a million tokens, for models that a pattern names.

    It holds from the instant `since` on; None is from ever. What is None costs what fresh input costs, an
    hour's write what any write costs.
    """

    pattern: str
    since: int | None
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None


class OwnPrices(msgspec.Struct, frozen=True):
    """The user's price file. `digest` tells one edition of it from another."""

    prices: tuple[OwnPrice, ...] = ()
    digest: str | None = None


class PriceBook:
    """The prices of one evaluation."""

    def __init__(self, own: OwnPrices) -> None:
        ranked = sorted(own.prices, key=lambda one: _rank(one.pattern), reverse=True)
        self._own = [(_matcher(price.pattern), price) for price in ranked]

    def __call__(
        self,
        model: str,
        *,
        fresh: int | None,
        output: int | None,
        cache_read: int | None,
        cache_write: int | None,
        instant: int,
        cache_write_1h: int | None = None,
        terms: str | None = None,
    ) -> int | None:
        """Price of a call at its own date; None for an unknown model or without input and output counts.

        The four counters are disjoint: `fresh` is input that no cache was asked for; `cache_write_1h` is the
        part of `cache_write` that is kept for an hour. A call that used no token at all cost nothing.
        """
        if fresh is None or output is None:
            return None
        read, hour = cache_read or 0, cache_write_1h or 0
        write = hour if cache_write is None else cache_write
        if min(fresh, output, read, hour) < 0 or write < hour:
            return None
        if not (fresh or read or write or output):
            return 0
        rates = self._rates(model, terms_of(terms), instant)
        used = _Used(fresh, read, write - hour, hour, output)
        costs = {_cost(one, used) for one in rates}
        return costs.pop() if len(costs) == 1 else None

    def _rates(self, model: str, terms: Terms, instant: int) -> Iterable[Rates]:
        own = self._own_price(model, terms.provider, instant) if self._own else None
        if own is not None:
            return own
        return rates_at(model, terms.provider, terms.tier, instant)

    def _own_price(self, model: str, provider: str | None, instant: int) -> tuple[Rates, ...] | None:
        """The newest price of the most telling pattern; a call without a date has none that has a date."""
        names = [model, f"{provider}/{model}"] if provider else [model]
        told = [one for matches, one in self._own if any(matches(name) for name in names)]
        if not is_dated(instant) and any(one.since is not None for one in told):
            return ()
        holding = [one for one in told if one.since is None or one.since <= instant]
        if not holding:
            return None
        same = [one for one in holding if one.pattern == holding[0].pattern]
        return (_own_rates(max(same, key=lambda one: -(2**63) if one.since is None else one.since)),)


list_price: Final[Price] = PriceBook(OwnPrices())
"""The price by the catalogue alone."""


def _rank(pattern: str) -> tuple[bool, int]:
    """Names without a star say most, then the longest pattern."""
    return "*" not in pattern, len(pattern)


def _matcher(pattern: str) -> Any:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.IGNORECASE).fullmatch


def _own_rates(price: OwnPrice) -> Rates:
    return Rates(
        fresh=_flat(price.input),
        output=_flat(price.output),
        cache_read=_flat(price.cache_read),
        cache_write=_flat(price.cache_write),
        cache_write_1h=_flat(price.cache_write if price.cache_write_1h is None else price.cache_write_1h),
    )


def _flat(price: Decimal | None) -> Rate | None:
    return None if price is None else ((0, price),)


class _Used(NamedTuple):
    """The partitions of a call, which do not overlap."""

    fresh: int
    read: int
    write: int
    write_1h: int
    output: int


def _cost(rates: Rates, used: _Used) -> int | None:
    """A long context moves the whole call into its tier; cached input without a rate of its own is fresh."""
    hourly = rates.cache_write_1h or (rates.fresh if rates.cache_write is None else None)
    context = sum(used) - used.output
    dollars = rates.request * 1_000_000
    for tokens, rate in (
        (used.fresh, rates.fresh),
        (used.read, rates.cache_read or rates.fresh),
        (used.write, rates.cache_write or rates.fresh),
        (used.write_1h, hourly),
        (used.output, rates.output),
    ):
        if not tokens:
            continue
        if rate is None:
            return None
        dollars += tokens * _reached(rate, context)
    return int((dollars * _PICODOLLARS_PER_TOKEN).to_integral_value())


def _reached(rate: Rate, context: int) -> Decimal:
    price = rate[0][1]
    for start, higher in rate[1:]:
        if context > start:
            price = higher
    return price


_AMOUNTS: Final = ("input", "output", "cache_read", "cache_write", "cache_write_1h")
_ALLOWED: Final = f"a table with the dollars for a million tokens as {', '.join(_AMOUNTS)}, and a date `from`"


def own_prices_of(document: object, digest: str) -> OwnPrices:
    """A decoded price file: per pattern one table or a list of tables. ValueError names key and remedy."""
    if not isinstance(document, dict):
        raise ValueError(f"the file holds no table; allowed is a table per model, each {_ALLOWED}")
    prices = []
    for pattern, told in document.items():
        tables = told if isinstance(told, list) else [told]
        prices += [_own_price_of(pattern, table) for table in tables]
    return OwnPrices(tuple(prices), digest)


def _own_price_of(pattern: str, table: object) -> OwnPrice:
    if not pattern.strip() or not isinstance(table, dict):
        raise ValueError(f"{pattern!r} is no price; allowed is {_ALLOWED}")
    for key in table:
        if key != "from" and key not in _AMOUNTS:
            raise ValueError(f"{pattern!r} has an unknown key {key!r}; allowed is {_ALLOWED}")
    for key in ("input", "output"):
        if key not in table:
            raise ValueError(f"{pattern!r} has no {key}; allowed is {_ALLOWED}")
    amounts = {key: _amount(pattern, key, table[key]) for key in _AMOUNTS if key in table}
    return OwnPrice(pattern=pattern, since=_since(pattern, table.get("from")), **amounts)


def _amount(pattern: str, key: str, value: object) -> Decimal:
    if type(value) not in (int, float) or not 0 <= value <= _HIGHEST:  # type: ignore[operator]
        raise ValueError(
            f"{key} of {pattern!r} is {value!r:.100}; allowed is a number of dollars from 0 to {_HIGHEST}"
        )
    return Decimal(repr(value))


def _since(pattern: str, value: object) -> int | None:
    if value is None:
        return None
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        day = None
    if type(day) is not date:
        raise ValueError(f"from of {pattern!r} is {value!r:.100}; allowed is a date such as 2026-01-31")
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9
