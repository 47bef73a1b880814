"""Where the agent met a guard: blocks it keeps running into, questions it keeps asking, walls of websites."""

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from quartermaster.core.failure_modes.evidence import Evidence
from quartermaster.core.failure_modes.limits import FILTER_WORDS
from quartermaster.core.failure_modes.registry import Confidence, Severity, Sighting, detector
from quartermaster.core.transcript import Event, EventKind

_BLOCKS: Final = 3
_NEAR: Final = 10
_SAME_ACTION: Final = 2
_RECENT: Final = 25
_SHARE_OF_RECENT: Final = 5
"""One in this many of the recent steps blocked is too many."""
_SAME_QUESTIONS: Final = 2
_RESUMPTIONS: Final = 3
_SOON: Final = 5

_WALL: Final = re.compile(
    r"(?:verify(?:ing)?|confirm|prove) (?:that )?you(?:'re|\u2019re| are) (?:a )?(?:human|not a (?:ro)?bot)"
    r"|are you (?:a )?(?:human|robot)\b|i(?:'|\u2019)m not a robot"
    r"|(?:complete|solve|pass|enter) (?:the|a|this) (?:re|h)?captcha"
    r"|access to this (?:page|site|website|resource) (?:has been |is |was )?(?:denied|blocked)"
    r"|(?:\[|<title>|<h1>|# )access denied|(?:\[|<title>)just a moment|checking your browser before"
    r"|unusual traffic from your (?:computer|network)|you have been blocked|attention required! \| cloudflare"
    r"|automated (?:access|queries|requests) (?:is|are|has been|have been) (?:not|blocked)"
    r"|press (?:&|and|&amp;) hold|enable javascript and cookies to continue"
)
"""What a page says that shuts programs out; a page that only mentions such checks does not say it."""
_HINTS_OF_WALLS: Final = (
    "human", "robot", "not a bot", "captcha", "denied", "blocked", "just a moment", "checking your browser",
    "unusual traffic", "attention required", "automated ", " hold", "cookies to continue",
)  # fmt: skip
"""One of these stands in every text that the pattern finds; most texts hold none."""
_AT_ONCE: Final = 100
"""Texts that are looked through together for such hints."""
_DENIALS: Final = frozenset({"deny", "denied", "reject", "rejected", "block", "blocked", "refused", "refuse"})


@detector(id="D11", severity=Severity.HIGH, agentrx=("Guardrails Triggered",))
def guardrail_run(evidence: Evidence) -> Iterator[Sighting]:
    """Blocks in a cluster: three within ten steps, two of one action, or a fifth of the last 25 steps."""
    blocks = _blocks(evidence)
    if len(blocks) < _SAME_ACTION:
        return
    order = {position: index for index, position in enumerate(_things_done(evidence))}
    places = [order[position] for position in blocks]
    crowded = _crowded(blocks, places, _BLOCKS, _NEAR) | _crowded(
        blocks, places, _RECENT // _SHARE_OF_RECENT, _RECENT
    )
    if crowded:
        yield _blocked(evidence, sorted(crowded), f"{len(crowded)} blocks came close together")
    by_action: dict[Hashable, list[int]] = {}
    for position in blocks:
        action = _action(evidence, position)
        if action is not None:
            by_action.setdefault(action, []).append(position)
    for tries in by_action.values():
        if len(tries) >= _SAME_ACTION and not crowded.issuperset(tries):
            yield _blocked(evidence, tries, f"the same action was blocked {len(tries)} times and tried again")


@detector(id="D12", severity=Severity.HIGH, mast=("2.2",))
def repeated_escalation(evidence: Evidence) -> Iterator[Sighting]:
    """The same question is put again with no answer between, or three times the agent asks, goes on and
    asks again within five steps."""
    asked = evidence.positions(EventKind.QUESTION)
    open_questions: dict[str, list[int]] = {}
    for position in evidence.positions(EventKind.QUESTION, EventKind.ANSWER, EventKind.USER_MESSAGE):
        event = evidence.events[position]
        if event.kind is EventKind.QUESTION:
            words = evidence.keys.mask(event.reason or event.text or "").casefold()
            open_questions.setdefault(words, []).append(position)
            continue
        yield from _unanswered(open_questions)
        open_questions = {}
    yield from _unanswered(open_questions)
    if len(asked) <= _RESUMPTIONS:
        return
    order = {position: index for index, position in enumerate(evidence.steps)}
    for run in _resumed(asked, order):
        yield Sighting(
            positions=run,
            reason=f"the agent asked, went on and asked again {len(run) - 1} times within {_SOON} steps",
            evidence={"questions": len(run)},
            wasted=range(run[0] + 1, run[-1] + 1),
        )


