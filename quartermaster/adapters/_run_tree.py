"""Runs of a trace, each inside of another: which of them are steps, and in which order they happened.

Exports of tracing services come in any order, and may tell one model call by two runs, one inside of the
other. The deepest one is the call; those around it are told as `span.model`, which is no step.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.adapters._entries import TEXT_LIMIT, cut, finish_reason_of, output_text
from quartermaster.adapters._story import Story, Usage, arguments_of, text_of

_DEPTH_LIMIT: Final = 64
_ASKED_IN: Final = (
    "prompt", "input", "question", "query", "new_message", "contents", "messages", "parts", "content", "text",
)  # fmt: skip
_SAID_IN: Final = (
    "content", "text", "output", "message", "messages", "parts", "choices", "candidates", "generations",
)  # fmt: skip

_STOPPED_IN: Final = ("finish_reason", "finishReason", "stop_reason")
_ANSWERED_IN: Final = (
    "choices", "candidates", "generations", "generation_info", "message", "kwargs", "response_metadata",
    "messages",
)  # fmt: skip

Kind = Literal["model", "tool", "other"]


class Run(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One run. Instants are nanoseconds since 1970, None where they are not known.

    `error` is None where nothing failed; a failure without words has an empty one. `said` is what a
    model answered, `output` what a tool answered, `arguments` are those of a tool; `agent` is the agent
    that this run is. `more` goes into the entry as it is.
    """

    id: str
    parent: str | None
    kind: Kind
    name: str
    began: int | None
    ended: int | None
    error: str | None = None
    model: str | None = None
    usage: Usage = Usage()
    arguments: Any = None
    said: str | None = None
    output: str | None = None
    agent: str | None = None
    more: dict[str, Any] = {}

    @property
    def milliseconds(self) -> int | None:
        if self.began is None or self.ended is None:
            return None
        return max(self.ended - self.began, 0) // 1_000_000


class _Moment(NamedTuple):
    instant: int
    is_end: bool
    order: int


class Beside(NamedTuple):
    """Something that is no run."""

    instant: int
    entry_type: str
    payload: dict[str, Any]
    severity: str = "warn"


class RunTree:
    """The runs of one trace; of two of one id the later one counts."""

    def __init__(self, runs: Iterable[Run]) -> None:
        by_id = {run.id: run for run in runs}
        self.runs = sorted(by_id.values(), key=lambda run: run.began or 0)
        self._by_id = by_id
        self._around_calls = {
            around.id for run in self.runs if run.kind == "model" for around in self._models_around(run)
        }
        self._has_several_agents = len({run.agent for run in self.runs if run.agent}) > 1

    def began(self) -> int | None:
        """When the first run began."""
        return min((run.began for run in self.runs if run.began is not None), default=None)

    def model(self) -> str | None:
        """The model of the first call that names one."""
        return next((run.model for run in self.runs if run.model and self._is_call(run)), None)

    def roots(self) -> list[Run]:
        """The runs that stand inside of no other."""
        return [run for run in self.runs if run.parent is None or run.parent not in self._by_id]

    def tell(self, story: Story, beside: Iterable[Beside] = ()) -> None:
        """Every model and tool run, begun and ended in order of time, and what happened beside them."""
        moments: list[tuple[_Moment, Callable[[], None]]] = []
        for order, run in enumerate(self.runs):
            began = run.began or 0
            moments.append((_Moment(began, False, order), partial(self._tell_begin, story, run)))
            if run.kind == "tool" and (run.ended is not None or run.error is not None):
                ended = _Moment(max(run.ended or began, began), True, order)
                moments.append((ended, partial(_tell_tool_end, story, run)))
        for order, one in enumerate(beside, start=len(self.runs)):
            told = partial(story.tell, one.entry_type, one.payload, actor="system", severity=one.severity)
            moments.append((_Moment(one.instant, False, order), told))
        for moment, tell in sorted(moments, key=lambda one: one[0]):
            story.at(moment.instant)
            tell()

    def tell_end(self, story: Story, answer: str | None = None) -> None:
        """How the roots ended, which is the program's own word; nothing where one has not ended.

        `answer` is what the whole trace answered.
        """
        story.at(max((run.ended or run.began or 0 for run in self.runs), default=0))
        roots = self.roots()
        failed = next((run for run in roots if run.error is not None), None)
        if failed is not None:
            story.goal("failed", failed.error)
            story.outcome("failed", "agent")
        elif roots and all(run.ended is not None for run in roots):
            story.concluded(answer)
            story.goal("completed", answer)
            story.outcome("succeeded", "agent")

    def _tell_begin(self, story: Story, run: Run) -> None:
        if run.kind == "tool":
            story.begin(run.id, run.name, run.arguments, agent=self._agent_of(run))
        elif run.kind == "model":
            self._tell_model(story, run)
        elif run.agent and self._has_several_agents:
            self._tell_sub_agent(story, run, run.agent)

    def _tell_sub_agent(self, story: Story, run: Run, agent: str) -> None:
        """An agent that works for another one."""
        around = self._by_id.get(run.parent or "")
        by = self._agent_of(around) if around else None
        if by is not None and by != agent:
            story.tell("run.sub_agent", {"agent": by, "to": agent}, run.id, summary=agent)

    def _tell_model(self, story: Story, run: Run) -> None:
        """The same entry in whatever way: what is inside of a run may come with a later export."""
        repeats = run.id in self._around_calls
        if run.error is not None and run.usage.output is None and not repeats:
            error = run.error or "the call failed"
            payload = {"model": run.model, "error": cut(error, TEXT_LIMIT)}
            about = {"summary": error, "actor": "system", "severity": "error", "known_as": "llm.call"}
            story.tell("run.api_error", payload, run.id, **about)
            return
        entry_type = "span.model" if repeats else "llm.call"
        agent = self._agent_of(run)
        more = {"duration_ms": run.milliseconds, "agent": agent, **run.more}
        story.model_call(run.id, run.model, run.usage, entry_type=entry_type, **more)
        if not repeats:
            story.said(False, run.said, run.id, agent=agent)

    def _agent_of(self, run: Run) -> str | None:
        """Who acts in a run, where several agents do: the nearest agent around it."""
        around: Run | None = run if self._has_several_agents else None
        for _ in range(_DEPTH_LIMIT):
            if around is None or around.agent:
                return around.agent if around else None
            around = self._by_id.get(around.parent or "")
        return None

    def _is_call(self, run: Run) -> bool:
        return run.kind == "model" and run.id not in self._around_calls

    def _models_around(self, run: Run) -> Iterable[Run]:
        """The model runs around a run, as far as the next tool: what a tool asks is another call."""
        around = self._by_id.get(run.parent or "")
        for _ in range(_DEPTH_LIMIT):
            if around is None or around.kind == "tool":
                return
            if around.kind == "model":
                yield around
            around = self._by_id.get(around.parent or "")


