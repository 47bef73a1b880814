"""What agents say to each other again and again, to nobody, back and forth, or from the beginning."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Final

from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.loops import periodic_loops
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event, EventKind

_ALIKE: Final = 3
_WINDOW: Final = 8
_SAME_INSTRUCTION: Final = 85
_SAME_OBSERVATION: Final = 95
_SAME_WORDS: Final = 90
_COMPARED: Final = 1_500
_FEWEST_WORDS: Final = 5
_FEWEST_WORDS_OF_AN_OBSERVATION: Final = 20
"""An acknowledgement of a few words is the same after many different calls and tells of none."""
_HANDOFFS: Final = 5
_OPENING: Final = 8
_RESTARTED: Final = 5
_RESTARTED_WITH_GOAL: Final = 3
_SETTLED: Final = 10
_AROUND_A_MESSAGE: Final = frozenset({EventKind.MODEL_CALL, EventKind.NOTE, EventKind.BUDGET})

_WORD: Final = re.compile(r"\w{2,}")

Likeness = Callable[..., float]


class _Text:
    """What is compared of a text; its words are taken when they are first needed."""

    def __init__(self, position: int, text: str) -> None:
        self.position = position
        self.text = text[:_COMPARED]

    @cached_property
    def words(self) -> frozenset[str]:
        return frozenset(self.text.split())


@detector(
    id="D05",
    severity=Severity.INFO,  # six in ten are failures that people labelled; a warning takes nine
    confidence=Confidence.LIKELY,
    mast=("1.3",),
    trail=("Resource Abuse", "Task Orchestration"),
)
def near_duplicate_instruction(evidence: Evidence) -> Iterator[Sighting]:
    """An agent says, delegates or is answered nearly the same three times within eight."""
    from rapidfuzz import fuzz  # noqa: PLC0415 - what does not look for this starts without it

    for kind, word in ((EventKind.AGENT_MESSAGE, "said"), (EventKind.DELEGATION, "delegated")):
        for texts in _spoken(evidence, kind):
            for alike in _near_duplicates(texts, fuzz.token_set_ratio, _SAME_INSTRUCTION):
                yield _repetition(evidence, alike, word)
    for texts in _observed(evidence):
        for alike in _near_duplicates(texts, fuzz.ratio, _SAME_OBSERVATION):
            yield _repetition(evidence, alike, "was answered")


@detector(id="D06", severity=Severity.WARN, confidence=Confidence.LIKELY, mast=("1.5",))
def monologue(evidence: Evidence) -> Iterator[Sighting]:
    """Three messages of one agent in a row that say the same, with nobody and nothing between."""
    from rapidfuzz import fuzz  # noqa: PLC0415 - what does not look for this starts without it

    for talk in _monologues(evidence):
        run: list[int] = []
        for position in [*talk, None]:
            if position is not None and all(
                _is_alike(evidence, position, said, fuzz.ratio) for said in run[-_ALIKE + 1 :]
            ):
                run.append(position)
                continue
            if len(run) >= _ALIKE:
                yield Sighting(
                    positions=run,
                    reason=f"{len(run)} messages in a row say the same, and nothing but them happened",
                    evidence={"messages": len(run)},
                    wasted=range(run[0] + 1, run[-1] + 1),
                )
            run = [] if position is None else [position]


@detector(id="D07", severity=Severity.HIGH, mast=("1.5",), trail=("Task Orchestration",))
def ping_pong_handoff(evidence: Evidence) -> Iterator[Sighting]:
    """Two agents hand the work to each other six visits long, and no tool call is completed between."""
    if len(evidence.positions(EventKind.DELEGATION)) < _HANDOFFS:
        return
    run: list[int] = []
    for position in [*evidence.positions(EventKind.DELEGATION, EventKind.TOOL_CALL), None]:
        event = None if position is None else evidence.events[position]
        if event is not None and event.kind is EventKind.TOOL_CALL and event.succeeded is None:
            continue
        if position is not None and event is not None and run and _answers(evidence.events[run[-1]], event):
            run.append(position)
            continue
        if len(run) >= _HANDOFFS:
            first = evidence.events[run[0]]
            yield Sighting(
                positions=run,
                reason=f"{first.agent} and {first.to} handed the work to each other {len(run)} times and no "
                "tool call was completed between",
                evidence={"handoffs": len(run), "agents": [first.agent, first.to]},
                wasted=range(run[1] + 1, run[-1] + 1),
            )
        run = [position] if position is not None and event is not None and _hands_over(event) else []


@detector(id="D19", severity=Severity.WARN, confidence=Confidence.LIKELY, mast=("2.1",))
def conversation_reset(evidence: Evidence) -> Iterator[Sighting]:
    """After ten calls the mission begins anew: five of its first eight calls come again in their order,
    or three of them after its goal was stated again."""
    calls = evidence.calls
    if len(calls) <= _SETTLED:
        return
    keys = [evidence.step_keys[position] for position in calls]
    opening = keys[:_OPENING]
    if len(set(opening)) < _RESTARTED:
        return
    looping = {position for loop in evidence.once(periodic_loops) for position in loop.calls}
    restated = _restatements(evidence)
    first_two = frozenset(opening[:2])
    index = _SETTLED
    while index < len(keys):
        if keys[index] not in first_two:
            index += 1
            continue
        matched = _in_order(opening, keys[index : index + _OPENING])
        goal = next((one for one in restated if calls[index - 1] < one < calls[index]), None)
        enough = _RESTARTED if goal is None else _RESTARTED_WITH_GOAL
        if len(matched) < enough or calls[index] in looping:
            index += 1
            continue
        again = [calls[index + offset] for offset in matched]
        yield Sighting(
            positions=again if goal is None else [goal, *again],
            reason=f"the mission began anew: {len(again)} of its first {_OPENING} calls came again in order",
            evidence={"calls_again": len(again), "goal_restated": goal is not None},
            wasted=range(again[0], again[-1] + 1),
        )
        index += _OPENING


def _spoken(evidence: Evidence, kind: EventKind) -> list[list[_Text]]:
    """What each agent said, in order; words too few to mean anything are left out."""
    by_agent: dict[str | None, list[_Text]] = {}
    for position in evidence.positions(kind):
        said = evidence.texts[position]
        if _has_words(said, _FEWEST_WORDS):
            by_agent.setdefault(evidence.events[position].agent, []).append(_Text(position, said))
    return list(by_agent.values())


def _observed(evidence: Evidence) -> list[list[_Text]]:
    """What each tool answered, in order."""
    by_tool: dict[str, list[_Text]] = {}
    long_enough: dict[str, bool] = {}
    for position in evidence.calls:
        event = evidence.events[position]
        if not event.output:
            continue
        known = long_enough.get(event.output)
        if known is None:
            known = long_enough[event.output] = _has_words(event.output, _FEWEST_WORDS_OF_AN_OBSERVATION)
        if known:
            by_tool.setdefault(event.name, []).append(_Text(position, event.output))
    return list(by_tool.values())


def _has_words(text: str, least: int) -> bool:
    """Whether a text has so many words of two letters or digits and more; most tell it by their beginning."""
    if len(text) < 3 * least - 1:
        return False
    beginning = 16 * least
    if len(_WORD.findall(text, 0, beginning)) >= least:
        return True
    return len(text) > beginning and sum(1 for _ in islice(_WORD.finditer(text), least)) == least


def _near_duplicates(texts: list[_Text], likeness: Likeness, least: int) -> Iterator[list[int]]:
    """Positions of texts of which two of the seven before are alike; those that overlap are one group."""
    before: deque[_Text] = deque(maxlen=_WINDOW - 1)
    group: set[int] = set()
    for text in texts:
        alike = [one.position for one in before if _alike(one, text, likeness, least)]
        if len(alike) >= _ALIKE - 1:
            if group.isdisjoint(alike):
                if group:
                    yield sorted(group)
                group = set()
            group.update(alike, (text.position,))
        before.append(text)
    if group:
        yield sorted(group)


def _alike(one: _Text, other: _Text, likeness: Likeness, least: int) -> bool:
    """Texts that share less than half of the smaller one's words are not compared letter by letter."""
    if one.text == other.text:
        return True
    if least == _SAME_OBSERVATION and not 0.9 < len(one.text) / len(other.text) < 1.12:
        return False  # so different in length that the letters cannot be 95 % the same
    shared = len(one.words & other.words)
    if 2 * shared < min(len(one.words), len(other.words)):
        return False
    return likeness(one.text, other.text, score_cutoff=least) >= least