@detector(
    id="D25",
    severity=Severity.INFO,
    confidence=Confidence.LIKELY,
    agentrx=("Guardrails Triggered",),
)
def access_wall(evidence: Evidence) -> Iterator[Sighting]:
    """A page that asks to prove that one is human, or shuts out programs, in what the agent was shown."""
    shown = _shown(evidence)
    walls = []
    for begin in range(0, len(shown), _AT_ONCE):
        some = shown[begin : begin + _AT_ONCE]
        said = "\0".join([_said_to_agent(evidence.events[position]) or "" for position in some]).lower()
        if any(hint in said for hint in _HINTS_OF_WALLS):
            walls += [position for position in some if _shows_wall(evidence.events[position])]
    if walls:
        yield Sighting(
            positions=walls,
            reason=f"a website shut the agent out {len(walls)} times (bot check or access denied)",
            evidence={"times": len(walls)},
        )


def _blocks(evidence: Evidence) -> list[int]:
    """Most calls are no block at the first glance."""
    events = evidence.events
    refused = [position for position in evidence.calls if events[position].refused]
    told = [
        position
        for position in evidence.positions(EventKind.MODEL_CALL)
        if events[position].error or events[position].finish_reason
    ]
    other = evidence.positions(EventKind.BLOCK, EventKind.DECISION)
    return sorted(position for position in (*refused, *told, *other) if is_block(events[position]))


def _resumed(asked: list[int], order: dict[int, int]) -> Iterator[list[int]]:
    """Runs of questions with something done between each and the next, and that soon."""
    run: list[int] = []
    for position in asked:
        if run and not 1 < order[position] - order[run[-1]] <= _SOON:
            if len(run) > _RESUMPTIONS:
                yield run
            run = []
        run.append(position)
    if len(run) > _RESUMPTIONS:
        yield run


def is_block(event: Event) -> bool:
    """Whether a guard stopped something: a guardrail, a decision, a permission, a content filter."""
    if event.kind is EventKind.BLOCK or (event.kind is EventKind.TOOL_CALL and event.refused):
        return True
    if event.kind is EventKind.DECISION:
        return event.failed or event.name.lower() in _DENIALS
    if event.kind is EventKind.MODEL_CALL:
        filtered = (event.finish_reason or "").lower() == "content_filter"
        return filtered or bool(event.error and FILTER_WORDS.search(event.error))
    return False


def _things_done(evidence: Evidence) -> list[int]:
    return [
        position
        for position, event in enumerate(evidence.events)
        if event.step is not None or event.kind is EventKind.AGENT_MESSAGE or is_block(event)
    ]


def _crowded(blocks: Sequence[int], places: Sequence[int], least: int, within: int) -> set[int]:
    """Blocks of which at least so many lie within so many things that were done."""
    found: set[int] = set()
    for index in range(least - 1, len(blocks)):
        if places[index] - places[index - least + 1] < within:
            found.update(blocks[index - least + 1 : index + 1])
    return found


def _action(evidence: Evidence, position: int) -> Hashable | None:
    """What was blocked, as a key; None where the recording does not say what it was."""
    event = evidence.events[position]
    if event.kind is EventKind.TOOL_CALL:
        return evidence.step_keys[position]
    said = evidence.texts[position] or event.reason
    return (event.kind, event.name, event.agent, said) if said and said != event.entry_type else None


def _blocked(evidence: Evidence, positions: list[int], what: str) -> Sighting:
    first = evidence.events[positions[0]]
    return Sighting(
        positions=positions,
        reason=f"{what}, first {first.name or first.entry_type}",
        evidence={"blocks": len(positions)},
        wasted=range(positions[0] + 1, positions[-1] + 1),
    )


def _unanswered(questions: dict[str, list[int]]) -> Iterator[Sighting]:
    for words, positions in questions.items():
        if words and len(positions) >= _SAME_QUESTIONS:
            yield Sighting(
                positions=positions,
                reason=f"the same question was asked {len(positions)} times and nobody had answered",
                evidence={"questions": len(positions)},
                wasted=range(positions[0] + 1, positions[-1] + 1),
            )


def _shown(evidence: Evidence) -> list[int]:
    """Where the agent was shown something: answers of tools, and what an agent reports that was sent."""
    sent = {evidence.events[position].to for position in evidence.positions(EventKind.DELEGATION)}
    return [
        position
        for position in evidence.positions(EventKind.TOOL_CALL, EventKind.AGENT_MESSAGE)
        if evidence.events[position].kind is EventKind.TOOL_CALL or evidence.events[position].agent in sent
    ]


def _said_to_agent(event: Event) -> str | None:
    return event.output if event.kind is EventKind.TOOL_CALL else event.text


def _shows_wall(event: Event) -> bool:
    shown = (_said_to_agent(event) or "").lower()
    return any(hint in shown for hint in _HINTS_OF_WALLS) and _WALL.search(shown) is not None
