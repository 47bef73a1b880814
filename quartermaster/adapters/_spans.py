"""Spans, from whatever container, told as entries of missions.

A span is one entry, and its id follows from its trace and its own id alone, so that the same span is
the same entry in a file, in a copy of it and at the live door. Spans may come in any order and in
any number of portions. What depends on other spans is told again once they are known:

- One model call is often described by several spans, one inside of the other; the deepest one is the
  call (`llm.call`), those around it repeat it (`span.model`).
- A mission that the resource names is that of all its spans. Else the spans of one conversation or
  session are one mission, else those of one trace. A trace whose
  conversation becomes known later is absorbed by it.
- What is known of a mission (title, agent, model, outcome) comes from the span with the best claim,
  never from the one that happened to arrive first.
- What a model said is a message of the deepest span that tells it. What a user said stands in every
  call that follows: it is one message, at the time of the first of them. What the outermost agent
  answered in the end is a message where no model said the same.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from quartermaster.adapters import _span_attributes as read
from quartermaster.adapters import _span_messages as messages
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, kept_output, one_line
from quartermaster.core.journal import ID_LIMIT, format_instant, minted_id

MISSION_PREFIX: Final = "otel_"
"""Begins the id of every mission that was told by spans; the conversation, session or trace follows."""

LATEST_INSTANT: Final = 2**63 - 1 - 61 * 10**9
_ERROR_LIMIT: Final = 400
_REMEMBERED_CALLS: Final = 16_384
_REPEATED: Final = {"llm.call": "span.model", "message.assistant": "span.message"}
"""What entries are that only repeat what a span inside of theirs tells."""
_REMEMBERED_QUESTIONS: Final = 1_000
_TOOLS_LIMIT: Final = 200
_UNNAMED_SERVICE: Final = "unknown_service"


class Span(msgspec.Struct, gc=False):
    """One span of any container. Ids are lower-case hex, instants nanoseconds since 1970.

    `end` is None for a span that has not ended, `failed` says that its status is an error.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: int
    end: int | None
    failed: bool
    message: str | None
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    offset: int = 0
    length: int = 0


class Branch(msgspec.Struct, gc=False):
    """What has to be remembered of a span: its parent, and who of its branch calls the model or answers.

    `known` is False for a span that only its children have spoken of.
    """

    parent: str | None = None
    known: bool = False
    calls: bool = False
    called_below: bool = False
    says: bool = False
    said_below: bool = False


Claim = tuple[int, int, str, str]
"""Rank, instant, span id and value: the least one wins."""


