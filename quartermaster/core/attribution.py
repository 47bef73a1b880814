"""Where a difference between two missions comes from: every change of a total, split over their alignment.

All amounts are whole numbers (picodollars, tokens, steps, nanoseconds), so that the parts of a split add up
to the total exactly.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import msgspec

from quartermaster.core.alignment import Alignment, Block, Span
from quartermaster.core.comparison import dollars
from quartermaster.core.trajectory import PICODOLLARS
from quartermaster.core.transcript import Event, EventKind, Transcript

Quantity = Literal["cost", "tokens", "work steps", "tool errors", "duration"]

_NANOSECONDS: Final = 10**9
_SHOWN_PARTS: Final = 3
_WORK: Final = frozenset({EventKind.MODEL_CALL, EventKind.TOOL_CALL})


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for a part of a change, in words, with the steps on both sides that it speaks of."""

    amount: int
    cause: str
    baseline: Span
    candidate: Span


class Known(msgspec.Struct, frozen=True):
    """Of how many model calls a quantity is known, on both sides."""

    baseline: int
    baseline_of: int
    candidate: int
    candidate_of: int

    @property
    def full(self) -> bool:
        return self.baseline == self.baseline_of and self.candidate == self.candidate_of


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a total and where it comes from.

    `blocks` holds one amount for each block of the alignment and adds up to `total`; so do the `parts`,
    the most important first. The totals are sums over what is known: where `known` is not full, `total`
    says nothing of the rest, and the sentence says so. None are the totals of which nothing is known.
    """

    quantity: Quantity
    unit: str
    baseline: int | None
    candidate: int | None
    total: int
    blocks: tuple[int, ...]
    parts: tuple[Part, ...]
    known: Known
    sentence: str


class _Measure(NamedTuple):
    """Amounts of one quantity: of a step None where it has none or it is not known."""

    quantity: Quantity
    unit: str
    amounts: Callable[[Transcript], list[int | None]]
    expected: Callable[[Event], bool]
    show: Callable[[int], str]


class _Side(NamedTuple):
    """The steps of one mission, each with its amount."""

    events: Sequence[Event]
    amounts: Sequence[int | None]

    def sum(self, span: Span) -> int:
        return sum(amount or 0 for amount in self.amounts[span.start : span.end])

    def told(self) -> int | None:
        """The sum of what is known; None where nothing is."""
        known = [amount for amount in self.amounts if amount is not None]
        return sum(known) if known else None

    def known(self, expected: Callable[[Event], bool]) -> tuple[int, int]:
        pairs = zip(self.events, self.amounts, strict=True)
        wanted = [amount for event, amount in pairs if expected(event)]
        return len(wanted) - wanted.count(None), len(wanted)


def attribute(baseline: Transcript, candidate: Transcript, alignment: Alignment) -> tuple[Attribution, ...]:
    """Every quantity, in the order of the register; durations only where both recordings have times."""
    timed = baseline.timed and candidate.timed
    return tuple(
        _attribution(measure, baseline, candidate, alignment)
        for measure in _MEASURES
        if timed or measure.quantity != "duration"
    )


def _attribution(
    measure: _Measure, baseline: Transcript, candidate: Transcript, alignment: Alignment
) -> Attribution:
    before = _Side(baseline.events, measure.amounts(baseline))
    after = _Side(candidate.events, measure.amounts(candidate))
    known = Known(*before.known(measure.expected), *after.known(measure.expected))
    blocks = tuple(after.sum(block.candidate) - before.sum(block.baseline) for block in alignment.blocks)
    parts = tuple(_parts(measure, alignment, before, after))
    total = sum(blocks)
    return Attribution(
        quantity=measure.quantity,
        unit=measure.unit,
        baseline=before.told() if known.baseline_of else before.told() or 0,
        candidate=after.told() if known.candidate_of else after.told() or 0,
        total=total,
        blocks=blocks,
        parts=parts,
        known=known,
        sentence=_sentence(measure, total, parts, known),
    )


def _parts(measure: _Measure, alignment: Alignment, before: _Side, after: _Side) -> list[Part]:
    """Steps without a partner by their block, steps with one by what makes them differ."""
    causes: dict[str, list[tuple[int, int, int]]] = {}
    parts: list[Part] = []
    for block in alignment.blocks:
        if not block.paired:
            amount = after.sum(block.candidate) - before.sum(block.baseline)
            if amount:
                parts.append(_block_part(block, amount))
            continue
        for i, j in block.pairs():
            told_before, told_after = before.amounts[i], after.amounts[j]
            amount = (told_after or 0) - (told_before or 0)
            if amount:
                cause = _cause(measure.quantity, before.events[i], after.events[j], told_before, told_after)
                causes.setdefault(cause, []).append((amount, i, j))
    for cause, pairs in causes.items():
        parts += _paired_parts(cause, pairs)
    return sorted(parts, key=lambda part: (-abs(part.amount), part.candidate.start, part.baseline.start))


def _block_part(block: Block, amount: int) -> Part:
    return Part(
        amount=amount, cause=block_in_words(block), baseline=block.baseline, candidate=block.candidate
    )


def _paired_parts(cause: str, pairs: Sequence[tuple[int, int, int]]) -> Iterator[Part]:
    """One part for a cause; a step that alone makes more than half of it stands by itself."""
    total = sum(abs(amount) for amount, _, _ in pairs)
    leading = [pair for pair in pairs if len(pairs) > 1 and 2 * abs(pair[0]) > total]
    for group in (leading, [pair for pair in pairs if pair not in leading]):
        if not group:
            continue
        first, last = group[0], group[-1]
        spans = Span(first[1], last[1] + 1), Span(first[2], last[2] + 1)
        number = "" if len(group) == 1 else f"{number_in_words(len(group))} "
        yield Part(
            amount=sum(amount for amount, _, _ in group),
            cause=f"{cause} at {number}{_steps(spans[1])}",
            baseline=spans[0],
            candidate=spans[1],
        )


def _cause(
    quantity: Quantity, before: Event, after: Event, amount_before: int | None, amount_after: int | None
) -> str:
    if amount_before is None or amount_after is None:
        return f"calls whose {quantity} only the {'candidate' if amount_before is None else 'baseline'} tells"
    if quantity == "duration":
        return "slower steps" if amount_after > amount_before else "faster steps"
    if quantity == "tool errors":
        return "a failure instead of a success" if after.failed else "a success instead of a failure"
    if before.name != after.name:
        return f"{after.name} instead of {before.name}"
    if quantity == "cost" and _counters(before) == _counters(after):
        return "another price of the same tokens"
    return _longer(before, after, grew=amount_after > amount_before)


def _counters(event: Event) -> tuple[int | None, ...]:
    return (
        event.tokens,
        event.input_tokens,
        event.output_tokens,
        event.cache_read_tokens,
        event.cache_write_tokens,
    )


def _longer(before: Event, after: Event, *, grew: bool) -> str:
    """What grew or shrank most in the direction of the change: the prompt or the answer."""
    sign, word = (1, "longer") if grew else (-1, "shorter")
    prompt = sign * ((after.tokens_in or 0) - (before.tokens_in or 0))
    answer = sign * ((after.output_tokens or 0) - (before.output_tokens or 0))
    if max(prompt, answer) > 0:
        return f"a {word} prompt" if prompt >= answer else f"a {word} answer"
    return "another use of the cache" if prompt == answer == 0 else "other counters of tokens"


_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def number_in_words(count: int) -> str:
    """Small numbers as words, others as figures."""
    return _NUMBERS[count] if count < len(_NUMBERS) else f"{count:,}"


def count_in_words(count: int, noun: str) -> str:
    """`nine steps`, `1,204 steps`."""
    return f"{number_in_words(count)} {noun}" if count == 1 else f"{number_in_words(count)} {noun}s"


def block_in_words(block: Block) -> str:
    """`nine inserted steps 14-22`; a stretch that was replaced by the lengths of both sides."""
    match block.kind:
        case "replaced":
            steps = count_in_words(len(block.baseline), "step")
            return f"{steps} {positions(block.baseline)} replaced by {len(block.candidate):,}"
        case "deleted":
            return _came_or_went(block, block.baseline, " of the baseline")
        case _:
            return _came_or_went(block, block.candidate, "")


def _came_or_went(block: Block, span: Span, of: str) -> str:
    if block.repeats and block.repeats > 1:
        return f"a loop of {block.repeats:,} rounds {block.kind} at {_steps(span)}{of}"
    return f"{number_in_words(len(span))} {block.kind} {_steps(span)}{of}"


def _steps(span: Span) -> str:
    return f"{'step' if len(span) == 1 else 'steps'} {positions(span)}"


def positions(span: Span) -> str:
    """`14-22`, or `14` alone."""
    return str(span.start) if len(span) == 1 else f"{span.start}-{span.end - 1}"


def _sentence(measure: _Measure, total: int, parts: Sequence[Part], known: Known) -> str:
    told = f"{measure.quantity} {_signed(measure, total)}"
    if parts:
        told += ": " + ", ".join(f"{_signed(measure, p.amount)} from {p.cause}" for p in parts[:_SHOWN_PARTS])
        rest = parts[_SHOWN_PARTS:]
        if rest:
            amount = sum(part.amount for part in rest)
            told += f", {_signed(measure, amount)} from {count_in_words(len(rest), 'other cause')}"
    return told if known.full else f"{told}; {_unknown(measure.quantity, known)}"


def _unknown(quantity: Quantity, known: Known) -> str:
    return (
        f"{quantity} is known of {known.baseline:,} of {known.baseline_of:,} model calls of the baseline and"
        f" {known.candidate:,} of {known.candidate_of:,} of the candidate, and nothing is said of the others"
    )


def _signed(measure: _Measure, amount: int) -> str:
    return ("-" if amount < 0 else "+") + measure.show(abs(amount)) if amount else "±0"


def _dollars(picodollars: int) -> str:
    return dollars(picodollars / PICODOLLARS)


def _seconds(nanoseconds: int) -> str:
    seconds = nanoseconds / _NANOSECONDS
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _plain(amount: int) -> str:
    return f"{amount:,}"


def _of_events(read: Callable[[Event], int | None]) -> Callable[[Transcript], list[int | None]]:
    return lambda transcript: [read(event) for event in transcript.events]


def _durations(transcript: Transcript) -> list[int | None]:
    """From each step to the next: together the time from the first to the last."""
    instants = [event.instant for event in transcript.events]
    if not transcript.timed or not instants:
        return [None] * len(instants)
    return [*(later - earlier for earlier, later in pairwise(instants)), 0]


def _is_model_call(event: Event) -> bool:
    return event.kind is EventKind.MODEL_CALL


def _is_always_known(event: Event) -> bool:
    return False


_MEASURES: Final = (
    _Measure("cost", "picodollars", _of_events(lambda event: event.cost), _is_model_call, _dollars),
    _Measure("tokens", "tokens", _of_events(lambda event: event.tokens), _is_model_call, _plain),
    _Measure(
        "work steps",
        "steps",
        _of_events(lambda event: int(event.kind in _WORK)),
        _is_always_known,
        _plain,
    ),
    _Measure(
        "tool errors",
        "errors",
        _of_events(lambda event: int(event.failed and event.kind is EventKind.TOOL_CALL)),
        _is_always_known,
        _plain,
    ),
    _Measure("duration", "nanoseconds", _durations, _is_always_known, _seconds),
)
