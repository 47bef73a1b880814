"""A mission as it was told: what was asked, said, called, answered and decided, in order and in words.

The rows of core.trajectory are enough to count with. Who looks for loops, aligns two missions or holds
claims against deeds needs the words too: those are here, one event for each thing that happened.
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final

import msgspec

from quartermaster.core.journal import JournalEntry, Payload, read_entry
from quartermaster.core.pricing import Price
from quartermaster.core.trajectory import (
    ASSIGNMENT_CREATED,
    BUDGET_EXCEEDED,
    BUDGET_WARNING,
    COMMAND,
    COMMAND_END,
    COMMAND_START,
    COST_INCURRED,
    ESCALATION_ANSWER,
    ESCALATION_QUESTION,
    INPUT_BLOCKED,
    KEEPER_DECISION,
    MODEL_CALL,
    OUTPUT_BLOCKED,
    STATUS_CHANGE,
    Step,
    step_of,
    terms_of,
)
from quartermaster.errors import Rejected


class EventKind(IntEnum):
    """What happened."""

    MODEL_CALL = 1
    TOOL_CALL = 2
    USER_MESSAGE = 3
    AGENT_MESSAGE = 4
    DELEGATION = 5
    STATUS = 6
    DECISION = 7
    BLOCK = 8
    QUESTION = 9
    ANSWER = 10
    BUDGET = 11
    NOTE = 12
    """Anything else: `name` is the entry type."""


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One thing that happened. Instants are nanoseconds, costs picodollars, tokens as in core.trajectory.

    `step` is the index in the contract trajectory; None for what makes no step there. A tool call and its
    result are one event: `ended_id` and `ended_at` tell of its end, `succeeded` is None while no outcome
    is known, `refused` says that it was never carried out (a permission refused, a call cancelled).
    `name` is the tool, the model, the status word or the entry type. `command` is a shell's command line.
    `output` is what the tool answered (its first 2,000 characters), `text` what somebody said.
    """

    position: int
    entry_id: str
    instant: int
    kind: EventKind
    name: str
    entry_type: str
    severity: int = 0
    step: int | None = None
    agent: str | None = None
    to: str | None = None
    ended_id: str | None = None
    ended_at: int | None = None
    command: str | None = None
    arguments: Any = None
    arguments_digest: str | None = None
    succeeded: bool | None = None
    refused: bool = False
    exit_code: int | None = None
    error: str | None = None
    output: str | None = None
    output_digest: str | None = None
    text: str | None = None
    reason: str | None = None
    finish_reason: str | None = None
    provider: str | None = None
    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: int | None = None
    duration_ms: int | None = None

    @property
    def tokens_in(self) -> int | None:
        """Input including what a cache gave and took; None where no input counter was recorded."""
        if self.input_tokens is None:
            return None
        return self.input_tokens + (self.cache_read_tokens or 0) + (self.cache_write_tokens or 0)

    @property
    def failed(self) -> bool:
        return self.succeeded is False


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on a mission and who gave it; `outcome` is one of those of `mission.outcome`."""

    origin: str
    outcome: str | None
    reward: float | None = None


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """One mission in words. `outcome` is the strongest word on how it ended; None where nobody said.

    `tools` are the names of declared tools, None where the recording declares none. `timed` is False
    where the recording has only an order: instants then say nothing about durations.
    """

    mission_id: str
    events: tuple[Event, ...]
    format: str | None = None
    title: str | None = None
    goal: str | None = None
    task: str | None = None
    variant: str | None = None
    agent: str | None = None
    model: str | None = None
    tools: tuple[str, ...] | None = None
    outcome: str | None = None
    told: tuple[Told, ...] = ()
    labels: dict[str, Any] = {}
    timed: bool = True

    @property
    def final_answer(self) -> Event | None:
        """The last thing that an agent said."""
        said = (event for event in reversed(self.events) if event.kind is EventKind.AGENT_MESSAGE)
        return next(said, None)


class _Words(msgspec.Struct, gc=False):
    """The payload keys that only a transcript reads; any JSON value, because recordings hold any."""

    text: Any = None
    message: Any = None
    content: Any = None
    details: Any = None
    question: Any = None
    agent: Any = None
    speaker: Any = None
    to: Any = None
    tool: Any = None
    output: Any = None
    result: Any = None
    stdout: Any = None
    stderr: Any = None
    output_digest: Any = None
    arguments_digest: Any = None
    finish_reason: Any = None
    reasoning_tokens: Any = None
    tools: Any = None
    goal: Any = None
    title: Any = None
    refused: Any = None


class _Spoken(msgspec.Struct, gc=False):
    summary: Any = None
    agent_id: Any = None
    payload: Any = None


_decode: Final = msgspec.json.Decoder(_Spoken).decode
_NO_WORDS: Final = _Words()
_LIMIT: Final = 2_000

_KINDS: Final = {
    ASSIGNMENT_CREATED: EventKind.DELEGATION,
    COMMAND: EventKind.TOOL_CALL,
    COMMAND_START: EventKind.TOOL_CALL,
    COMMAND_END: EventKind.TOOL_CALL,
    MODEL_CALL: EventKind.MODEL_CALL,
    STATUS_CHANGE: EventKind.STATUS,
    KEEPER_DECISION: EventKind.DECISION,
    INPUT_BLOCKED: EventKind.BLOCK,
    OUTPUT_BLOCKED: EventKind.BLOCK,
    ESCALATION_QUESTION: EventKind.QUESTION,
    ESCALATION_ANSWER: EventKind.ANSWER,
    BUDGET_WARNING: EventKind.BUDGET,
    BUDGET_EXCEEDED: EventKind.BUDGET,
}
_TYPES: Final = {
    "message.user": EventKind.USER_MESSAGE,
    "message.assistant": EventKind.AGENT_MESSAGE,
    "run.sub_agent": EventKind.DELEGATION,
}
_FACTS: Final = frozenset({"mission.created", "mission.outcome", "mission.absorbed"})
_REFUSALS: Final = frozenset(
    {"permission_denied", "refused", "interrupted", "cancelled", "rejected", "denied"}
)
_SHELLS: Final = re.compile(r"\s|[|;&<>]")


def transcript_of(raws: Iterable[bytes], *, mission_id: str = "", price: Price | None = None) -> Transcript:
    """The transcript of native entries that are at hand, in any order; what cannot be read is left out."""
    entries = []
    for raw in raws:
        try:
            entry = read_entry(raw)
        except Rejected:
            continue
        entries.append((entry.instant, entry.id or "", raw, entry))
    entries.sort(key=lambda one: one[:2])
    teller = Teller(price)
    for _, _, raw, entry in entries:
        teller.add(entry, raw)
    return teller.transcript(mission_id or next((entry.mission_id or "" for *_, entry in entries), ""))


class Teller:
    """Makes events of entries that come in the order of a trajectory."""

    def __init__(self, price: Price | None = None) -> None:
        self._price = price
        self._events: list[Event] = []
        self._steps = 0
        self._open: dict[int | None, list[int]] = {}
        self._title: str | None = None
        self._goal: str | None = None
        self._facts: dict[str, Any] = {}
        self._tools: dict[str, None] | None = None
        self._told: dict[str, Told] = {}

    def add(self, entry: JournalEntry, raw: bytes) -> None:
        """The next entry; those of this program's own evaluations tell nothing of the mission."""
        if entry.entry_type.startswith("eval."):
            return
        spoken = _decode(raw)
        if entry.entry_type in _FACTS:
            self._learn(entry.entry_type, spoken.payload)
            return
        words = _words_of(spoken.payload)
        step = step_of(entry)
        if step is None:
            self._append(entry, spoken, words, Step(entry.instant, 0), _TYPES.get(entry.entry_type))
        elif step.kind == COST_INCURRED:
            return
        elif step.kind == COMMAND_END and self._open.get(step.pairing):
            self._end(self._open[step.pairing].pop(), entry, words, step)
        else:
            if step.kind == COMMAND_START:
                self._open.setdefault(step.pairing, []).append(len(self._events))
            self._append(entry, spoken, words, step, _KINDS.get(step.kind))

    def transcript(
        self, mission_id: str, *, outcome: str | None = None, timed: bool = True, **facts: Any
    ) -> Transcript:
        """What was told so far; `facts` are fields of the transcript that somebody knows better."""
        told = tuple(self._told.values())
        known: dict[str, Any] = {
            "title": self._title,
            "goal": self._goal or self._first_question() or self._title,
            "tools": None if self._tools is None else tuple(self._tools),
            **{name: self._facts.get(name) for name in ("task", "variant", "agent", "model")},
            "labels": self._facts.get("labels") or {},
        }
        return Transcript(
            mission_id=mission_id,
            events=tuple(self._events),
            outcome=outcome or _strongest(told),
            told=told,
            timed=timed,
            **(known | {name: value for name, value in facts.items() if value is not None}),
        )

    def _first_question(self) -> str | None:
        asked = (event.text for event in self._events if event.kind is EventKind.USER_MESSAGE and event.text)
        return next(asked, None)

    def _append(
        self, entry: JournalEntry, spoken: _Spoken, words: _Words, step: Step, kind: EventKind | None
    ) -> None:
        payload = entry.payload
        kind = kind or EventKind.NOTE
        event = Event(
            position=len(self._events),
            entry_id=entry.id or "",
            instant=entry.instant,
            kind=kind,
            name=_name(kind, entry.entry_type, payload, step),
            entry_type=entry.entry_type,
            severity=entry.severity,
            step=self._steps if step.kind else None,
            agent=_agent(entry, spoken, words),
            to=_text(words.to) if kind is EventKind.DELEGATION else None,
            ended_at=_ended_at(kind, step),
            command=_command_line(payload) if kind is EventKind.TOOL_CALL else None,
            arguments=payload.arguments,
            arguments_digest=_text(words.arguments_digest),
            succeeded=None if step.success is None else bool(step.success),
            refused=_refused(payload, words),
            exit_code=_exit_code(payload),
            error=_text(payload.error),
            output=_output(words) if kind is EventKind.TOOL_CALL else None,
            output_digest=_text(words.output_digest),
            text=_said(kind, spoken, words),
            reason=_text(payload.reason),
            finish_reason=_text(words.finish_reason),
            provider=_text(payload.provider),
            tokens=step.tokens,
            input_tokens=step.input_tokens,
            output_tokens=step.output_tokens,
            cache_read_tokens=step.cache_read_tokens,
            cache_write_tokens=step.cache_write_tokens,
            reasoning_tokens=words.reasoning_tokens if type(words.reasoning_tokens) is int else None,
            cost=self._cost(step),
            duration_ms=step.duration_ms,
        )
        self._events.append(event)
        self._steps += step.kind != 0

    def _end(self, index: int, entry: JournalEntry, words: _Words, step: Step) -> None:
        """The end of a command adds what only its end knows."""
        began, payload = self._events[index], entry.payload
        self._events[index] = msgspec.structs.replace(
            began,
            ended_id=entry.id or "",
            ended_at=entry.instant,
            severity=max(began.severity, entry.severity),
            succeeded=None if step.success is None else bool(step.success),
            refused=_refused(payload, words),
            exit_code=_exit_code(payload),
            error=_text(payload.error),
            output=_output(words),
            output_digest=_text(words.output_digest),
            reason=_text(payload.reason),
            duration_ms=step.duration_ms,
        )

    def _cost(self, step: Step) -> int | None:
        if step.cost is not None or step.kind != MODEL_CALL or self._price is None:
            return step.cost
        terms = step.terms or None
        if terms_of(terms).unbilled is not None:
            return 0
        return self._price(
            step.tool or "",
            fresh=step.input_tokens,
            output=step.output_tokens,
            cache_read=step.cache_read_tokens,
            cache_write=step.cache_write_tokens,
            instant=step.instant,
            cache_write_1h=step.cache_write_1h_tokens,
            terms=terms,
        )

    def _learn(self, entry_type: str, payload: Any) -> None:
        if type(payload) is not dict:
            return
        if entry_type == "mission.outcome":
            origin = _text(payload.get("origin")) or "unknown"
            reward = payload.get("reward")
            self._told[origin] = Told(
                origin=origin,
                outcome=_text(payload.get("outcome")),
                reward=float(reward) if isinstance(reward, int | float) else None,
            )
            return
        self._title = _text(payload.get("title")) or self._title
        self._goal = _text(payload.get("goal")) or self._goal
        for name in ("task", "variant", "agent", "model"):
            self._facts[name] = _text(payload.get(name)) or self._facts.get(name)
        if type(payload.get("labels")) is dict:
            self._facts["labels"] = self._facts.get("labels", {}) | payload["labels"]
        declared = payload.get("tools")
        if type(declared) is list:
            self._tools = (self._tools or {}) | {name: None for name in declared if type(name) is str}