class Facts(msgspec.Struct):
    """What is known of a mission, each fact with the claim of the span that told it."""

    began: int = LATEST_INSTANT
    title: Claim | None = None
    agent: Claim | None = None
    model: Claim | None = None
    version: Claim | None = None
    service: Claim | None = None
    ended: tuple[int, int, str, bool] | None = None
    """Of the agent that ended last: its end, its start (negative), its id, whether it failed."""
    tools: tuple[str, ...] = ()
    """The first 200 names, in order, of the tools that models and agents were given."""
    asked: dict[str, tuple[int, str]] = {}
    """Of each question the instant and the id of the first span that tells it."""
    said: tuple[int, int, str, str] | None = None
    """Of the model that said something last: its end, its start (negative), its id, a digest of its words."""
    answer: tuple[int, int, str, str, str | None] | None = None
    """Of the agent that answered last: its end, its start (negative), its id, its words and its name."""

    def learn_tools(self, names: list[str]) -> None:
        """Tools that a span says were there."""
        if not set(names) <= set(self.tools):
            self.tools = tuple(sorted({*self.tools, *names})[:_TOOLS_LIMIT])

    def is_first_asked(self, question: str, span: Span) -> bool:
        """Remember a question, and whether no earlier span is known to tell it."""
        known = self.asked.get(question)
        claim = (span.start, span.span_id)
        if known is None and len(self.asked) >= _REMEMBERED_QUESTIONS:
            return False
        if known is not None and known < claim:
            return False
        self.asked = self.asked | {question: claim}
        return True

    def learn_words(self, span: Span, text: str, *, of_agent: bool) -> None:
        """What a model or an agent said."""
        ended = (_end_of(span), -span.start, span.span_id)
        if not of_agent:
            said = (*ended, _digest(text))
            self.said = said if self.said is None else max(self.said, said)
        elif self.answer is None or self.answer[:3] < ended:
            self.answer = (*ended, cut(text, TEXT_LIMIT), read.agent_of(span.attributes))

    def claim(self, name: str, rank: int, span: Span, value: str | None) -> None:
        """Let a span tell a fact; it counts where no better claim is known."""
        if value:
            self._take(name, (rank, span.start, span.span_id, value))

    def _take(self, name: str, claim: Claim) -> None:
        known = getattr(self, name)
        if known is None or claim < known:
            setattr(self, name, claim)

    def has_better_title(self, rank: int, span: Span) -> bool:
        """Whether a title of this span would not count anyway."""
        return self.title is not None and self.title[:3] <= (rank, span.start, span.span_id)

    def agent_ended(self, span: Span) -> None:
        """The agent that ended last is the outermost one of the last turn: its status is the mission's."""
        if span.end is None:
            return
        ended = (span.end, -span.start, span.span_id, span.failed)
        self.ended = ended if self.ended is None else max(self.ended, ended)

    def merge(self, other: "Facts") -> None:
        """Take over what another mission's spans have told."""
        self.began = min(self.began, other.began)
        for name in ("title", "agent", "model", "version", "service"):
            claim = getattr(other, name)
            if claim is not None:
                self._take(name, claim)
        if other.ended is not None:
            self.ended = other.ended if self.ended is None else max(self.ended, other.ended)
        self.learn_tools(list(other.tools))
        self.asked = other.asked | self.asked
        if other.said is not None:
            self.said = other.said if self.said is None else max(self.said, other.said)
        if other.answer is not None and (self.answer is None or self.answer[:3] < other.answer[:3]):
            self.answer = other.answer


class Memory(Protocol):
    """What is known of spans that were told before. Entries are named by their ids."""

    def branch(self, entry_id: str) -> Branch | None: ...

    def keep_branch(self, entry_id: str, branch: Branch) -> None: ...

    def home(self, trace_id: str) -> str | None: ...

    def keep_home(self, trace_id: str, mission_id: str) -> None: ...

    def facts(self, mission_id: str) -> Facts | None: ...

    def keep_facts(self, mission_id: str, facts: Facts) -> None: ...

    def told_call(self, entry_id: str) -> bytes | None: ...

    def keep_call(self, entry_id: str, raw: bytes) -> None: ...


class Recollection:
    """The memory of one reading of one recording. Of the model calls the latest are remembered whole."""

    def __init__(self) -> None:
        self._branches: dict[str, Branch] = {}
        self._homes: dict[str, str] = {}
        self._facts: dict[str, Facts] = {}
        self._calls: OrderedDict[str, bytes] = OrderedDict()

    def branch(self, entry_id: str) -> Branch | None:
        return self._branches.get(entry_id)

    def keep_branch(self, entry_id: str, branch: Branch) -> None:
        self._branches[entry_id] = branch

    def home(self, trace_id: str) -> str | None:
        return self._homes.get(trace_id)

    def keep_home(self, trace_id: str, mission_id: str) -> None:
        self._homes[trace_id] = mission_id

    def facts(self, mission_id: str) -> Facts | None:
        return self._facts.get(mission_id)

    def keep_facts(self, mission_id: str, facts: Facts) -> None:
        self._facts[mission_id] = facts

    def told_call(self, entry_id: str) -> bytes | None:
        return self._calls.get(entry_id)

    def keep_call(self, entry_id: str, raw: bytes) -> None:
        self._calls[entry_id] = raw
        if len(self._calls) > _REMEMBERED_CALLS:
            self._calls.popitem(last=False)


