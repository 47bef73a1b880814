"""Runs of LangSmith as its documentation describes them: one mission a trace.

Runs come as a list, as the answer of a query (`runs`), or one a line. Chains repeat the tokens and the
cost of what is inside of them; only the innermost run of a model counts.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import (
    each_of_list,
    element_names,
    members_by_name,
    or_none,
    read_object,
)
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, cut_arguments, declared_tools
from quartermaster.adapters._lines import is_id, read_objects, text_or_none
from quartermaster.adapters._run_tree import Run, RunTree, answered_in, asked_in, said_in, stopped_in
from quartermaster.adapters._story import Story, Usage, cost_of, count_of, fresh_of, local_instant, title_of
from quartermaster.core.journal import minted_id

_MODEL_TYPES: Final = ("llm", "chat_model")
_DEPTH_LIMIT: Final = 32
_LATEST_MILLISECOND: Final = 10**13


class _Run(msgspec.Struct, gc=False):
    id: Any = None
    trace_id: Any = None
    parent_run_id: Any = None
    name: Any = None
    run_type: Any = None
    start_time: Any = None
    end_time: Any = None
    status: Any = None
    error: Any = None
    inputs: Any = None
    outputs: Any = None
    extra: Any = None
    tags: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    total_tokens: Any = None
    prompt_token_details: Any = None
    completion_token_details: Any = None
    total_cost: Any = None
    feedback_stats: Any = None
    reference_example_id: Any = None
    child_runs: msgspec.Raw = msgspec.Raw(b"null")


class _Answer(msgspec.Struct, gc=False):
    runs: list[_Run] = []


_decode_run = msgspec.json.Decoder(_Run).decode
_decode_runs = msgspec.json.Decoder(list[_Run]).decode
_answer_decoder = msgspec.json.Decoder(_Answer)


class Langsmith:
    """Runs exported from LangSmith."""

    name = "langsmith"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Runs that say of which type they are and of which trace."""
        start = json.start_of(head)
        found = members_by_name(head)
        if _is_run(set(found)):
            return True
        array = found.get(b"runs", start)
        return any(_is_run(names) for names in element_names(head, array))

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each trace; a malformed run costs itself."""
        runs: list[_Run] = []
        for run in _runs_of(document):
            if isinstance(run, RejectedLine):
                yield run
            else:
                runs.extend(_with_children(run, 0))
        for trace_id, of_trace in _by_trace(runs).items():
            for entry in _entries_of(trace_id, of_trace):
                yield Record(entry, 0, len(document))


def _is_run(names: set[bytes]) -> bool:
    return {b"id", b"run_type"} <= names and bool(names & {b"trace_id", b"dotted_order"})


def _runs_of(document: bytes) -> Iterator[_Run | RejectedLine]:
    start = json.start_of(document)
    if document[start : start + 1] != b"{":
        for element in each_of_list(document, _decode_run):
            yield element if isinstance(element, RejectedLine) else element[0]
        return
    if b"run_type" not in members_by_name(document):
        answer, rejected = read_object(document, _answer_decoder, {"runs": _decode_run})
        yield from answer.runs if answer else ()
        yield from rejected
        return
    whole = or_none(_decode_run, memoryview(document)[start:])
    if whole is not None:
        yield whole
        return
    offset = 0
    for line in document.split(b"\n"):
        for read in read_objects(line, offset, _decode_run):
            yield read if isinstance(read, RejectedLine) else read.value
        offset += len(line) + 1


def _with_children(run: _Run, depth: int) -> Iterator[_Run]:
    """A run, and those that it holds instead of naming them."""
    yield run
    if depth >= _DEPTH_LIMIT or bytes(run.child_runs) == b"null":
        return
    for child in or_none(_decode_runs, run.child_runs) or []:
        child.trace_id = child.trace_id or run.trace_id
        child.parent_run_id = child.parent_run_id or run.id
        yield from _with_children(child, depth + 1)


def _by_trace(runs: list[_Run]) -> dict[str, list[_Run]]:
    traces: dict[str, list[_Run]] = {}
    for run in runs:
        trace_id = run.trace_id if is_id(run.trace_id) else run.id
        if is_id(run.id) and is_id(trace_id):
            traces.setdefault(trace_id, []).append(run)
    return traces


def _entries_of(trace_id: str, runs: list[_Run]) -> list[bytes]:
    tree = RunTree(_told(run) for run in runs)
    story = Story(Mission("langsmith", _mission_id(trace_id)))
    story.at(tree.began() or 0)
    root = next((run for run in runs if run.id == trace_id or run.parent_run_id is None), None)
    asked = asked_in(root.inputs) if root else None
    story.created(_facts(root or _Run(), tree, asked) | {"tools": _tools(runs)})
    story.said(True, asked, "asked")
    tree.tell(story)
    if root is not None:
        tree.tell_end(story, said_in(root.outputs))
    return story.entries


def _mission_id(trace_id: str) -> str:
    """Not the trace's id alone: the same trace may also be known by the spans that it came from."""
    return "langsmith_" + (trace_id if len(trace_id) <= 256 else minted_id("langsmith", trace_id)[2:])


