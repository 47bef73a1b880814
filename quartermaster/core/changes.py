"""What a pair shows, in words: what kind of change it is, where, and how much of it.

Rules over an alignment alone, so that the same change is called the same whatever recorded it. What is
equal step by step, outcome by outcome and answer by answer is the same recording: nothing is said of it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

import msgspec

from quartermaster.core.alignment import Alignment, Block, Place, align
from quartermaster.core.attribution import count_in_words, number_in_words
from quartermaster.core.step_keys import StepKeys
from quartermaster.core.transcript import Event, EventKind, Transcript

Kind = Literal[
    "continuation",
    "results failed",
    "results recovered",
    "refusal",
    "retry loop",
    "tool dropped",
    "tool added",
    "model",
    "arguments",
    "final answer",
    "steps inserted",
    "steps deleted",
    "steps replaced",
    "messages",
    "answers",
]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of change: its sentence, how many steps it touches, and where it is seen first."""

    kind: Kind
    sentence: str
    count: int
    first: Place


REFUSALS: Final = (
    r"\b(?:can(?:no|')t|can ?not|will not|won't|unable to|not able to|am not (?:able|allowed|permitted) to"
    r"|must decline to|have to decline|decline to|refuse to|not comfortable)\b[^.!?\n]{0,60}?"
    r"\b(?:help|assist|do (?:that|this|so|it)|comply|continue|proceed|complete|fulfil+|perform|provide"
    r"|carry (?:this|that|it) out|support|answer|with (?:this|that) request)\b",
    r"\b(?:i'm|i am|we're|we are) (?:very |so |really )?sorry,? (?:but|i|we)\b[^.!?\n]{0,40}"
    r"\b(?:cannot|can't|can not|not|unable)\b",
    r"\bagainst (?:my|our|the) (?:guidelines|policy|policies|rules)\b",
    r"\bi (?:must|have to) (?:refuse|decline)\b",
)
"""How an answer says that nothing will be done."""

_REFUSES: Final = re.compile("|".join(REFUSALS), re.IGNORECASE)
_REFUSAL_LENGTH: Final = 600
"""An answer that only refuses is short; a long one may speak of refusals."""

_TOOLS_NAMED: Final = 3
_AFTERTHOUGHTS: Final = frozenset({EventKind.STATUS, EventKind.NOTE, EventKind.BUDGET})
"""What stands at the end of a recording because it ended there."""


def changes_of(
    baseline: Transcript, candidate: Transcript, alignment: Alignment | None = None
) -> tuple[Change, ...]:
    """Everything that a pair shows, the most telling first; nothing for the same recording."""
    aligned = alignment or align(baseline.events, candidate.events)
    pair = _Pair(baseline, candidate, aligned)
    continued = _continuation(pair)
    if continued is not None:
        return (continued,)
    return tuple(change for rule in _RULES for change in rule(pair))


def refuses(text: str | None) -> bool:
    """Whether an answer declines to do what was asked."""
    return (
        text is not None
        and len(text) <= _REFUSAL_LENGTH
        and bool(_REFUSES.search(text.replace("\u2019", "'")))
    )


class _Pair:
    """Two missions side by side, as the rules look at them."""

    def __init__(self, baseline: Transcript, candidate: Transcript, alignment: Alignment) -> None:
        self.baseline = baseline
        self.candidate = candidate
        self.alignment = alignment
        self.used_before = frozenset(_used(baseline.events))
        self.used_now = frozenset(_used(candidate.events))
        self.changed = [
            pair for block in alignment.blocks if block.kind == "changed" for pair in block.pairs()
        ]

    def events(self, pair: tuple[int, int]) -> tuple[Event, Event]:
        return self.baseline.events[pair[0]], self.candidate.events[pair[1]]

    def calls(self) -> list[tuple[int, int]]:
        """Tool calls that stand side by side."""
        return [pair for pair in self.alignment.pairs() if self.events(pair)[0].kind is EventKind.TOOL_CALL]

    def blocks(self, kind: str) -> list[Block]:
        return [block for block in self.alignment.blocks if block.kind == kind]


_Rule = Callable[[_Pair], Iterator[Change]]


def _continuation(pair: _Pair) -> Change | None:
    """The candidate is what the baseline was, and more; how a recording ends may stand before or after it.
    One that only does its last call again and again is a loop."""
    events = pair.baseline.events
    whole = len(events)
    while whole and events[whole - 1].kind in _AFTERTHOUGHTS:
        whole -= 1
    added = len(pair.candidate.events) - len(events)
    first = pair.alignment.first_divergence
    if not whole or added <= 0 or first is None or first.baseline < whole:
        return None
    if all(_looped_tools(pair, block) for block in pair.blocks("inserted")):
        return None
    sentence = f"a continuation of the same session: {count_in_words(added, 'more step')}"
    return Change(kind="continuation", sentence=sentence, count=added, first=first)