class Told(NamedTuple):
    """One entry and the span that made it necessary."""

    raw: bytes
    span: Span


class _Seen(NamedTuple):
    span: Span
    entry_id: str
    kind: read.Kind
    usage: read.Usage
    mission_id: str
    said: str | None


def entry_id_of(trace_id: str, span_id: str) -> str:
    """The id of the entry that a span is."""
    return minted_id("otel", trace_id, span_id)


def said_id_of(entry_id: str) -> str:
    """The id of the entry that tells what was said in the span of another entry."""
    return minted_id("otel", "said", entry_id)


def mission_id_of(name: str) -> str:
    """The mission of a conversation, session or trace of that name."""
    mission_id = MISSION_PREFIX + name
    return mission_id if len(mission_id) <= ID_LIMIT else MISSION_PREFIX + minted_id("otel", name)


def hex_id(text: str, digits: int) -> str | None:
    """An id as lower-case hex of that many digits; None for what is no id or the id that means none."""
    text = text.lower().removeprefix("0x")
    if not 0 < len(text) <= digits or not text.isascii() or text.strip("0123456789abcdef"):
        return None
    return text.zfill(digits) if text.strip("0") else None


def failure_of(marked: bool, attributes: Mapping[str, Any], *messages: Any) -> tuple[bool, str | None]:
    """Whether a span failed, and the first text that says why. An unset status is no failure."""
    error_type = attributes.get("error.type")
    if not marked and not error_type:
        return False, None
    texts = (text for text in (*messages, error_type) if isinstance(text, str) and text)
    return True, next(texts, None)


def exceptions_of(events: Iterable[tuple[Any, Mapping[str, Any]]]) -> list[Any]:
    """What the exceptions among some events say; an event is its name and its attributes."""
    return [attributes.get("exception.message") for name, attributes in events if name == "exception"]


def tell(spans: Iterable[Span], memory: Memory, *, prompt_is_task: bool = False) -> list[Told]:
    """The entries of some spans, and those of earlier ones that have to be told again because of them.

    `prompt_is_task` says that what was asked for names the task, as in recordings of one task many times.
    """
    distinct = {(span.trace_id, span.span_id): span for span in spans}  # some exporters send a span twice
    ordered = sorted(distinct.values(), key=lambda span: (span.start, span.span_id))
    told, touched = _find_sessions(ordered, memory)
    seen = [_look_at(span, memory) for span in ordered]
    spoken_of = {one.entry_id for one in seen} | {said_id_of(one.entry_id) for one in seen if one.said}
    for one in seen:
        for entry_id in _note_branch(one, memory):
            raw = None if entry_id in spoken_of else memory.told_call(entry_id)
            if raw is not None:
                told.append(Told(_as_repetition(raw), one.span))
    for one in seen:
        told.append(Told(_entry(one, memory), one.span))
        facts = touched.setdefault(one.mission_id, (_facts(one.mission_id, memory), one.span))[0]
        told += [Told(raw, one.span) for raw in _messages(facts, one, memory)]
        _learn(facts, one)
    for mission_id, (facts, span) in touched.items():
        known = memory.facts(mission_id)
        if facts != known:
            memory.keep_facts(mission_id, facts)
            before = _facts_told(mission_id, known, prompt_is_task) if known is not None else []
            after = _facts_told(mission_id, facts, prompt_is_task)
            told += [Told(raw, span) for raw in after if raw not in before]
    return told


def _facts(mission_id: str, memory: Memory) -> Facts:
    known = memory.facts(mission_id)
    return Facts() if known is None else msgspec.structs.replace(known)