def _facts(root: _Run, tree: RunTree, asked: str | None) -> dict[str, Any]:
    example = text_or_none(root.reference_example_id)
    return {
        "title": title_of(asked) or text_or_none(root.name),
        "goal": cut(asked, TEXT_LIMIT) if asked else None,
        "task": f"langsmith/{example}" if example else None,
        "agent": text_or_none(root.name),
        "model": tree.model(),
        "version": text_or_none(_metadata(root).get("revision_id")),
        "labels": _labels(root) or None,
    }


def _labels(root: _Run) -> dict[str, Any]:
    tags = [tag for tag in root.tags if type(tag) is str] if isinstance(root.tags, list) else []
    stats = _object(root.feedback_stats)
    feedback = {
        name: {"value": cut_arguments(told.get("avg")), "origin": "feedback"}
        for name, told in stats.items()
        if isinstance(told, dict)
    }
    metadata = _metadata(root)
    labels = {
        "session": text_or_none(metadata.get("session_id")) or text_or_none(metadata.get("thread_id")),
        "tags": tags,
        "scores": feedback,
    }
    return {name: value for name, value in labels.items() if value}


def _told(run: _Run) -> Run:
    error = text_or_none(run.error)
    if error is None and run.status == "error":
        error = ""
    known: dict[str, Any] = {
        "id": run.id,
        "parent": text_or_none(run.parent_run_id),
        "name": text_or_none(run.name) or "unnamed",
        "began": _instant(run.start_time),
        "ended": _instant(run.end_time),
        "error": error,
        "agent": text_or_none(_metadata(run).get("lc_agent_name")),
    }
    if run.run_type in _MODEL_TYPES:
        answer: dict[str, Any] = {
            "said": said_in(run.outputs),
            "more": {"finish_reason": stopped_in(run.outputs)},
        }
        return Run(kind="model", model=_model(run), usage=_usage(run), **answer, **known)
    if run.run_type == "tool":
        return Run(kind="tool", arguments=run.inputs, output=_tool_output(run.outputs), **known)
    return Run(kind="other", **known)


def _tool_output(outputs: Any) -> str | None:
    """What a tool answered, which runs carry as their one `output`."""
    alone = isinstance(outputs, dict) and outputs.keys() == {"output"}
    return answered_in(outputs["output"] if alone else outputs)


def _tools(runs: list[_Run]) -> list[str] | None:
    """The tools that were offered to models."""
    offered = (_object(_object(run.extra).get("invocation_params")).get("tools") for run in runs)
    return declared_tools(*offered)


def _instant(value: Any) -> int | None:
    """A time as the API writes it, or milliseconds since 1970 as its clients do."""
    if type(value) is int and 0 <= value < _LATEST_MILLISECOND:
        return value * 1_000_000
    return local_instant(value)


def _metadata(run: _Run) -> dict[str, Any]:
    return _object(_object(run.extra).get("metadata"))


def _model(run: _Run) -> str | None:
    parameters = _object(_object(run.extra).get("invocation_params"))
    names = (_metadata(run).get("ls_model_name"), parameters.get("model"), parameters.get("model_name"))
    return next((name for name in names if type(name) is str and name), None)


def _usage(run: _Run) -> Usage:
    """The run's own counters, which include what the cache gave; else those that its answer carries."""
    sent, received = count_of(run.prompt_tokens), count_of(run.completion_tokens)
    inside, outside = _object(run.prompt_token_details), _object(run.completion_token_details)
    if not sent and not received:
        carried = _object(_object(run.outputs).get("usage_metadata"))
        sent, received = count_of(carried.get("input_tokens")), count_of(carried.get("output_tokens"))
        inside = _object(carried.get("input_token_details"))
        outside = _object(carried.get("output_token_details"))
    read, write = count_of(inside.get("cache_read")), count_of(inside.get("cache_creation"))
    return Usage(
        fresh=fresh_of(sent, read, write),
        output=received,
        cache_read=read,
        cache_write=write,
        reasoning=count_of(outside.get("reasoning")),
        cost=_cost(run.total_cost),
    )


def _cost(value: Any) -> float | None:
    """Dollars, which the API writes as a text so that no digit is lost."""
    if not isinstance(value, str):
        return cost_of(value)
    try:
        return cost_of(float(value))
    except ValueError:
        return None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


ADAPTER: Final[DocumentAdapter] = Langsmith()