def _flipped(pair: _Pair) -> Iterator[Change]:
    kinds: tuple[tuple[bool, Kind], ...] = ((True, "results failed"), (False, "results recovered"))
    for failed, kind in kinds:
        flips = [flip for flip in pair.alignment.flips if flip.failed is failed]
        if flips:
            verb = "turned into failures" if failed else "that failed succeed now"
            one = "turned into a failure" if failed else "that failed succeeds now"
            said = f"{count_in_words(len(flips), 'tool result')} {one if len(flips) == 1 else verb}"
            place = Place(flips[0].baseline, flips[0].candidate)
            yield Change(kind=kind, sentence=said, count=len(flips), first=place)


def _answer(pair: _Pair) -> Iterator[Change]:
    before, after = pair.baseline.final_answer, pair.candidate.final_answer
    if before is None or after is None or not _differ(before.text, after.text):
        return
    first = Place(before.position, after.position)
    if refuses(after.text) and not refuses(before.text):
        yield Change(kind="refusal", sentence="the final answer became a refusal", count=1, first=first)
    else:
        yield Change(kind="final answer", sentence="the final answer is another one", count=1, first=first)


def _differ(before: str | None, after: str | None) -> bool:
    keys = StepKeys()
    return keys.mask(before or "") != keys.mask(after or "")


def _loops(pair: _Pair) -> Iterator[Change]:
    for block in pair.blocks("inserted"):
        tools = _looped_tools(pair, block)
        if tools:
            yield Change(
                kind="retry loop",
                sentence=f"a retry loop of {', '.join(tools)} was inserted (x{block.repeats})",
                count=len(block.candidate),
                first=Place(block.baseline.start, block.candidate.start),
            )


def _looped_tools(pair: _Pair, block: Block) -> list[str]:
    """The tools of a loop that came in; a loop without any is no retry."""
    if block.kind != "inserted" or block.repeats is None:
        return []
    steps = pair.candidate.events[block.candidate.start : block.candidate.start + (block.period or 0)]
    return list(dict.fromkeys(step.name for step in steps if step.kind is EventKind.TOOL_CALL))


def _tools(pair: _Pair) -> Iterator[Change]:
    before, after = _used(pair.baseline.events), _used(pair.candidate.events)
    yield from _tools_of("tool dropped", before, after, pair.baseline.events, "is no longer used", pair)
    yield from _tools_of("tool added", after, before, pair.candidate.events, "is used now", pair)


def _used(events: Sequence[Event]) -> Counter[str]:
    return Counter(event.name for event in events if event.kind is EventKind.TOOL_CALL)


def _tools_of(  # noqa: PLR0917 - the two sides of one question
    kind: Literal["tool dropped", "tool added"],
    here: Counter[str],
    there: Counter[str],
    events: Sequence[Event],
    verb: str,
    pair: _Pair,
) -> Iterator[Change]:
    for tool in (name for name in here if name not in there):
        at = next(e.position for e in events if e.kind is EventKind.TOOL_CALL and e.name == tool)
        calls = count_in_words(here[tool], "call")
        yield Change(
            kind=kind,
            sentence=f"tool {tool} {verb} ({calls})",
            count=here[tool],
            first=_place(pair.alignment, at, of_baseline=kind == "tool dropped"),
        )


def _place(alignment: Alignment, position: int, *, of_baseline: bool) -> Place:
    """Where a step of one side stands on both."""
    for block in alignment.blocks:
        mine = block.baseline if of_baseline else block.candidate
        if mine.start <= position < mine.end:
            its = block.candidate if of_baseline else block.baseline
            other = min(its.start + position - mine.start, its.end) if len(its) else its.start
            return Place(position, other) if of_baseline else Place(other, position)
    raise ValueError("the alignment does not cover the step")


def _models(pair: _Pair) -> Iterator[Change]:
    """Calls of another model; dearer where both costs are known and the same tokens cost more."""
    calls: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for one in pair.changed:
        before, after = pair.events(one)
        if before.kind is EventKind.MODEL_CALL and before.name != after.name:
            calls.setdefault((before.name, after.name), []).append(one)
    for (old, new), places in calls.items():
        sides = [pair.events(one) for one in places]
        yield Change(
            kind="model",
            sentence=f"{_dearness(sides)} model ({old or 'unnamed'} -> {new or 'unnamed'})"
            f" in {count_in_words(len(sides), 'call')}",
            count=len(sides),
            first=Place(*places[0]),
        )


def _dearness(sides: Sequence[tuple[Event, Event]]) -> str:
    """By the price of a token over the calls whose cost and tokens are known on both sides."""
    known = [
        (before.cost, before.tokens, after.cost, after.tokens)
        for before, after in sides
        if before.cost is not None and after.cost is not None and before.tokens and after.tokens
    ]
    if not known:
        return "another"
    old_cost, old_tokens, new_cost, new_tokens = map(sum, zip(*known, strict=True))
    old, new = old_cost * new_tokens, new_cost * old_tokens
    if old == new:
        return "another"
    return "a dearer" if new > old else "a cheaper"