def _tell_tool_end(story: Story, run: Run) -> None:
    output = run.output or run.error or run.output  # a failure may have answered with nothing but its error
    story.end(run.id, error=run.error, output=output, duration_ms=run.milliseconds)


def decoded_twice(value: Any) -> Any:
    """A value that may be written as JSON in a text, or as a text of such a text."""
    once = arguments_of(value)
    return once if once is value else arguments_of(once)


def asked_in(value: Any) -> str | None:
    """What was asked: a text, or the last that a user says, wherever an input holds it."""
    return _text_in(decoded_twice(value), _ASKED_IN, "user", 0)


def said_in(value: Any) -> str | None:
    """What a model answered, wherever an output holds it."""
    return _text_in(decoded_twice(value), _SAID_IN, "assistant", 0)


def answered_in(value: Any) -> str | None:
    """What a tool answered, as text; of a message that carries it, the content alone."""
    message = decoded_twice(value)
    if (
        isinstance(message, dict)
        and "content" in message
        and "tool" in (message.get("type"), message.get("role"))
    ):
        return output_text(message["content"])
    return output_text(value)


def stopped_in(value: Any) -> str | None:
    """Why a model stopped, wherever an output holds it."""
    return _reason_in(decoded_twice(value), 0)


def _reason_in(value: Any, depth: int) -> str | None:
    if depth > 8:
        return None
    if isinstance(value, list):
        return next((reason for one in reversed(value) if (reason := _reason_in(one, depth + 1))), None)
    if not isinstance(value, dict):
        return None
    for name in _STOPPED_IN:
        if reason := finish_reason_of(value.get(name)):
            return reason
    found = (_reason_in(value[name], depth + 1) for name in _ANSWERED_IN if name in value)
    return next((reason for reason in found if reason), None)


def _text_in(value: Any, names: tuple[str, ...], role: str, depth: int) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if depth > 8:
        return None
    if isinstance(value, list):
        return _text_in_list(value, names, role, depth)
    if not isinstance(value, dict):
        return None
    found = (_text_in(value.get(name), names, role, depth + 1) for name in names)
    return next((text for text in found if text), None)


def _text_in_list(value: list[Any], names: tuple[str, ...], role: str, depth: int) -> str | None:
    text = text_of(value)
    if text.strip():
        return text
    speakers = [one for one in value if isinstance(one, dict) and "role" in one]
    chosen = [one for one in speakers if one["role"] == role] if speakers else value
    found = (_text_in(one, names, role, depth + 1) for one in reversed(chosen))
    return next((one for one in found if one), None)