def _find_sessions(spans: Iterable[Span], memory: Memory) -> tuple[list[Told], dict[str, tuple[Facts, Span]]]:
    """Remember the mission of each trace whose session is among these spans.

    Where the trace was a mission of its own before, that is told, and what it knew goes over.
    """
    told: list[Told] = []
    touched: dict[str, tuple[Facts, Span]] = {}
    for span in spans:
        mission_id = _named_mission(span)
        if mission_id is None:
            continue
        home = memory.home(span.trace_id)
        provisional = mission_id_of(span.trace_id)
        if home is not None and home != provisional:
            continue
        memory.keep_home(span.trace_id, mission_id)
        if home == provisional != mission_id:
            told.append(Told(_absorbed(mission_id, provisional, span), span))
            facts, _ = touched.setdefault(mission_id, (_facts(mission_id, memory), span))
            facts.merge(_facts(provisional, memory))
    return told, touched


def _named_mission(span: Span) -> str | None:
    """The mission that a span names itself; None where its trace has to tell."""
    session = read.session_of(span.attributes)
    return read.mission_of(span.resource) or (None if session is None else mission_id_of(session))


def _absorbed(mission_id: str, provisional: str, span: Span) -> bytes:
    entry_id = minted_id("otel", "absorbed", provisional, mission_id)
    payload = {"mission_id": provisional}
    return _written(
        mission_id, entry_id, span.start, "mission.absorbed", payload, summary="one conversation", span=span
    )


def _look_at(span: Span, memory: Memory) -> _Seen:
    mission_id = _named_mission(span)
    if mission_id is None:
        mission_id = memory.home(span.trace_id) or mission_id_of(span.trace_id)
        memory.keep_home(span.trace_id, mission_id)
    kind = read.kind_of(span.name, span.attributes)
    usage = read.usage_of(span.attributes) if kind == "model" else read.Usage()
    said = messages.said_in(span.attributes) if kind in ("model", "agent") else None
    return _Seen(span, entry_id_of(span.trace_id, span.span_id), kind, usage, mission_id, said)


def _calls_model(one: _Seen) -> bool:
    """A call that failed and was not billed is none."""
    return one.kind == "model" and not (one.span.failed and not (one.usage.fresh or one.usage.output))


def _note_branch(one: _Seen, memory: Memory) -> list[str]:
    """Remember where the span hangs; the ids of earlier entries that turn out to repeat one below them."""
    span = one.span
    parent = None if span.parent_id is None else entry_id_of(span.trace_id, span.parent_id)
    branch = memory.branch(one.entry_id) or Branch()
    branch.parent, branch.known, branch.calls = parent, True, _calls_model(one)
    branch.says = branch.calls and one.said is not None
    memory.keep_branch(one.entry_id, branch)
    calls, says = branch.calls or branch.called_below, branch.says or branch.said_below
    repeated: list[str] = []
    while parent is not None and (calls or says):
        above = memory.branch(parent) or Branch()
        calls, says = calls and not above.called_below, says and not above.said_below
        if not calls and not says:
            break
        above.called_below, above.said_below = above.called_below or calls, above.said_below or says
        memory.keep_branch(parent, above)
        if calls and above.calls:
            repeated.append(parent)
        if says and above.says:
            repeated.append(said_id_of(parent))
        parent = above.parent
    return repeated


class _Envelope(msgspec.Struct, omit_defaults=True):
    id: str
    mission_id: str
    ts: str
    entry_type: str
    actor_type: str
    summary: str
    severity: str = "info"
    payload: msgspec.Raw = msgspec.Raw(b"{}")
    trace_id: str | None = None


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def _as_repetition(raw: bytes) -> bytes:
    """The entry of a call or a message as it would have been told, had the one below it been known."""
    envelope = _decode_envelope(raw)
    envelope.entry_type = _REPEATED.get(envelope.entry_type, envelope.entry_type)
    return msgspec.json.encode(envelope)


def _entry(one: _Seen, memory: Memory) -> bytes:
    match one.kind:
        case "model":
            return _model_entry(one, memory)
        case "tool":
            return _tool_entry(one)
        case kind:
            severity = "warn" if kind == "agent" and one.span.failed else "info"
            payload = _about(one.span)
            if kind == "agent":
                payload |= {"agent": read.agent_of(one.span.attributes), **_outcome_of(one.span)}
            return _span_entry(one, f"span.{kind}", payload, severity)