_STRENGTH: Final = ("verifier", "harness", "human")


def _strongest(told: tuple[Told, ...]) -> str | None:
    """A verifier's word wins over a harness's, a human's, anybody else's, and last the agent's own."""

    def rank(one: Told) -> tuple[int, str]:
        if one.origin in _STRENGTH:
            return _STRENGTH.index(one.origin), one.origin
        return len(_STRENGTH) + (one.origin == "agent"), one.origin

    return next((one.outcome for one in sorted(told, key=rank) if one.outcome), None)


def _words_of(payload: Any) -> _Words:
    return msgspec.convert(payload, _Words) if type(payload) is dict else _NO_WORDS


def _text(value: Any) -> str | None:
    return value[:_LIMIT] if type(value) is str and value else None


def _name(kind: EventKind, entry_type: str, payload: Payload, step: Step) -> str:
    if kind is EventKind.TOOL_CALL:
        tool = _text(payload.tool) or _text(payload.name)
        return tool or _program(step.tool or "")
    if kind in (EventKind.MODEL_CALL, EventKind.STATUS, EventKind.DECISION):
        return step.tool or ""
    return entry_type


def _program(command: str) -> str:
    words = command.split(None, 1)
    return words[0].rstrip("/").rpartition("/")[2] if words else ""


