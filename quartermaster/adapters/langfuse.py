"""Langfuse traces: one trace a document, as exported with its observations or as the API answers it.

Generations are model calls; agents repeat the usage of what is inside of them and are none. Frameworks
that know no type for tools write them as spans: what they say of themselves decides.
"""

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
    cut_arguments,
    declared_tools,
    finish_reason_of,
)
from quartermaster.adapters._json import members, value_end
from quartermaster.adapters._lines import is_id, text_or_none
from quartermaster.adapters._run_tree import (
    Run,
    RunTree,
    answered_in,
    asked_in,
    decoded_twice,
    said_in,
    stopped_in,
)
from quartermaster.adapters._story import (
    Story,
    Usage,
    arguments_of,
    cost_of,
    count_of,
    fresh_of,
    local_instant,
    title_of,
)
from quartermaster.core.journal import minted_id

_CACHE_READ: Final = (
    "input_cache_read", "prompt_details.cache_read", "input_cached_tokens", "cache_read_input_tokens",
)  # fmt: skip
_CACHE_WRITE: Final = ("input_cache_creation", "cache_creation_input_tokens", "input_cache_write")
_REASONING: Final = (
    "output_reasoning", "completion_details.reasoning", "output_reasoning_tokens", "reasoning_tokens",
)  # fmt: skip
_TOOL_NAMES: Final = ("gen_ai.tool.name", "tool.name", "ai.toolCall.name")
_FINISH_REASONS: Final = (
    "gen_ai.response.finish_reasons", "ai.response.finishReason", "gen_ai.completion.0.finish_reason",
)  # fmt: skip
_TOOL_PREFIX: Final = re.compile(r"(?:execute_tool|running tool:) ")
_RANDOM: Final = re.compile(r" ?\[?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\]?")
_ORIGINS: Final = {"EVAL": "judge", "ANNOTATION": "human", "API": "api"}


class _Observation(msgspec.Struct, rename="camel", gc=False):
    id: Any = None
    parent_observation_id: Any = None
    type: Any = None
    name: Any = None
    start_time: Any = None
    end_time: Any = None
    level: Any = None
    status_message: Any = None
    model: Any = None
    usage_details: Any = None
    cost_details: Any = None
    total_cost: Any = None
    calculated_total_cost: Any = None
    usage: Any = None
    input: Any = None
    output: Any = None
    metadata: Any = None
    model_parameters: Any = None
    tool_definitions: Any = None


class _Trace(msgspec.Struct, rename="camel", gc=False):
    id: Any = None
    name: Any = None
    timestamp: Any = None
    input: Any = None
    output: Any = None
    session_id: Any = None
    release: Any = None
    version: Any = None
    tags: Any = None
    scores: Any = None


class _Document(_Trace, gc=False):
    trace: _Trace | None = None
    observations: list[_Observation] = []


_decoder = msgspec.json.Decoder(_Document)
_lists: Final = {"observations": msgspec.json.Decoder(_Observation).decode}


class Langfuse:
    """Traces with their observations."""

    name = "langfuse"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A trace beside its observations, or a trace that holds them."""
        found = members_by_name(head)
        if b"trace" in found and head[found[b"trace"] : found[b"trace"] + 1] == b"{":
            names = {member.name for member in members(head, found[b"trace"])}
            cut_off = value_end(head, found[b"trace"]) is None
            return {b"id", b"timestamp"} <= names and (b"observations" in found or (cut_off and not whole))
        if not {b"id", b"timestamp", b"observations"} <= found.keys():
            return False
        return any(
            {b"traceId", b"startTime"} <= names for names in element_names(head, found[b"observations"])
        )

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the trace; a malformed observation costs itself."""
        read, rejected = read_object(document, _decoder, _lists)
        trace = _trace_of(read)
        if read is not None and trace is not None:
            for entry in _entries_of(trace, read.observations):
                yield Record(entry, 0, len(document))
        yield from rejected
        if read is not None and trace is None and not rejected:
            yield RejectedLine(0, len(document), "the trace has no id")