def _model_entry(one: _Seen, memory: Memory) -> bytes:
    attributes, used = one.span.attributes, one.usage
    payload = {
        "model": read.model_of(attributes),
        "provider": read.provider_of(attributes),
        "input_tokens": used.fresh,
        "output_tokens": used.output,
        "cached_input_tokens": used.cache_read,
        "cache_creation_tokens": used.cache_write,
        "reasoning_tokens": used.reasoning,
        "total_tokens": used.total,
        "cost_usd": used.cost,
        "finish_reason": messages.finish_reason_in(attributes),
        "agent": read.agent_of(attributes),
        **_outcome_of(one.span),
        **_about(one.span),
    }
    if not _calls_model(one):
        return _span_entry(one, "run.api_error", payload, "error")
    severity = "warn" if one.span.failed else "info"
    branch = memory.branch(one.entry_id)
    if branch is not None and branch.called_below:
        return _span_entry(one, _REPEATED["llm.call"], payload, severity)
    raw = _span_entry(one, "llm.call", payload, severity)
    memory.keep_call(one.entry_id, raw)
    return raw


def _tool_entry(one: _Seen) -> bytes:
    exit_code = read.exit_code_of(one.span.attributes)
    failed = one.span.failed if exit_code is None else exit_code != 0
    payload = {
        **read.command_of(one.span.name, one.span.attributes),
        "exit_code": exit_code,
        **_outcome_of(one.span),
        **_about(one.span),
    }
    return _span_entry(one, "exec.command", payload, "warn" if failed else "info")


def _outcome_of(span: Span) -> dict[str, Any]:
    error = one_line(cut(span.message or "", _ERROR_LIMIT)) or "failed" if span.failed else None
    return {"error": error, **kept_output(read.output_of(span.attributes))}


def _about(span: Span) -> dict[str, Any]:
    return {
        "span_id": span.span_id,
        "parent_span_id": span.parent_id,
        "duration_ms": None if span.end is None else max(span.end - span.start, 0) // 10**6,
        "attributes": read.kept_attributes(span.attributes),
    }


def _span_entry(one: _Seen, entry_type: str, payload: dict[str, Any], severity: str) -> bytes:
    return _written(
        one.mission_id,
        one.entry_id,
        one.span.start,
        entry_type,
        payload,
        summary=one.span.name,
        severity=severity,
        span=one.span,
    )


def _messages(facts: Facts, one: _Seen, memory: Memory) -> list[bytes]:
    """What was said to a model or an agent, where no span before tells it, and what a model said."""
    if one.kind not in ("model", "agent"):
        return []
    told: list[bytes] = []
    span = one.span
    question = messages.asked_in(span.attributes)
    if question is not None:
        key = _digest(span.trace_id, question)
        if facts.is_first_asked(key, span):
            told.append(_message(one, "message.user", minted_id("otel", "asked", key), question))
    branch = memory.branch(one.entry_id)
    if one.said is not None and branch is not None and branch.says:
        said_id = said_id_of(one.entry_id)
        kind = _REPEATED["message.assistant"] if branch.said_below else "message.assistant"
        raw = _message(one, kind, said_id, one.said)
        memory.keep_call(said_id, raw)
        told.append(raw)
    return told


def _message(one: _Seen, entry_type: str, entry_id: str, text: str) -> bytes:
    span, by_user = one.span, entry_type == "message.user"
    about = {"text": cut(text, TEXT_LIMIT), "span": span.span_id}
    return _written(
        one.mission_id,
        entry_id,
        span.start if by_user else _end_of(span),
        entry_type,
        about if by_user else about | {"agent": read.agent_of(span.attributes)},
        summary=text,
        actor="user" if by_user else "agent",
        span=span,
    )


def _end_of(span: Span) -> int:
    return span.start if span.end is None else span.end


