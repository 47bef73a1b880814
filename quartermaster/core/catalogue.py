"""The price catalogue of genai-prices: which of its models a recorded name means, and its rates at a time.

Recorded names come with prefixes, paths, dates and aliases. A name is resolved only where that leaves one
price: anything that could be two models stays unknown. The catalogue takes a third of a second to import,
so the first question imports it; its own updater is never started, so prices are those of the package.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgspec

PACKAGE: Final = "genai-prices"

Rate = tuple[tuple[int, Decimal], ...]
"""Dollars for a million tokens, each beside the context that a call must exceed to be charged it."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = 60 * 10**9
_UNDATED_BEFORE: Final = int((datetime(2020, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10**9
"""Recordings without a clock are told from 1970 on, in the order of their steps."""
_NAME_LIMIT: Final = 300


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What tokens cost; None where the price list does not say. `request` is dollars for one call."""

    fresh: Rate | None
    output: Rate | None
    cache_read: Rate | None
    cache_write: Rate | None
    cache_write_1h: Rate | None
    request: Decimal = Decimal(0)


def is_dated(instant: int) -> bool:
    """Whether an instant is the time of a call, and not only its place in an order."""
    return instant >= _UNDATED_BEFORE


def rates_at(model: str, provider: str | None, tier: str | None, instant: int) -> tuple[Rates, ...]:
    """The rates of a call at its time: none for a name that means no model or more than one.

    Several where the recording has no clock and the price has changed over the years.
    """
    return _rates(model, provider, tier, instant // _MINUTE if is_dated(instant) else None)


@lru_cache(maxsize=8192)
def _rates(reference: str, provider: str | None, tier: str | None, minute: int | None) -> tuple[Rates, ...]:
    found = _find(reference, provider)
    if found is None:
        return ()
    seller, model = found
    if tier is not None:
        tariff = _TARIFFS.get(tier)
        if tariff is None or minute is None or model not in seller.models:
            return ()
        price = _variant_of(model, tariff, _EPOCH + timedelta(minutes=minute))
        return () if price is None else (_rates_of(price, reference),)
    if minute is not None:
        return (_rates_of(model.get_prices(_EPOCH + timedelta(minutes=minute)), reference),)
    prices = [one.prices for one in model.prices] if isinstance(model.prices, list) else [model.prices]
    return tuple(_rates_of(price, reference) for price in prices)


@lru_cache(maxsize=1024)
def context_window(model: str) -> int | None:
    """The tokens that a model takes at once; None where the name means no model, or nobody lists it."""
    found = _find(model, None)
    return None if found is None else found[1].context_window


_TARIFFS: Final = {
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}


def _variant_of(model: Any, tariff: dict[str, str], at: datetime) -> Any:
    """The prices of a service tier; None where the catalogue has none of that date."""
    for variant in model.price_variants or ():
        if variant.when == tariff and (variant.constraint is None or variant.constraint.active(at)):
            return model.get_prices(at, tariff)
    return None


def _rates_of(price: Any, reference: str) -> Rates:
    listed: dict[str, Any] = vars(price)
    fresh, output = _rate(listed.get("input_mtok")), _rate(listed.get("output_mtok"))
    if not listed and reference.lower().endswith(":free"):
        fresh = output = ((0, Decimal(0)),)
    if any(listed.get(key) is not None for key in ("output_reasoning_mtok", "output_citation_mtok")):
        output = None  # parts of the output have prices of their own, and recordings do not count them
    return Rates(
        fresh=fresh,
        output=output,
        cache_read=_rate(listed.get("cache_read_mtok")),
        cache_write=_rate(listed.get("cache_write_mtok")),
        cache_write_1h=_rate(listed.get("cache_write_1h_mtok")),
        request=(listed.get("requests_kcount") or Decimal(0)) / 1000,
    )


def _rate(price: Any) -> Rate | None:
    if price is None or isinstance(price, Decimal):
        return None if price is None else ((0, price),)
    return ((0, price.base), *((tier.start, tier.price) for tier in price.tiers))


_PROVIDER_NAMES: Final = {
    "amazon": "aws", "amazon-bedrock": "aws", "amazon_bedrock": "aws", "aws.bedrock": "aws",
    "aws_bedrock": "aws", "bedrock": "aws", "bedrock_converse": "aws",
    "azure.ai.openai": "azure", "azure.ai.inference": "azure", "azure_ai": "azure", "azure_openai": "azure",
    "az.ai.openai": "azure", "az.ai.inference": "azure",
    "copilot": "github-copilot", "github_copilot": "github-copilot",
    "fireworks_ai": "fireworks", "fireworks-ai": "fireworks",
    "gcp.gemini": "google", "gcp.gen_ai": "google", "gcp.vertex_ai": "google", "gemini": "google",
    "google-gla": "google", "google-vertex": "google", "vertex_ai": "google", "vertexai": "google",
    "mistral_ai": "mistral", "mistralai": "mistral", "moonshot": "moonshotai",
    "together-ai": "together", "together_ai": "together", "x_ai": "x-ai", "xai": "x-ai",
}  # fmt: skip
"""Names of providers in recordings, beside the catalogue's own."""

_PROXIES: Final = frozenset({"litellm", "litellm_proxy"})
_BEDROCK: Final = re.compile(
    r"(?:(?:us|eu|apac|au|ca|in|jp|sa|us-gov|global)\.)?"
    r"(?:ai21|amazon|anthropic|cohere|deepseek|meta|mistral|moonshotai|openai|qwen)\.[\w.:-]+"
)
_REGION: Final = re.compile(r"(?:(?:us|eu|apac|au|ca|in|jp|sa|us-gov|global)\.)?(?:[a-z0-9]+\.)?")
_PUBLISHED: Final = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/models/([^/]+)")
_HARMLESS: Final = re.compile(
    r"(?:[-@]?\d{2,8}|-v\d+:\d+|:\d+|[-:](?:latest|preview|exp|experimental|thinking|instruct))*"
)
"""What may follow the name of a model without making it another one: dates, versions, stages."""
_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(\d\d)(\d\d)$")
_DATE: Final = re.compile(r"[-@](?:20\d\d-\d\d-\d\d|20\d{6})$")


def _find(reference: str, provider: str | None) -> tuple[Any, Any] | None:
    """Seller and model of a recorded name."""
    name = reference.strip().lower().removesuffix("[1m]")
    if not name or name.startswith("<") or len(name) > _NAME_LIMIT:
        return None
    sellers = _sellers()
    for seller_id, wanted in _places(name, _known_provider(provider)):
        sold_by = [sellers[seller_id]] if seller_id else _owners(wanted)
        for seller in sold_by:
            model = _model_of(seller, wanted)
            if model is not None:
                return seller, model
    return None


def _places(name: str, provider: str | None) -> Iterator[tuple[str | None, str]]:
    """Where a name is looked for, best evidence first; no provider stands for the owner of the name."""
    published = _PUBLISHED.fullmatch(name)
    if published:
        yield "google", published[1]
        return
    if name.startswith("arn:aws:bedrock:") or _BEDROCK.fullmatch(name):
        yield "aws", name.rpartition("/")[2]
        return
    prefix, slash, rest = name.partition("/")
    if slash and prefix in _PROXIES:
        yield from _places(rest, provider)
        return
    if slash and prefix == "models":
        yield provider or "google", rest
        return
    if provider is not None:
        yield provider, name
    known = _known_provider(prefix) if slash else None
    if known == "aws" and provider in (None, "aws"):
        yield "aws", rest.rpartition("/")[2]
    elif known is not None and provider != "openrouter":
        yield known, name
        yield known, rest
        if rest.startswith("openrouter-"):
            yield from (("openrouter", model.id) for model in _resold(rest.removeprefix("openrouter-")))
    if provider is None and (not slash or name.startswith(("@cf/", "accounts/"))):
        yield None, name


def _known_provider(name: str | None) -> str | None:
    if not name:
        return None
    wanted = name.strip().lower()
    wanted = _PROVIDER_NAMES.get(wanted, wanted)
    return wanted if wanted in _sellers() else None


@lru_cache(maxsize=1)
def _sellers() -> dict[str, Any]:
    from genai_prices.data_snapshot import get_snapshot

    return {provider.id: provider for provider in get_snapshot().providers}


def _owners(name: str) -> list[Any]:
    """The provider that the catalogue takes a bare name to be of."""
    sellers = _sellers().values()
    owners = [one for one in sellers if one.model_match is not None and one.model_match.is_match(name)]
    return owners[:1]


def _resold(name: str) -> list[Any]:
    """Models that OpenRouter sells under that name, whoever made them; more than one is none."""
    sold = [model for model in _sellers()["openrouter"].models if model.id.partition("/")[2] == name]
    return sold if len(sold) == 1 else []


def _model_of(seller: Any, name: str) -> Any:
    """The model that a seller has under a name; an unlisted date is no other model where none is dated."""
    if seller.id == "aws" and name.startswith("claude") and _is_dearer_in_a_region(seller, name):
        return None
    dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", name)
    for wanted in dict.fromkeys((name, dashed)):
        model = _listed(seller, wanted)
        if model is not None:
            return model
    base = _DATE.sub("", name)
    if base == name or any(one.id.lower().startswith(f"{base}-20") for one in seller.models):
        return None
    return next((one for one in seller.models if _names(one.match, base, seller.id, whole=True)), None)


def _is_dearer_in_a_region(bedrock: Any, name: str) -> bool:
    """Whether the name, without the region that Bedrock puts in front, leaves two prices open."""
    regional, worldwide = (_listed(bedrock, f"{region}.anthropic.{name}") for region in ("us", "global"))
    return worldwide is not None and (regional is None or regional.prices != worldwide.prices)


def _listed(seller: Any, name: str) -> Any:
    others = (_sellers()[one] for one in seller.fallback_model_providers or ())
    for stock in (seller, *others):
        for model in stock.models:
            if _names(model.match, name, stock.id):
                return model
    return None


def _names(clause: Any, name: str, seller: str, *, whole: bool = False) -> bool:
    """Whether a clause of the catalogue names the model, and not another one that begins alike."""
    parts: list[Any] | None = getattr(clause, "or_", None)
    if parts is not None:
        return any(_names(part, name, seller, whole=whole) for part in parts)
    if hasattr(clause, "and_"):
        return all(_names(part, name, seller, whole=whole) for part in clause.and_)
    wanted = getattr(clause, "starts_with", None) or getattr(clause, "contains", None)
    if wanted is not None:
        before, found, after = name.partition(wanted.lower())
        if not found or (before and not (seller == "aws" and _REGION.fullmatch(before))):
            return False
        return not after if whole else _HARMLESS.fullmatch(after) is not None or name.startswith("ft:")
    wanted = getattr(clause, "ends_with", None) or getattr(clause, "equals", None)
    return name == wanted.lower() if wanted is not None else bool(clause.is_match(name))