def _repetition(evidence: Evidence, alike: list[int], word: str) -> Sighting:
    first = evidence.events[alike[0]]
    who = first.agent or (first.name if first.kind is EventKind.TOOL_CALL else "the agent")
    return Sighting(
        positions=alike,
        reason=f"{who} {word} nearly the same {len(alike)} times",
        evidence={"times": len(alike), "kind": first.kind.name.lower()},
        wasted=alike[1:],
    )


def _monologues(evidence: Evidence) -> Iterator[list[int]]:
    """Messages of one agent in a row between which nothing but model calls and notes happened."""
    if len(evidence.positions(EventKind.AGENT_MESSAGE)) < _ALIKE:
        return
    talk: list[int] = []
    for position, event in enumerate(evidence.events):
        if event.kind in _AROUND_A_MESSAGE:
            continue
        if event.kind is EventKind.AGENT_MESSAGE and (
            not talk or evidence.events[talk[-1]].agent == event.agent
        ):
            talk.append(position)
            continue
        if len(talk) >= _ALIKE:
            yield talk
        talk = [position] if event.kind is EventKind.AGENT_MESSAGE else []
    if len(talk) >= _ALIKE:
        yield talk


def _is_alike(evidence: Evidence, one: int, other: int, likeness: Likeness) -> bool:
    said, before = evidence.texts[one][:_COMPARED], evidence.texts[other][:_COMPARED]
    return said == before or likeness(said, before, score_cutoff=_SAME_WORDS) >= _SAME_WORDS


def _hands_over(event: Event) -> bool:
    return (
        event.kind is EventKind.DELEGATION
        and bool(event.agent)
        and bool(event.to)
        and event.agent != event.to
    )


def _answers(before: Event, after: Event) -> bool:
    """Whether the work is handed back to where it came from."""
    return _hands_over(after) and (after.agent, after.to) == (before.to, before.agent)


def _restatements(evidence: Evidence) -> list[int]:
    """Where a user states the goal once more in the same words."""
    asked = evidence.positions(EventKind.USER_MESSAGE)
    if not asked or not evidence.texts[asked[0]]:
        return []
    return [position for position in asked[1:] if evidence.texts[position] == evidence.texts[asked[0]]]


def _in_order(opening: list[int], keys: list[int]) -> list[int]:
    """Indices of the keys that continue the opening, each found after the one before."""
    found, start = [], 0
    for index, key in enumerate(keys):
        if key in opening[start:]:
            start = opening.index(key, start) + 1
            found.append(index)
    return found
