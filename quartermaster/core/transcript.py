"""A mission as it was told: what was asked, said, called, answered and decided, in order and in words.

The rows of core.trajectory are enough to count with. Who looks for loops, aligns two missions or holds
claims against deeds needs the words too: those are here, one event for each thing that happened.
"""

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Any, Final

import msgspec

from quartermaster.core.journal import SEVERITIES, JournalEntry, Payload, parse_instant, read_entry
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

BUDGETS: Final = ("cost_usd", "steps", "seconds")
"""What a recording may set a limit to."""


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
    `output` is what the tool answered (its first 2,000 characters), `text` what somebody said. A cost that
    follows from a price list is `cost_listed`. `span` and `parent` name a step and its cause in a trace.
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
    cost_listed: bool = False
    duration_ms: int | None = None
    span: str | None = None
    parent: str | None = None

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
    where the recording has only an order: instants then say nothing about durations. `tool_schemas` are the
    JSON schemas of their arguments, `agent_tools` the tools that each agent may use, `required_tools` those
    that must have run, `budgets` what the mission may use up (`cost_usd`, `steps`, `seconds`): all of it as
    the recording declares it.
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
    tool_schemas: dict[str, Any] = {}
    agent_tools: dict[str, tuple[str, ...]] = {}
    required_tools: tuple[str, ...] = ()
    budgets: dict[str, float] = {}
    outcome: str | None = None
    told: tuple[Told, ...] = ()
    labels: dict[str, Any] = {}
    timed: bool = True

    @property
    def final_answer(self) -> Event | None:
        """The last thing that an agent said."""
        said = (event for event in reversed(self.events) if event.kind is EventKind.AGENT_MESSAGE)
        return next(said, None)


class _Words(Payload, gc=False):
    """The payload keys of a step, and those that only a transcript reads."""

    text: Any = None
    message: Any = None
    content: Any = None
    details: Any = None
    question: Any = None
    agent: Any = None
    speaker: Any = None
    output: Any = None
    result: Any = None
    stdout: Any = None
    stderr: Any = None
    output_digest: Any = None
    arguments_digest: Any = None
    finish_reason: Any = None
    reasoning_tokens: Any = None
    refused: Any = None
    title: Any = None
    goal: Any = None
    task: Any = None
    variant: Any = None
    labels: Any = None
    tools: Any = None
    tool_schemas: Any = None
    agent_tools: Any = None
    required_tools: Any = None
    budgets: Any = None
    outcome: Any = None
    reward: Any = None
    origin: Any = None
    span_id: Any = None
    parent_span_id: Any = None


class _Line(msgspec.Struct, gc=False):
    """An entry as it is told here; any JSON value everywhere, because recordings hold any."""

    entry_type: Any = None
    ts: Any = None
    id: Any = None
    mission_id: Any = None
    severity: Any = None
    actor_type: Any = None
    actor_id: Any = None
    agent_id: Any = None
    trace_id: Any = None
    summary: Any = None
    payload: _Words | None = None


class _OddLine(_Line, gc=False):
    """One whose payload is no object, which counts as empty."""

    payload: Any = None


_decode: Final = msgspec.json.Decoder(_Line).decode
_decode_odd: Final = msgspec.json.Decoder(_OddLine).decode
_LIMIT: Final = 2_000
_SEVERITY: Final = {name: index for index, name in enumerate(SEVERITIES)}

_TYPES: Final = {
    "message.user": EventKind.USER_MESSAGE,
    "message.assistant": EventKind.AGENT_MESSAGE,
    "run.sub_agent": EventKind.DELEGATION,
}
_KINDS: Final = {
    ASSIGNMENT_CREATED: EventKind.DELEGATION,
    STATUS_CHANGE: EventKind.STATUS,
    KEEPER_DECISION: EventKind.DECISION,
    INPUT_BLOCKED: EventKind.BLOCK,
    OUTPUT_BLOCKED: EventKind.BLOCK,
    ESCALATION_QUESTION: EventKind.QUESTION,
    ESCALATION_ANSWER: EventKind.ANSWER,
    BUDGET_WARNING: EventKind.BUDGET,
    BUDGET_EXCEEDED: EventKind.BUDGET,
}
_COMMANDS: Final = frozenset({COMMAND, COMMAND_START, COMMAND_END})
_NAMED: Final = frozenset({EventKind.STATUS, EventKind.DECISION})
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
        entries.append((entry.instant, entry.id or "", raw))
        mission_id = mission_id or entry.mission_id or ""
    teller = Teller(price)
    for _, _, raw in sorted(entries):
        teller.add(raw)
    return teller.transcript(mission_id)