def _command_line(payload: Payload) -> str | None:
    """What a shell was told: a command beside the name of its tool, or one that holds more than a name."""
    if type(payload.cmd) is list:
        return " ".join(part for part in payload.cmd if type(part) is str)[:_LIMIT] or None
    command = _text(payload.command)
    if command is None:
        return None
    named = (type(payload.tool) is str and payload.tool) or _SHELLS.search(command)
    return command if named else None


def _agent(entry: JournalEntry, spoken: _Spoken, words: _Words) -> str | None:
    named = _text(words.agent) or _text(words.speaker) or _text(spoken.agent_id)
    return named or (entry.actor_id if entry.actor_type == "agent" else None)


def _said(kind: EventKind, spoken: _Spoken, words: _Words) -> str | None:
    if kind in (EventKind.TOOL_CALL, EventKind.MODEL_CALL):
        return _text(words.text)
    told = (words.text, words.message, words.content, words.details, words.question, spoken.summary)
    return next((text for text in map(_text, told) if text), None)


def _output(words: _Words) -> str | None:
    told = _text(words.output) or _text(words.result)
    if told:
        return told
    streams = [text for text in (_text(words.stdout), _text(words.stderr)) if text]
    return "\n".join(streams)[:_LIMIT] or None


def _exit_code(payload: Payload) -> int | None:
    return payload.exit_code if type(payload.exit_code) is int else None


def _refused(payload: Payload, words: _Words) -> bool:
    if payload.cancelled is True or words.refused is True:
        return True
    return type(payload.reason) is str and payload.reason in _REFUSALS


def _ended_at(kind: EventKind, step: Step) -> int | None:
    if kind not in (EventKind.TOOL_CALL, EventKind.MODEL_CALL) or step.duration_ms is None:
        return None
    return step.instant + step.duration_ms * 1_000_000
