"""One sample of an Inspect log as a mission: its events where they were recorded, else its messages."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters._documents import or_none
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    cut,
    cut_arguments,
    declared_tools,
    finish_reason_of,
    output_text,
)
from quartermaster.adapters._inspect_log import (
    DEPTH_LIMIT,
    Choice,
    Evaluation,
    Event,
    Message,
    Output,
    Sample,
    Span,
    ToolSpans,
    arguments_told,
    asked,
    calls_of,
    counters_of,
    decode_messages,
    decode_object,
    decode_output,
    decode_tools,
    flattened,
    id_text,
    milliseconds_of,
    mission_id_of,
    reward_of,
    usage_of,
)
from quartermaster.adapters._lines import text_or_none
from quartermaster.adapters._story import MINUTE, Story, Usage, count_of, local_instant, text_of, title_of

_TOLD: Final = ("model", "tool", "sandbox", "approval", "sample_limit")
_ATTACHED: Final = "attachment://"
_SOLVED: Final = 0.999
_LIMITS: Final = {"time": "timed_out", "working": "timed_out", "operator": "aborted"}
_ALLOWED: Final = ("approve", "modify")
_DENIED: Final = ("reject", "terminate")
_SANDBOX: Final = ("exec", "read_file", "write_file")
_ONE_COMMAND: Final = ("bash", "python")
"""Tools that run one command in the sandbox, so that its exit code is theirs."""


class _Happened(NamedTuple):
    instant: int
    order: int
    tell: Callable[[], None]


def entries_of(sample: Sample, evaluation: Evaluation) -> list[bytes]:
    """The entries of the mission that the sample is."""
    return _Telling(sample, evaluation).entries()


class _Telling:
    def __init__(self, sample: Sample, evaluation: Evaluation) -> None:
        self._sample = sample
        self._evaluation = evaluation
        self._story = Story(Mission("inspect_ai", mission_id_of(sample, evaluation)))
        self._events = list(flattened(sample.events or [], None, 0))
        self._spans: dict[Any, Span] = {}
        self._happened: list[_Happened] = []
        self._refused: set[str] = set()
        self._exit_codes: dict[Any, list[Any]] = {}
        self._texts: dict[str, Any] | None = None
        self._limit_told = False
        self._has_several_agents = False

    def entries(self) -> list[bytes]:
        began = next((at for event, _ in self._events if (at := local_instant(event.timestamp))), None)
        self._story.at(began or MINUTE)
        self._story.created(self._facts(timed=began is not None))
        if self._events:
            self._tell_events()
        else:
            self._tell_messages()
        self._tell_end()
        return self._story.entries

    def _facts(self, *, timed: bool) -> dict[str, Any]:
        evaluation, sample = self._evaluation, self._sample
        named = (evaluation.task, id_text(sample.id))
        goal = self._attached(asked(sample.input))
        return {
            "title": title_of(goal),
            "goal": cut(goal, TEXT_LIMIT) if goal else None,
            "tools": self._tools(),
            "task": "/".join(("inspect_ai", *named)) if all(named) else None,  # type: ignore[arg-type]
            "trial": count_of(sample.epoch),
            "agent": evaluation.agent,
            "model": evaluation.model,
            "commit": evaluation.commit,
            "harness": evaluation.harness,
            "labels": self._labels() or None,
            "clock": None if timed else "ordinal",
        }

    def _tools(self) -> list[str] | None:
        """The tools that were offered to models, each offer read once."""
        offers = {bytes(event.tools): None for event, _ in self._events if event.event == "model"}
        tools = (tool for offer in offers for tool in or_none(decode_tools, offer) or [])
        return declared_tools([tool.name for tool in tools])

    def _labels(self) -> dict[str, Any]:
        scores = self._sample.scores if isinstance(self._sample.scores, dict) else {}
        told = {
            name: {"value": cut_arguments(score.get("value")), "origin": "verifier"}
            for name, score in scores.items()
            if isinstance(score, dict)
        }
        return {"scores": told} if told else {}

    def _attached(self, text: str) -> str:
        """The text that stands in the sample's attachments instead of here."""
        if not text.startswith(_ATTACHED):
            return text
        if self._texts is None:
            self._texts = or_none(decode_object, self._sample.attachments) or {}
        found = self._texts.get(text.removeprefix(_ATTACHED))
        return found if isinstance(found, str) else text

    def _tell_events(self) -> None:
        """Every event in order of time; what ends is told when it ended."""
        self._spans = {
            event.id: Span(event.type, event.name, event.parent_id)
            for event, _ in self._events
            if event.event == "span_begin" and type(event.id) is str
        }
        self._happened = []
        agents = {
            span.name for span in self._spans.values() if span.type == "agent" and type(span.name) is str
        }
        self._has_several_agents = len(agents) > 1
        steps: list[Any] = []
        instant = 0
        tools = ToolSpans(self._spans)
        for order, (event, within) in enumerate(self._events):
            if event.event == "step":
                (steps.append(event.type) if event.action == "begin" else steps and steps.pop())
            if event.event not in _TOLD:
                continue
            instant = local_instant(event.timestamp) or instant
            by_verifier = "scorer" in steps or self._is_in(event.span_id, "scorer")
            place = tools.of_tool(event) if event.event == "tool" else within or self._tool_of(event)
            self._note(event, instant, order, place, by_verifier)
        for happened in sorted(self._happened, key=lambda one: one[:2]):
            self._story.at(happened.instant)
            happened.tell()

    def _note(self, event: Event, instant: int, order: int, place: Any, by_verifier: bool) -> None:
        """What the event tells, and when; `place` is the tool that it belongs to."""
        if event.event == "model":
            self._at(instant, order, partial(self._tell_model, event, str(order), by_verifier))
        elif event.event == "tool":
            call_id = text_or_none(event.id) or f"call {order}"
            self._at(instant, order, partial(self._tell_tool, event, call_id, by_verifier))
            if event.pending is not True and not by_verifier:
                ended = max(local_instant(event.completed) or instant, instant)
                self._at(ended, order, partial(self._tell_tool_end, event, call_id, place, ended - instant))
        elif event.event == "sandbox" and event.action in _SANDBOX:
            code = or_none(msgspec.json.decode, event.result)
            if event.action == "exec" and place is not None:
                self._exit_codes.setdefault(place, []).append(code)
            self._at(instant, order, partial(self._tell_sandbox, event, code, str(order), place, by_verifier))
        elif event.event == "approval":
            self._at(instant, order, partial(self._tell_approval, event, str(order)))
        elif event.event == "sample_limit":
            self._limit_told = True
            self._at(instant, order, partial(self._tell_limit, event.type, event.limit, event.message))

    def _at(self, instant: int, order: int, tell: Callable[[], None]) -> None:
        self._happened.append(_Happened(instant, order, tell))

    def _is_in(self, span_id: Any, span_type: str) -> bool:
        return any(span.type == span_type for _, span in self._enclosing(span_id))

    def _tool_of(self, event: Event) -> Any:
        """The nearest tool around an event."""
        return next((key for key, span in self._enclosing(event.span_id) if span.type == "tool"), None)

    def _enclosing(self, span_id: Any) -> Iterator[tuple[Any, Span]]:
        for _ in range(DEPTH_LIMIT):
            span = self._spans.get(span_id) if type(span_id) is str else None
            if span is None:
                return
            yield span_id, span
            span_id = span.parent

    def _agent_of(self, event: Event) -> str | None:
        """Who acts, where several agents do: the nearest one around an event."""
        if not self._has_several_agents:
            return None
        around = (span.name for _, span in self._enclosing(event.span_id) if span.type == "agent")
        return next((name for name in around if type(name) is str), None)

    def _tell_model(self, event: Event, key: str, by_verifier: bool) -> None:
        output = or_none(decode_output, event.output) or Output()
        model = text_or_none(event.model)
        if event.pending is True or (event.error and not isinstance(output.usage, dict)):
            error = text_or_none(event.error) or "no answer is recorded"
            failure = {"model": model, "error": cut(error, TEXT_LIMIT)}
            self._story.tell("run.api_error", failure, key, actor="system", severity="warn")
            return
        from_cache = event.cache == "read"
        used = Usage(fresh=0, output=0, cost=0.0) if from_cache else usage_of(output.usage, model)
        more: dict[str, Any] = {
            "duration_ms": milliseconds_of(event.working_time, output.time),
            "retries": count_of(event.retries) or None,
            "role": text_or_none(event.role),
            "from_cache": True if from_cache else None,
        }
        if by_verifier:
            payload: dict[str, Any] = {"model": model, **counters_of(used), **more}
            self._story.tell("verifier.llm_call", payload, key, summary=model or "", actor="system")
            return
        choice = output.choices[0] if output.choices else Choice()
        agent = self._agent_of(event)
        more |= {"finish_reason": finish_reason_of(choice.stop_reason), "agent": agent}
        self._story.model_call(key, model, used, **more)
        if choice.message is not None:
            self._story.said(False, self._attached(text_of(choice.message.content)), key, agent=agent)

    def _tell_tool(self, event: Event, call_id: str, by_verifier: bool) -> None:
        tool = text_or_none(event.function) or "tool"
        if by_verifier:
            payload = {"command": tool, "call_id": call_id, "arguments": cut_arguments(event.arguments)}
            self._story.tell("verifier.command", payload, call_id, summary=tool, actor="system")
            return
        agent = self._agent_of(event)
        self._story.begin(call_id, tool, arguments_told(tool, event.arguments), agent=agent)
        if to := text_or_none(event.agent):
            payload = {"agent": agent or self._evaluation.agent, "to": to}
            self._story.tell("run.sub_agent", payload, call_id, summary=to)

    def _tell_tool_end(self, event: Event, call_id: str, place: Any, nanoseconds: int) -> None:
        error = event.error if isinstance(event.error, dict) else None
        if error and error.get("type") == "approval":
            self._tell_refusal(call_id, text_or_none(event.function) or "tool", error)
            return
        codes = self._exit_codes.get(place, []) if event.function in _ONE_COMMAND else []
        code = codes[0] if len(codes) == 1 and type(codes[0]) is int else None
        result = or_none(msgspec.json.decode, event.result)
        self._end(call_id, error, code, nanoseconds // 1_000_000, output_text(result))

    def _end(
        self,
        call_id: str,
        error: dict[str, Any] | None,
        code: int | None,
        milliseconds: int | None,
        output: str | None,
    ) -> None:
        """The end of a call; one that failed may have answered with nothing but its error."""
        output = None if output is None else self._attached(output)
        words = None
        if error is not None:
            words = self._attached(text_or_none(error.get("message")) or str(error.get("type") or ""))
            code = code or None  # a tool that failed is no success because its command worked
        output = output or words or output
        self._story.end(call_id, exit_code=code, error=words, output=output, duration_ms=milliseconds)

    def _tell_refusal(self, call_id: str, tool: str, error: dict[str, Any]) -> None:
        if call_id in self._refused:
            return
        self._refused.add(call_id)
        payload = {
            "credential_id": tool,
            "decision": "deny",
            "call_id": call_id,
            "reason": text_or_none(error.get("message")),
        }
        about = {"summary": f"{tool} was refused", "actor": "keeper", "severity": "warn"}
        self._story.tell("keeper.decision", payload, call_id, **about)

    def _tell_approval(self, event: Event, key: str) -> None:
        call = or_none(decode_object, event.call) or {}
        call_id, tool = text_or_none(call.get("id")), text_or_none(call.get("function")) or "tool"
        payload = {
            "credential_id": tool,
            "call_id": call_id,
            "approver": text_or_none(event.approver),
            "reason": text_or_none(event.explanation),
        }
        if event.decision in _ALLOWED:
            payload["decision"] = "allow"
            self._story.tell("keeper.decision", payload, key, summary=f"{tool} was allowed", actor="keeper")
        elif event.decision in _DENIED:
            self._refused.add(call_id or "")
            payload["decision"] = "deny"
            about = {"summary": f"{tool} was refused", "actor": "keeper", "severity": "warn"}
            self._story.tell("keeper.decision", payload, key, **about)
        else:
            self._story.tell("approval.escalated", payload, key, summary=tool, actor="keeper")

    def _tell_sandbox(self, event: Event, code: Any, key: str, place: Any, by_verifier: bool) -> None:
        """A command of the solver's own is a step; those of a tool are how that tool works."""
        command = text_or_none(event.cmd)
        exit_code = code if type(code) is int else None
        of_solver = place is None and not by_verifier and not self._is_in(event.span_id, "init")
        if event.action == "exec" and command and of_solver:
            call_id = f"sandbox {key}"
            self._story.begin(call_id, "shell", {"command": command})
            output = or_none(msgspec.json.decode, event.output)
            told = self._attached(output) if isinstance(output, str) else None
            self._story.end(call_id, exit_code=exit_code, output=told)
            return
        payload = {
            "cmd": [cut(command, TEXT_LIMIT)] if command else None,
            "file": text_or_none(event.file),
            "exit_code": exit_code,
        }
        self._story.tell(f"sandbox.{event.action}", payload, key, summary=command or "", actor="system")

    def _tell_limit(self, kind: Any, limit: Any, message: Any) -> None:
        payload = {
            "limit_kind": text_or_none(kind),
            "limit": limit if type(limit) in (int, float) else None,
            "reason": text_or_none(message),
        }
        about = {"summary": f"the limit of {kind} was reached", "actor": "system", "severity": "warn"}
        self._story.tell("budget.exceeded", payload, "limit", **about)

    def _tell_messages(self) -> None:
        """A log without events: the conversation, a minute a message."""
        messages = or_none(decode_messages, self._sample.messages) or []
        started: set[str] = set()
        for index, message in enumerate(messages):
            self._story.at((index + 2) * MINUTE)
            text = self._attached(text_of(message.content))
            if message.role == "assistant":
                self._story.model_call(str(index), message.model or self._evaluation.model)
            if message.role in ("assistant", "user"):
                self._story.said(message.role == "user", text, str(index))
            for number, call in enumerate(calls_of(message)):
                call_id = text_or_none(call.get("id")) or f"call {index}.{number}"
                started.add(call_id)
                tool = text_or_none(call.get("function")) or "tool"
                self._story.begin(call_id, tool, arguments_told(tool, call.get("arguments")))
            if message.role == "tool":
                self._tell_result(message, f"call {index}", started)

    def _tell_result(self, message: Message, key: str, started: set[str]) -> None:
        call_id = text_or_none(message.tool_call_id) or key
        tool = text_or_none(message.function) or "tool"
        if call_id not in started:
            self._story.begin(call_id, tool)
        started.discard(call_id)
        error = message.error if isinstance(message.error, dict) else None
        if error and error.get("type") == "approval":
            self._tell_refusal(call_id, tool, error)
        else:
            self._end(call_id, error, None, None, output_text(message.content))

    def _tell_end(self) -> None:
        """The harness's word where it stopped the sample, and that of the first scorer."""
        limit = self._sample.limit if isinstance(self._sample.limit, dict) else None
        error = self._sample.error if isinstance(self._sample.error, dict) else None
        if limit and not self._limit_told:
            self._tell_limit(limit.get("type"), limit.get("limit"), None)
        if error:
            payload = {"error": cut(text_or_none(error.get("message")) or "the sample failed", TEXT_LIMIT)}
            self._story.tell("run.failed", payload, "error", actor="system", severity="error")
        output = or_none(decode_output, self._sample.output)
        choice = output.choices[0] if output and output.choices else Choice()
        if choice.message is not None:
            self._story.concluded(self._attached(text_of(choice.message.content)))
        reward = reward_of(self._sample.scores)
        finished = choice.stop_reason == "stop" if reward is None and not error and not limit else False
        if error or limit or reward is not None or finished:
            solved = finished or (reward is not None and reward >= _SOLVED)
            self._story.goal("completed" if solved else "failed")
        if error:
            self._story.outcome("failed", "harness")
        elif limit:
            kind = limit.get("type")
            self._story.outcome(
                _LIMITS.get(kind, "limit_reached") if isinstance(kind, str) else "limit_reached", "harness"
            )
        if reward is not None:
            self._story.outcome("succeeded" if reward >= _SOLVED else "failed", "verifier", reward)
        elif finished:
            self._story.outcome("succeeded", "agent")