def _arguments(pair: _Pair) -> Iterator[Change]:
    calls = pair.calls()
    changed = [one for one in pair.changed if pair.events(one)[0].kind is EventKind.TOOL_CALL]
    if not changed:
        return
    yield Change(
        kind="arguments",
        sentence=_whose_arguments(pair, calls, changed),
        count=len(changed),
        first=Place(*changed[0]),
    )


def _whose_arguments(pair: _Pair, calls: list[tuple[int, int]], changed: list[tuple[int, int]]) -> str:
    if len(changed) == len(calls) > 1:
        return f"the arguments of every tool call changed ({number_in_words(len(changed))})"
    shells = [one for one in calls if pair.events(one)[0].command is not None]
    if len(shells) > 1 and set(changed) == set(shells):
        return f"every shell command's arguments changed ({number_in_words(len(changed))})"
    tools = list(dict.fromkeys(pair.events(one)[0].name for one in changed))
    of_tools = [one for one in calls if pair.events(one)[0].name in tools]
    named = ", ".join(tools[:_TOOLS_NAMED]) + (", ..." if len(tools) > _TOOLS_NAMED else "")
    if len(changed) == len(of_tools) > 1:
        return f"the arguments of every call of {named} changed ({number_in_words(len(changed))})"
    return f"the arguments of {count_in_words(len(changed), 'call')} of {named} changed"


def _came_and_went(pair: _Pair) -> Iterator[Change]:
    inserted = [block for block in pair.blocks("inserted") if not _is_explained(pair, block)]
    yield from _stretches(inserted, "steps inserted", "came in")
    deleted = [block for block in pair.blocks("deleted") if not _is_explained(pair, block)]
    yield from _stretches(deleted, "steps deleted", "went")
    replaced = pair.blocks("replaced")
    if replaced:
        old, new = (
            sum(len(block.baseline) for block in replaced),
            sum(len(block.candidate) for block in replaced),
        )
        yield Change(
            kind="steps replaced",
            sentence=f"{count_in_words(old, 'step')} replaced by {number_in_words(new)}",
            count=max(old, new),
            first=Place(replaced[0].baseline.start, replaced[0].candidate.start),
        )


def _is_explained(pair: _Pair, block: Block) -> bool:
    """A loop, or calls of nothing but tools that the other side does not use, is told of already."""
    if _looped_tools(pair, block):
        return True
    inserted = block.kind == "inserted"
    mission, span = (pair.candidate, block.candidate) if inserted else (pair.baseline, block.baseline)
    others = pair.used_before if inserted else pair.used_now
    steps = mission.events[span.start : span.end]
    return all(step.kind is EventKind.TOOL_CALL and step.name not in others for step in steps)


def _stretches(
    blocks: Sequence[Block], kind: Literal["steps inserted", "steps deleted"], verb: str
) -> Iterator[Change]:
    count = sum(len(block.baseline) + len(block.candidate) for block in blocks)
    if count:
        where = "" if len(blocks) == 1 else f" at {len(blocks):,} places"
        said = f"{count_in_words(count, 'step')} {verb}{where}"
        place = Place(blocks[0].baseline.start, blocks[0].candidate.start)
        yield Change(kind=kind, sentence=said, count=count, first=place)


def _messages(pair: _Pair) -> Iterator[Change]:
    """Messages told otherwise, without the final answer, which has a rule of its own."""
    final = (pair.baseline.final_answer, pair.candidate.final_answer)
    kinds = (EventKind.USER_MESSAGE, EventKind.AGENT_MESSAGE)
    told = [one for one in pair.changed if pair.events(one)[0].kind in kinds and pair.events(one) != final]
    if told:
        said = f"{count_in_words(len(told), 'message')} {'is' if len(told) == 1 else 'are'} worded otherwise"
        yield Change(kind="messages", sentence=said, count=len(told), first=Place(*told[0]))


def _answers(pair: _Pair) -> Iterator[Change]:
    """Calls with the same arguments and the same success that were answered otherwise."""
    keys = StepKeys()
    flipped = {(flip.baseline, flip.candidate) for flip in pair.alignment.flips}
    changed = set(pair.changed)
    told = [
        one
        for one in pair.calls()
        if one not in flipped
        and one not in changed
        and keys.outcome(pair.events(one)[0]) != keys.outcome(pair.events(one)[1])
    ]
    if told:
        said = f"{count_in_words(len(told), 'call')} with the same arguments got another answer"
        yield Change(kind="answers", sentence=said, count=len(told), first=Place(*told[0]))


_RULES: Final[tuple[_Rule, ...]] = (
    _flipped,
    _loops,
    _tools,
    _models,
    _arguments,
    _answer,
    _came_and_went,
    _messages,
    _answers,
)
