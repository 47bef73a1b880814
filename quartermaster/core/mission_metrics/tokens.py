"""Tokens and money. Input includes what a cache gave and took, output includes reasoning."""

from collections.abc import Callable
from typing import Final

from quartermaster.core.mission_metrics.registry import (
    Known,
    Partial,
    Provenance,
    Reading,
    Told,
    Undefined,
    amount,
    catalogue_metric,
    total,
)
from quartermaster.core.mission_metrics.subject import Subject
from quartermaster.core.statistics import theil_sen_slope
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event

_NO_CALL: Final = "no model call was recorded"
_GROWS_FROM: Final = 5
_POINTS: Final = 300
"""A slope is the median over all pairs of so many calls at the most, evenly taken: more add time alone."""


@catalogue_metric(unit="tokens", direction="lower is better", over="model calls")
def tokens_in(subject: Subject) -> Reading:
    """Input tokens, those that a cache gave or took among them."""
    return _sum(subject, lambda event: event.tokens_in)


@catalogue_metric(unit="tokens", direction="neutral", over="model calls")
def tokens_cache_read(subject: Subject) -> Reading:
    """Input tokens that a cache gave."""
    return _sum(subject, lambda event: event.cache_read_tokens)


@catalogue_metric(unit="tokens", direction="neutral", over="model calls")
def tokens_cache_write(subject: Subject) -> Reading:
    """Input tokens that a cache took in."""
    return _sum(subject, lambda event: event.cache_write_tokens)


@catalogue_metric(unit="ratio", direction="higher is better", over="model calls that tell of a cache")
def cache_hit_ratio(subject: Subject) -> Reading:
    """Input tokens that a cache gave over input tokens, of the calls that tell of both."""
    calls = [
        (event.cache_read_tokens, event.tokens_in)
        for event in subject.model_calls
        if event.cache_read_tokens is not None and event.tokens_in is not None
    ]
    read, given = sum(one for one, _ in calls), sum(one for _, one in calls)
    if not 0 <= read <= given or not given:
        reason = "no model call tells of a cache" if not calls else "no input was counted"
        return Undefined(reason if subject.model_calls else _NO_CALL, len(subject.model_calls))
    missing = len(subject.model_calls) - len(calls)
    if missing:
        reason = f"{missing:,} of {len(subject.model_calls):,} model calls tell nothing of a cache"
        return Partial(read / given, len(calls), len(subject.model_calls), reason)
    return Known(read / given, len(calls))


@catalogue_metric(unit="tokens", direction="lower is better", over="model calls")
def tokens_out(subject: Subject) -> Reading:
    """Output tokens, those of reasoning among them."""
    return _sum(subject, lambda event: event.output_tokens)


@catalogue_metric(unit="tokens", direction="lower is better", over="model calls")
def tokens_reasoning(subject: Subject) -> Reading:
    """Output tokens that were spent on reasoning."""
    return _sum(subject, lambda event: event.reasoning_tokens)


@catalogue_metric(unit="tokens", direction="lower is better", over="model calls")
def context_peak(subject: Subject) -> Reading:
    """The most input tokens that one model call was given."""
    inputs = subject.inputs
    if not inputs:
        reason = "no model call tells its input" if subject.model_calls else _NO_CALL
        return Undefined(reason, len(subject.model_calls))
    return _of_inputs(subject, max(inputs))


@catalogue_metric(unit="tokens per call", direction="lower is better", over="model calls")
def context_growth(subject: Subject) -> Reading:
    """Input tokens that each model call adds: the median slope between all pairs of calls (Theil-Sen)."""
    inputs = subject.inputs
    if len(inputs) < _GROWS_FROM:
        return Undefined(f"fewer than {_GROWS_FROM} model calls tell their input", len(subject.model_calls))
    last = len(inputs) - 1
    count = min(len(inputs), _POINTS)
    places = [index * last // (count - 1) for index in range(count)]
    slope = theil_sen_slope(places, [inputs[place] for place in places])
    return Undefined("all calls are one") if slope is None else _of_inputs(subject, slope)


@catalogue_metric(unit="USD", direction="lower is better", over="tokens, or model calls that tell none")
def cost_usd(subject: Subject) -> Told:
    """Money of all model calls; what is covered is the share of the tokens that has a price."""
    return _cost_of_rows(subject) if subject.assessment is not None else _cost_of_events(subject)


def _cost_of_rows(subject: Subject) -> Told:
    """As the contract metric has it: charges that belong to no model call are in it."""
    assessment = subject.assessment
    assert assessment is not None
    metric = assessment.metric("total_cost_usd")
    known = metric.value if isinstance(metric.value, int | float) else metric.partial
    coverage = metric.coverage
    spent = float(known or 0)
    provenance: Provenance = "computed" if metric.source == "catalogue" else metric.source
    if not coverage.of and not spent:
        return Told(reading=Undefined(_NO_CALL), provenance="unknown")
    if coverage.of and not coverage.known and not spent:
        return Told(reading=Undefined("no model call has a price", coverage.of), provenance="unknown")
    tokens, unpriced = assessment.tokens, assessment.unpriced_tokens
    if coverage.full:
        return Told(reading=amount(spent, tokens if tokens > 0 else coverage.of), provenance=provenance)
    if tokens > 0 and 0 < unpriced <= tokens:
        priced, of = tokens - unpriced, tokens
    else:
        priced, of = coverage.known, coverage.of
    return Told(
        reading=Partial(spent, priced, of, metric.reason or "not all is priced"), provenance=provenance
    )


def _cost_of_events(subject: Subject) -> Told:
    calls = subject.model_calls
    priced = [event for event in calls if event.cost is not None]
    if not priced:
        reason = "no model call has a price" if calls else _NO_CALL
        return Told(reading=Undefined(reason, len(calls)), provenance="unknown")
    listed = sum(event.cost_listed for event in priced)
    provenance: Provenance = "mixed" if 0 < listed < len(priced) else "computed" if listed else "recorded"
    spent = sum(event.cost or 0 for event in priced) / PICODOLLARS
    if len(priced) == len(calls):
        return Told(reading=amount(spent, _tokens(priced) or len(priced)), provenance=provenance)
    known, of = _tokens(priced), _tokens(calls)
    if not 0 < known < of:
        known, of = len(priced), len(calls)
    missing = f"the cost of {len(calls) - len(priced):,} of {len(calls):,} model calls is unknown"
    return Told(reading=Partial(spent, known, of, missing), provenance=provenance)


def _tokens(calls: list[Event]) -> int:
    return sum(event.tokens or 0 for event in calls)


def _sum(subject: Subject, counter: Callable[[Event], int | None]) -> Reading:
    return total(map(counter, subject.model_calls), _NO_CALL, "not recorded")


def _of_inputs(subject: Subject, value: float) -> Reading:
    known, of = len(subject.inputs), len(subject.model_calls)
    if known == of:
        return amount(value, of)
    whole = amount(value, known)
    if isinstance(whole, Undefined):
        return whole
    return Partial(whole.value, known, of, f"{of - known:,} of {of:,} model calls do not tell their input")
