"""Traces of the OpenAI Agents SDK: one mission a trace.

The SDK's own export of a model response holds its id and nothing else. Where a program added the
response as text, its model and its tokens are read from there.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import element_names, members_by_name, read_object
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    cut,
    declared_tools,
    finish_reason_of,
    output_text,
)
from quartermaster.adapters._lines import is_id, text_or_none
from quartermaster.adapters._run_tree import (
    Beside,
    Run,
    RunTree,
    asked_in,
    decoded_twice,
    said_in,
    stopped_in,
)
from quartermaster.adapters._story import Story, Usage, count_of, fresh_of, local_instant, title_of
from quartermaster.core.journal import minted_id

_RESPONSE_USAGE: Final = re.compile(
    r"usage=ResponseUsage\(input_tokens=(\d{1,12}), input_tokens_details=InputTokensDetails"
    r"\(cached_tokens=(\d{1,12})\), output_tokens=(\d{1,12}),"
    r" output_tokens_details=OutputTokensDetails\(reasoning_tokens=(\d{1,12})\)"
)
_RESPONSE_MODEL: Final = re.compile(r"model='([\w./:@-]{1,200})', object='response'")
_RESPONSE_TEXT: Final = re.compile(
    r"ResponseOutputText\(annotations=\[[^\]]{0,20000}\], text="
    r"('[^'\\]*+(?:\\.[^'\\]*+)*+'|\"[^\"\\]*+(?:\\.[^\"\\]*+)*+\")",
    re.DOTALL,
)
_RESPONSE_CUT: Final = re.compile(r"incomplete_details=IncompleteDetails\(reason='(\w{1,64})'")
_MODELS: Final = ("generation", "response", "transcription", "speech")


class _Span(msgspec.Struct, gc=False):
    object: Any = None
    id: Any = None
    trace_id: Any = None
    parent_id: Any = None
    started_at: Any = None
    ended_at: Any = None
    span_data: Any = None
    error: Any = None
    span_data_input: Any = None
    span_data_response: Any = None


class _Trace(_Span, gc=False):
    workflow_name: Any = None
    group_id: Any = None
    metadata: Any = None
    spans: list[_Span] | None = None


class _Document(msgspec.Struct, gc=False):
    traces: list[_Trace] = []
    data: list[_Trace] = []


_decoder = msgspec.json.Decoder(_Document)
_decode_trace = msgspec.json.Decoder(_Trace).decode
_lists: Final = {"traces": _decode_trace, "data": _decode_trace}


class OpenaiAgentsSdk:
    """Traces with their spans inside of them, or both side by side as the SDK sends them off."""

    name = "openai_agents_sdk"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A list of traces that name their workflow, or of such traces and spans."""
        found = members_by_name(head)
        return any(
            {b"object", b"id", b"workflow_name"} <= names or {b"object", b"trace_id", b"span_data"} <= names
            for name in (b"traces", b"data")
            if name in found
            for names in element_names(head, found[name])
        )

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each trace; a malformed one costs itself."""
        read, rejected = read_object(document, _decoder, _lists)
        if read is not None:
            for trace, spans in _traces_of([*read.traces, *read.data]):
                for entry in _entries_of(trace, spans):
                    yield Record(entry, 0, len(document))
        yield from rejected


def _traces_of(items: list[_Trace]) -> Iterator[tuple[_Trace, list[_Span]]]:
    """Each trace with its spans, those that stand beside it too."""
    traces: dict[str, _Trace] = {}
    spans: dict[str, list[_Span]] = {}
    for item in items:
        of_trace = item.object != "trace.span"
        trace_id = item.id if of_trace else item.trace_id
        if not is_id(trace_id):
            continue
        if of_trace:
            traces[trace_id] = item
        known = spans.setdefault(trace_id, [])
        known.extend((item.spans or []) if of_trace else [item])
    for trace_id, found in spans.items():
        yield traces.get(trace_id) or _Trace(id=trace_id), found


def _entries_of(trace: _Trace, spans: list[_Span]) -> list[bytes]:
    named = [span for span in spans if is_id(span.id)]
    tree = RunTree(_run(span) for span in named)
    story = Story(Mission("openai_agents_sdk", _mission_id(trace)))
    story.at(tree.began() or 0)
    in_time = sorted(named, key=lambda span: local_instant(span.started_at) or 0)
    asked = next((text for span in in_time if (text := _asked(span))), None)
    story.created(_facts(trace, tree, asked) | {"tools": _tools(in_time)})
    story.said(True, asked, "asked")
    tree.tell(story, [*_guardrails(in_time), *_handoffs(in_time)])
    tree.tell_end(story)
    return story.entries


def _mission_id(trace: _Trace) -> str:
    return str(trace.id) if len(trace.id) <= 256 else "trace_" + minted_id("openai_agents_sdk", trace.id)[2:]


def _facts(trace: _Trace, tree: RunTree, asked: str | None) -> dict[str, Any]:
    workflow, group = text_or_none(trace.workflow_name), text_or_none(trace.group_id)
    return {
        "title": title_of(asked) or workflow,
        "agent": workflow,
        "model": tree.model(),
        "labels": {"session": group} if group else None,
    }


def _asked(span: _Span) -> str | None:
    data = _data(span)
    if data.get("type") not in ("generation", "response"):
        return None
    return asked_in(span.span_data_input) or asked_in(data.get("input"))


def _run(span: _Span) -> Run:
    data = _data(span)
    kind = data.get("type")
    error = _error(span.error)
    known: dict[str, Any] = {
        "id": span.id,
        "parent": text_or_none(span.parent_id),
        "began": local_instant(span.started_at),
        "ended": local_instant(span.ended_at),
        "error": error,
    }
    name = text_or_none(data.get("name")) or (kind if isinstance(kind, str) else "unnamed")
    if kind in _MODELS:
        model, usage = _model_and_usage(span, data)
        said, more = _answer(span, data)
        return Run(kind="model", name=name, model=model, usage=usage, said=said, more=more, **known)
    if kind == "function":
        arguments, output = decoded_twice(data.get("input")), output_text(data.get("output"))
        return Run(kind="tool", name=name, arguments=arguments, output=output, **known)
    return Run(kind="other", name=name, agent=name if kind == "agent" else None, **known)


def _answer(span: _Span, data: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """What a model said and why it stopped, as far as the SDK or the program recorded it."""
    if data.get("type") == "generation":
        return said_in(data.get("output")), {"finish_reason": stopped_in(data.get("output"))}
    response = text_or_none(span.span_data_response) or ""
    cut_off = _RESPONSE_CUT.search(response)
    texts = [_unquoted(found) for found in _RESPONSE_TEXT.findall(response)]
    return "\n".join(filter(None, texts)) or None, {"finish_reason": finish_reason_of(cut_off and cut_off[1])}


def _unquoted(literal: str) -> str:
    """The text that Python wrote as a literal; nothing of one that is none."""
    try:
        return str(ast.literal_eval(literal))
    except (SyntaxError, ValueError, MemoryError):
        return ""


def _tools(spans: list[_Span]) -> list[str] | None:
    """The tools of all agents; a hand-over to another agent is none of them."""
    return declared_tools(*(_data(span).get("tools") for span in spans))


def _error(error: Any) -> str | None:
    if not isinstance(error, dict):
        return error if isinstance(error, str) and error else None
    return text_or_none(error.get("message")) or "the span failed"


def _model_and_usage(span: _Span, data: dict[str, Any]) -> tuple[str | None, Usage]:
    text = text_or_none(span.span_data_response)
    usages = list(_RESPONSE_USAGE.finditer(text)) if text else []
    if text and usages:
        model = _RESPONSE_MODEL.search(text)
        return model[1] if model else None, _usage(*(int(number) for number in usages[-1].groups()))
    counters = _object(data.get("usage"))
    return text_or_none(data.get("model")), _usage(
        counters.get("input_tokens", counters.get("prompt_tokens")),
        _object(counters.get("input_tokens_details")).get("cached_tokens"),
        counters.get("output_tokens", counters.get("completion_tokens")),
        _object(counters.get("output_tokens_details")).get("reasoning_tokens"),
    )


def _usage(sent: Any, cached: Any, received: Any, reasoning: Any) -> Usage:
    read = count_of(cached)
    return Usage(
        fresh=fresh_of(sent, read), output=count_of(received), cache_read=read, reasoning=count_of(reasoning)
    )


def _handoffs(in_time: list[_Span]) -> Iterator[Beside]:
    """Where one agent handed the task to another."""
    for span in in_time:
        data, began = _data(span), local_instant(span.started_at)
        if data.get("type") == "handoff" and began is not None:
            to = text_or_none(data.get("to_agent"))
            payload = {"agent": text_or_none(data.get("from_agent")), "to": to}
            yield Beside(began, "run.sub_agent", payload, severity="info")


def _guardrails(in_time: list[_Span]) -> Iterator[Beside]:
    """Guardrails that stopped the agent. One that began after a model had answered looked at the answer."""
    answered: int | None = None
    for span in in_time:
        data, began = _data(span), local_instant(span.started_at)
        ended = local_instant(span.ended_at)
        if data.get("type") in _MODELS and ended is not None:
            answered = min(ended, answered if answered is not None else ended)
        if data.get("type") != "guardrail" or data.get("triggered") is not True or began is None:
            continue
        direction = "output" if answered is not None and began >= answered else "input"
        payload = {
            "kind": cut(text_or_none(data.get("name")) or "guardrail", TEXT_LIMIT),
            "direction": direction,
        }
        yield Beside(max(ended or began, began), f"guardrail.{direction}_blocked", payload)


def _data(span: _Span) -> dict[str, Any]:
    return _object(span.span_data)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


ADAPTER: Final[DocumentAdapter] = OpenaiAgentsSdk()