class Teller:
    """Makes events of entries that come in the order of a trajectory."""

    def __init__(self, price: Price | None = None) -> None:
        self._price = price
        self._events: list[Event] = []
        self._steps = 0
        self._open: dict[int | None, list[int]] = {}
        self._facts: dict[str, Any] = {}
        self._tools: dict[str, None] | None = None
        self._told: dict[str, Told] = {}

    def add(self, raw: bytes) -> None:
        """The next entry, one that `read_entry` takes; this program's evaluations tell nothing."""
        line = _read(raw)
        entry_type = line.entry_type
        if entry_type.startswith("eval."):
            return
        words = line.payload or _Words()
        if entry_type.startswith("mission.") and entry_type != "mission.status_change":
            self._learn(entry_type, words)
            return
        arguments, words.arguments = words.arguments, None  # a step would make a template of them
        instant = parse_instant(line.ts)
        entry = JournalEntry(
            None, None, None, instant, entry_type, _severity(line), None, None, _text(line.trace_id), words
        )
        step = step_of(entry)
        if step is None:
            kind = _TYPES.get(entry_type, EventKind.NOTE)
            self._events.append(self._told_of(line, words, Step(instant, 0), kind, None))
        elif step.kind in _COMMANDS:
            words.arguments = arguments
            self._add_command(line, words, step)
        elif step.kind == MODEL_CALL:
            self._events.append(self._model_call(line, words, step))
            self._steps += 1
        elif step.kind != COST_INCURRED:
            kind = _KINDS.get(step.kind, EventKind.NOTE)
            self._events.append(self._told_of(line, words, step, kind, self._steps))
            self._steps += 1

    def transcript(
        self, mission_id: str, *, outcome: str | None = None, timed: bool = True, **facts: Any
    ) -> Transcript:
        """What was told so far; `facts` are fields of the transcript that somebody knows better."""
        told = tuple(self._told.values())
        known: dict[str, Any] = {
            "goal": self._first_question() or self._facts.get("title"),
            "tools": None if self._tools is None else tuple(self._tools),
            **self._facts,
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

    def _add_command(self, line: _Line, words: _Words, step: Step) -> None:
        waiting = self._open.get(step.pairing) if step.kind == COMMAND_END else None
        if waiting:
            index = waiting.pop()
            self._events[index] = _ended(self._events[index], line, words, step)
            return
        if step.kind == COMMAND_START:
            self._open.setdefault(step.pairing, []).append(len(self._events))
        self._events.append(self._tool_call(line, words, step))
        self._steps += 1

    def _tool_call(self, line: _Line, words: _Words, step: Step) -> Event:
        return Event(
            position=len(self._events),
            entry_id=line.id or "",
            instant=step.instant,
            kind=EventKind.TOOL_CALL,
            name=_text(words.tool) or _text(words.name) or _program(step.tool or ""),
            entry_type=line.entry_type,
            severity=step.severity,
            step=self._steps,
            agent=_agent(line, words),
            ended_at=_after(step),
            command=_command_line(words),
            arguments=words.arguments,
            arguments_digest=_text(words.arguments_digest),
            succeeded=_claim(step.success),
            refused=_refused(words),
            exit_code=_exit_code(words),
            error=_text(words.error),
            output=_output(words),
            output_digest=_text(words.output_digest),
            reason=_text(words.reason),
            duration_ms=step.duration_ms,
            span=_text(words.span_id),
            parent=_text(words.parent_span_id),
        )

    def _model_call(self, line: _Line, words: _Words, step: Step) -> Event:
        cost = self._cost(step)
        return Event(
            position=len(self._events),
            entry_id=line.id or "",
            instant=step.instant,
            kind=EventKind.MODEL_CALL,
            name=step.tool or "",
            entry_type=line.entry_type,
            severity=step.severity,
            step=self._steps,
            agent=_agent(line, words),
            ended_at=_after(step),
            succeeded=True,
            error=_text(words.error),
            text=_text(words.text),
            reason=_text(words.reason),
            finish_reason=_text(words.finish_reason),
            provider=_text(words.provider),
            tokens=step.tokens,
            input_tokens=step.input_tokens,
            output_tokens=step.output_tokens,
            cache_read_tokens=step.cache_read_tokens,
            cache_write_tokens=step.cache_write_tokens,
            reasoning_tokens=words.reasoning_tokens if type(words.reasoning_tokens) is int else None,
            cost=cost,
            cost_listed=step.cost is None and cost is not None,
            duration_ms=step.duration_ms,
            span=_text(words.span_id),
            parent=_text(words.parent_span_id),
        )

    def _told_of(self, line: _Line, words: _Words, step: Step, kind: EventKind, index: int | None) -> Event:
        return Event(
            position=len(self._events),
            entry_id=line.id or "",
            instant=step.instant,
            kind=kind,
            name=(step.tool or "") if kind in _NAMED else line.entry_type,
            entry_type=line.entry_type,
            severity=_severity(line),
            step=index,
            agent=_agent(line, words),
            to=_text(words.to),
            succeeded=_claim(step.success),
            error=_text(words.error),
            text=_said(line, words),
            reason=_text(words.reason),
        )

    def _cost(self, step: Step) -> int | None:
        if step.cost is not None or self._price is None:
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

    def _learn(self, entry_type: str, words: _Words) -> None:
        if entry_type == "mission.outcome":
            origin = _text(words.origin) or "unknown"
            reward = float(words.reward) if type(words.reward) in (int, float) else None
            self._told[origin] = Told(origin=origin, outcome=_text(words.outcome), reward=reward)
            return
        for name in ("title", "goal", "task", "variant", "agent", "model"):
            text = _text(getattr(words, name))
            if text is not None:
                self._facts[name] = text
        if type(words.labels) is dict:
            self._facts["labels"] = self._facts.get("labels", {}) | words.labels
        if type(words.tools) is list:
            declared = {name: None for name in words.tools if type(name) is str}
            self._tools = (self._tools or {}) | declared
        self._learn_rules(words)

    def _learn_rules(self, words: _Words) -> None:
        """What the mission may do and must do; the last declaration of a tool, an agent or a budget holds."""
        if type(words.tool_schemas) is dict:
            schemas = {name: one for name, one in words.tool_schemas.items() if type(one) is dict}
            self._facts["tool_schemas"] = self._facts.get("tool_schemas", {}) | schemas
        if type(words.agent_tools) is dict:
            allowed = {
                name: _texts(tools) for name, tools in words.agent_tools.items() if type(tools) is list
            }
            self._facts["agent_tools"] = self._facts.get("agent_tools", {}) | allowed
        if type(words.required_tools) is list:
            self._facts["required_tools"] = _texts(words.required_tools)
        if type(words.budgets) is dict:
            limits = {
                name: float(limit)
                for name, limit in words.budgets.items()
                if name in BUDGETS and type(limit) in (int, float) and limit > 0
            }
            self._facts["budgets"] = self._facts.get("budgets", {}) | limits


def _texts(values: list[Any]) -> tuple[str, ...]:
    return tuple(one for one in values if type(one) is str)


def _read(raw: bytes) -> _Line:
    try:
        return _decode(raw)
    except msgspec.ValidationError:
        line = _decode_odd(raw)
        line.payload = None
        return line


def _ended(began: Event, line: _Line, words: _Words, step: Step) -> Event:
    """The end of a command adds what only its end knows."""
    return msgspec.structs.replace(
        began,
        ended_id=line.id or "",
        ended_at=step.instant,
        severity=max(began.severity, step.severity),
        succeeded=_claim(step.success),
        refused=_refused(words),
        exit_code=_exit_code(words),
        error=_text(words.error),
        output=_output(words),
        output_digest=_text(words.output_digest),
        reason=_text(words.reason),
        duration_ms=step.duration_ms,
    )


_STRENGTH: Final = ("verifier", "harness", "human")


def _strongest(told: tuple[Told, ...]) -> str | None:
    """A verifier's word wins over a harness's, a human's, anybody else's, and last the agent's own."""

    def rank(one: Told) -> tuple[int, str]:
        if one.origin in _STRENGTH:
            return _STRENGTH.index(one.origin), one.origin
        return len(_STRENGTH) + (one.origin == "agent"), one.origin

    return next((one.outcome for one in sorted(told, key=rank) if one.outcome), None)


def _text(value: Any) -> str | None:
    return value[:_LIMIT] if type(value) is str and value else None


def _claim(success: Any) -> bool | None:
    return None if success is None else bool(success)


def _severity(line: _Line) -> int:
    return _SEVERITY.get(line.severity, 0) if type(line.severity) is str else 0


def _program(command: str) -> str:
    words = command.split(None, 1)
    return words[0].rstrip("/").rpartition("/")[2] if words else ""


def _command_line(words: _Words) -> str | None:
    """What a shell was told: a command beside the name of its tool, or one that holds more than a name."""
    if type(words.cmd) is list:
        return " ".join(part for part in words.cmd if type(part) is str)[:_LIMIT] or None
    command = _text(words.command)
    if command is None:
        return None
    named = (type(words.tool) is str and words.tool) or _SHELLS.search(command)
    return command if named else None


def _agent(line: _Line, words: _Words) -> str | None:
    named = _text(words.agent) or _text(words.speaker) or _text(line.agent_id)
    return named or (_text(line.actor_id) if line.actor_type == "agent" else None)


def _said(line: _Line, words: _Words) -> str | None:
    told = (words.text, words.message, words.content, words.details, words.question, line.summary)
    return next((text for text in map(_text, told) if text), None)


def _output(words: _Words) -> str | None:
    told = _text(words.output) or _text(words.result)
    if told:
        return told
    streams = [text for text in (_text(words.stdout), _text(words.stderr)) if text]
    return "\n".join(streams)[:_LIMIT] or None


def _exit_code(words: _Words) -> int | None:
    return words.exit_code if type(words.exit_code) is int else None


def _refused(words: _Words) -> bool:
    if words.cancelled is True or words.refused is True:
        return True
    return type(words.reason) is str and words.reason in _REFUSALS


def _after(step: Step) -> int | None:
    """When a call ended that tells how long it took."""
    return None if step.duration_ms is None else step.instant + step.duration_ms * 1_000_000