def _trace_of(document: _Document | None) -> _Trace | None:
    """The trace of a document. One that is cut off or damaged comes as a plain object."""
    if document is None:
        return None
    trace = document.trace
    if isinstance(trace, dict):
        fields = zip(_Trace.__struct_encode_fields__, _Trace.__struct_fields__, strict=True)
        trace = _Trace(**{name: trace[key] for key, name in fields if key in trace})
    if trace is None:
        trace = document
    return trace if isinstance(trace, _Trace) and is_id(trace.id) else None


def _entries_of(trace: _Trace, observations: list[_Observation]) -> list[bytes]:
    tree = RunTree(_run(one) for one in observations if is_id(one.id))
    story = Story(Mission("langfuse", _mission_id(trace)))
    began = tree.began()
    story.at(began if began is not None else local_instant(trace.timestamp) or 0)
    asked = _asked(trace, observations)
    story.created(_facts(trace, tree, observations, asked))
    story.said(True, asked, "asked")
    tree.tell(story)
    tree.tell_end(story, said_in(trace.output))
    return story.entries


def _mission_id(trace: _Trace) -> str:
    """Not the trace's id alone: the same trace may also be known by the spans that it came from."""
    if len(trace.id) <= 256:
        return f"langfuse_{trace.id}"
    return "langfuse_" + minted_id("langfuse", trace.id)[2:]


def _asked(trace: _Trace, observations: list[_Observation]) -> str | None:
    """What the trace was asked, or the first model call where the trace does not say."""
    calls = (one for one in _in_time(observations) if one.type == "GENERATION")
    return asked_in(trace.input) or next((text for one in calls if (text := asked_in(one.input))), None)


def _in_time(observations: list[_Observation]) -> list[_Observation]:
    return sorted(observations, key=lambda one: local_instant(one.start_time) or 0)


def _facts(
    trace: _Trace, tree: RunTree, observations: list[_Observation], asked: str | None
) -> dict[str, Any]:
    name = text_or_none(trace.name)
    return {
        "title": title_of(asked) or name,
        "goal": cut(asked, TEXT_LIMIT) if asked else None,
        "tools": _tools(observations),
        "agent": _agent(observations) or _steady(name),
        "model": tree.model(),
        "version": text_or_none(trace.release) or text_or_none(trace.version),
        "labels": _labels(trace) or None,
    }


def _agent(observations: list[_Observation]) -> str | None:
    """The first agent by name; a name may carry an id that changes from run to run."""
    for one in _in_time(observations):
        named = text_or_none(_attributes(one).get("gen_ai.agent.name"))
        steady = _steady(named or (text_or_none(one.name) if one.type == "AGENT" else None))
        if steady:
            return steady
    return None


def _steady(name: str | None) -> str | None:
    return _RANDOM.sub("", name).strip() or None if name else None


def _labels(trace: _Trace) -> dict[str, Any]:
    tags = [tag for tag in trace.tags if type(tag) is str] if isinstance(trace.tags, list) else []
    scores = [one for one in trace.scores if isinstance(one, dict)] if isinstance(trace.scores, list) else []
    labels = {
        "session": text_or_none(trace.session_id),
        "tags": tags or None,
        "scores": {one["name"]: _score(one) for one in scores if text_or_none(one.get("name"))} or None,
    }
    return {name: value for name, value in labels.items() if value}


def _score(score: dict[str, Any]) -> dict[str, Any]:
    value = score.get("stringValue") or score.get("value")
    source = score.get("source")
    origin = _ORIGINS.get(source, "unknown") if isinstance(source, str) else "unknown"
    return {"value": cut_arguments(value), "origin": origin}