def _digest(*texts: str) -> str:
    """Follows from the words of some texts, however they are spaced."""
    words = "\0".join(" ".join(text.split()) for text in texts)
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _written(
    mission_id: str,
    entry_id: str,
    instant: int,
    entry_type: str,
    payload: dict[str, Any],
    *,
    summary: str,
    span: Span | None,
    actor: str = "agent",
    severity: str = "info",
) -> bytes:
    return Mission("otel", mission_id).written(
        entry_id,
        format_instant(instant),
        entry_type,
        payload,
        summary=summary,
        actor=actor,
        severity=severity,
        trace_id=None if span is None else span.trace_id,
    )


def _learn(facts: Facts, one: _Seen) -> None:
    span, attributes = one.span, one.span.attributes
    facts.began = min(facts.began, span.start)
    if span.parent_id is None:
        facts.claim("title", 2, span, one_line(span.name))
    service = span.resource.get("service.name") or attributes.get("service.name")
    if isinstance(service, str) and not service.startswith(_UNNAMED_SERVICE):
        facts.claim("service", int(one.kind == "other"), span, service[:ID_LIMIT])
    version = span.resource.get("service.version")
    if isinstance(version, str):
        facts.claim("version", int(one.kind == "other"), span, version[:ID_LIMIT])
    if one.kind == "agent":
        facts.claim("agent", 0, span, read.agent_of(attributes))
        facts.agent_ended(span)
    if one.kind in ("agent", "model"):
        rank = int(one.kind == "agent")
        facts.claim("model", rank, span, read.requested_model_of(attributes))
        facts.learn_tools(messages.tools_in(attributes))
        if one.said is not None:
            facts.learn_words(span, one.said, of_agent=one.kind == "agent")
        if not facts.has_better_title(1 - rank, span):
            facts.claim("title", 1 - rank, span, one_line(read.prompt_of(attributes) or ""))


def _facts_told(mission_id: str, facts: Facts, prompt_is_task: bool) -> list[bytes]:
    title = facts.title[3] if facts.title else None
    service = facts.service[3] if facts.service else None
    payload = {
        "title": title,
        "task": title if prompt_is_task and facts.title and facts.title[0] < 2 else None,
        "agent": facts.agent[3] if facts.agent else service,
        "model": facts.model[3] if facts.model else None,
        "version": facts.version[3] if facts.version else None,
        "tools": facts.tools or None,
        "labels": {"service": service} if service else None,
    }
    created = _written(
        mission_id,
        minted_id("otel", "created", mission_id),
        facts.began,
        "mission.created",
        payload,
        summary=title or "",
        actor="system",
        span=None,
    )
    return [created, *_answer_told(mission_id, facts), *_end_told(mission_id, facts)]


def _answer_told(mission_id: str, facts: Facts) -> list[bytes]:
    """What the outermost agent answered in the end, which most often a model said before."""
    if facts.answer is None:
        return []
    ended, _, span_id, text, agent = facts.answer
    repeats = facts.said is not None and facts.said[3] == _digest(text)
    entry_type = _REPEATED["message.assistant"] if repeats else "message.assistant"
    payload = {"text": text, "agent": agent, "span": span_id}
    answer_id = minted_id("otel", "answer", mission_id)
    return [_written(mission_id, answer_id, ended, entry_type, payload, summary=text, span=None)]


def _end_told(mission_id: str, facts: Facts) -> list[bytes]:
    if facts.ended is None:
        return []
    ended, _, _, failed = facts.ended
    status = "failed" if failed else "completed"
    changed = _written(
        mission_id,
        minted_id("otel", "status", mission_id),
        ended,
        "mission.status_change",
        {"to_status": status},
        summary=status,
        span=None,
    )
    outcome = "failed" if failed else "succeeded"
    return [
        changed,
        _written(
            mission_id,
            minted_id("otel", "outcome", mission_id),
            ended,
            "mission.outcome",
            {"outcome": outcome, "origin": "agent"},
            summary=outcome,
            actor="system",
            span=None,
        ),
    ]
