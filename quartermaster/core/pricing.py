"""What a model call cost by list price: the user's own prices first, then the catalogue.

Prices are applied to partitions of what was used: fresh input, input read from a cache, input written to
it for minutes or for an hour, and output, of which reasoning is a part. Whatever cannot be said is None.
"""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from quartermaster.core.catalogue import Rate, Rates, is_dated, rates_at
from quartermaster.core.trajectory import PICODOLLARS, terms_of

_PICODOLLARS_PER_TOKEN: Final = Decimal(PICODOLLARS // 10**6)
"""Of a price of one dollar for a million tokens."""
_HIGHEST: Final = 1_000_000


_MINUTE: Final = 60 * 10**9
_REMEMBERED: Final = 16_384


class _Line(NamedTuple):
    """Picodollars for a token of each partition, of calls whose context exceeds `start`."""

    start: int
    fresh: int | Decimal | None
    read: int | Decimal | None
    write: int | Decimal | None
    hour: int | Decimal | None
    output: int | Decimal | None


class _Tariff(NamedTuple):
    """The line of short contexts, those of longer ones (longest first), and what a call costs beside."""

    line: _Line
    longer: tuple[_Line, ...]
    request: int | Decimal


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
        self._tariffs: dict[tuple[str, str | None, int], tuple[_Tariff, ...]] = {}

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
        tariffs = self._tariffs.get((model, terms, instant // _MINUTE))
        if tariffs is None:
            tariffs = self._remember(model, terms, instant)
        if len(tariffs) != 1:
            costs = {_cost(one, fresh, read, write, hour, output) for one in tariffs}
            return costs.pop() if len(costs) == 1 else None
        return _cost(tariffs[0], fresh, read, write, hour, output)

    def _remember(self, model: str, terms: str | None, instant: int) -> tuple[_Tariff, ...]:
        """What was asked for the same minute before is not looked up again."""
        asked = terms_of(terms)
        rates = self._own_price(model, asked.provider, instant) if self._own else None
        if rates is None:
            rates = rates_at(model, asked.provider, asked.tier, instant)
        tariffs = tuple(_tariff_of(one) for one in rates)
        if len(self._tariffs) >= _REMEMBERED:
            self._tariffs.clear()
        self._tariffs[model, terms, instant // _MINUTE] = tariffs
        return tariffs

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


def _tariff_of(rates: Rates) -> _Tariff:
    """Cached input without a rate of its own is fresh; an hour has no rate where only minutes have one."""
    hourly = rates.cache_write_1h or (rates.fresh if rates.cache_write is None else None)
    read, write = rates.cache_read or rates.fresh, rates.cache_write or rates.fresh
    charged = (rates.fresh, read, write, hourly, rates.output)
    starts = sorted({start for rate in charged if rate is not None for start, _ in rate} | {0}, reverse=True)
    lines = [_Line(start, *(_per_token(rate, start) for rate in charged)) for start in starts]
    return _Tariff(lines[-1], tuple(lines[:-1]), _whole(rates.request * PICODOLLARS))


def _per_token(rate: Rate | None, start: int) -> int | Decimal | None:
    if rate is None:
        return None
    return _whole([price for begins, price in rate if begins <= start][-1] * _PICODOLLARS_PER_TOKEN)


def _whole(amount: Decimal) -> int | Decimal:
    """As an integer where it is one: sums of integers are much faster."""
    return int(amount) if amount == amount.to_integral_value() else amount


def _cost(tariff: _Tariff, fresh: int, read: int, write: int, hour: int, output: int) -> int | None:  # noqa: PLR0917
    """A long context moves the whole call into its tier. What was used must have a rate."""
    line = tariff.line
    for one in tariff.longer:
        if fresh + read + write > one.start:
            line = one
            break
    _, for_fresh, for_read, for_write, for_hour, for_output = line
    if (
        (fresh and for_fresh is None)
        or (read and for_read is None)
        or (write - hour and for_write is None)
        or (hour and for_hour is None)
        or (output and for_output is None)
    ):
        return None
    cost = (
        fresh * (for_fresh or 0)
        + read * (for_read or 0)
        + (write - hour) * (for_write or 0)
        + hour * (for_hour or 0)
        + output * (for_output or 0)
        + tariff.request
    )
    return cost if type(cost) is int else round(cost)


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