def _run(one: _Observation) -> Run:
    error = (text_or_none(one.status_message) or "") if one.level == "ERROR" else None
    began, ended = local_instant(one.start_time), local_instant(one.end_time)
    parent = text_or_none(one.parent_observation_id)
    name = text_or_none(one.name) or "unnamed"
    known: dict[str, Any] = {"id": one.id, "parent": parent, "began": began, "ended": ended, "error": error}
    if one.type == "GENERATION":
        usage, total = _usage(one)
        answer = decoded_twice(one.output)
        more = {"total_tokens": total, "finish_reason": _finish_reason(one, answer)}
        model = text_or_none(one.model)
        return Run(
            kind="model", name=name, model=model, usage=usage, said=said_in(answer), more=more, **known
        )
    attributes = _attributes(one)
    tool = _tool(one, name, attributes)
    if tool:
        arguments, output = decoded_twice(one.input), answered_in(one.output)
        return Run(kind="tool", name=tool, arguments=arguments, output=output, **known)
    return Run(kind="other", name=name, agent=_agent_that_is(one, parent, attributes), **known)


def _agent_that_is(one: _Observation, parent: str | None, attributes: dict[str, Any]) -> str | None:
    """The agent that an observation is; a trace's root may only be called one."""
    named = text_or_none(attributes.get("gen_ai.agent.name"))
    return _steady(named or (text_or_none(one.name) if one.type == "AGENT" and parent else None))


def _finish_reason(one: _Observation, answer: Any) -> str | None:
    reason = stopped_in(answer) if isinstance(answer, dict | list) else None
    if reason is not None:
        return reason
    attributes = _attributes(one)
    told = (finish_reason_of(arguments_of(attributes.get(name))) for name in _FINISH_REASONS)
    return next((reason for reason in told if reason), None)


def _tools(observations: list[_Observation]) -> list[str] | None:
    """The tools that were offered to models."""
    offered: list[Any] = []
    for one in observations:
        parameters = one.model_parameters if isinstance(one.model_parameters, dict) else {}
        offered += [decoded_twice(told) for told in (one.tool_definitions, parameters.get("tools")) if told]
    return declared_tools(*offered)


def _tool(one: _Observation, name: str, attributes: dict[str, Any]) -> str | None:
    """The name of a tool, where the observation is one."""
    named = next((attributes[key] for key in _TOOL_NAMES if text_or_none(attributes.get(key))), None)
    if one.type == "TOOL":
        return named or _TOOL_PREFIX.sub("", name)
    if one.type != "SPAN":
        return None
    of_tool = attributes.get("openinference.span.kind") == "TOOL"
    of_tool = of_tool or attributes.get("gen_ai.operation.name") == "execute_tool"
    # the node of LangGraph that runs tools is called so; each tool is a span of its own inside of it
    of_tool = of_tool or (attributes.get("langgraph_node") == "tools" and name != "tools")
    return (named or _TOOL_PREFIX.sub("", name)) if of_tool else None


def _attributes(one: _Observation) -> dict[str, Any]:
    """What the instrumentation said: attributes inside of the metadata, or the metadata itself."""
    metadata = decoded_twice(one.metadata)
    if not isinstance(metadata, dict):
        return {}
    attributes = decoded_twice(metadata.get("attributes"))
    return attributes if isinstance(attributes, dict) else metadata


def _usage(one: _Observation) -> tuple[Usage, int | None]:
    """Counters that do not overlap, and the total where it counts more than they do."""
    details = one.usage_details if isinstance(one.usage_details, dict) and one.usage_details else one.usage
    counters = details if isinstance(details, dict) else {}
    sent, received = count_of(counters.get("input")), count_of(counters.get("output"))
    read, write = _first(counters, _CACHE_READ), _first(counters, _CACHE_WRITE)
    total = count_of(counters.get("total"))
    apart = total is not None and total == (sent or 0) + (received or 0) + (read or 0) + (write or 0)
    costs = one.cost_details if isinstance(one.cost_details, dict) else {}
    usage = Usage(
        fresh=sent if apart else fresh_of(sent, read, write),
        output=received,
        cache_read=read,
        cache_write=write,
        reasoning=_first(counters, _REASONING),
        cost=cost_of(one.total_cost) or cost_of(costs.get("total")) or cost_of(one.calculated_total_cost),
    )
    parts = (usage.fresh, usage.output, usage.cache_read, usage.cache_write)
    return usage, total if total is not None and total > sum(part or 0 for part in parts) else None


def _first(counters: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((count for name in names if (count := count_of(counters.get(name))) is not None), None)


ADAPTER: Final[DocumentAdapter] = Langfuse()
