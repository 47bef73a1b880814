"""Trae Agent trajectories: one file, one mission, rewritten while the agent works.

Model calls are the recorded interactions; commands are what the steps did. `task_done` is the agent's
word that it is finished, not a tool. What the harness beside it found stands in files of its own.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._documents import element_names, members_by_name, read_object, records_of
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    cut,
    declared_tools,
    finish_reason_of,
    output_text,
)
from quartermaster.adapters._story import Story, Usage, count_of, fresh_of, local_instant, title_of
from quartermaster.core.journal import minted_id

_INCLUSIVE: Final = frozenset({"openai", "azure", "openrouter", "doubao", "ollama", "google"})
"""Providers whose input counter includes what the cache gave; that of the others does not."""
_FINISHED: Final = "task_done"
_FOLDER: Final = re.compile(r"(?:/[\w.@+-]+){2,}")


class _Call(msgspec.Struct, gc=False):
    call_id: Any = None
    name: Any = None
    arguments: Any = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Any = None
    output_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_read_input_tokens: Any = None
    reasoning_tokens: Any = None


class _Response(msgspec.Struct, gc=False):
    content: Any = None
    model: Any = None
    finish_reason: Any = None
    usage: _Usage | None = None
    tool_calls: list[_Call] | None = None


class _Interaction(msgspec.Struct, gc=False):
    timestamp: Any = None
    provider: Any = None
    model: Any = None
    response: _Response | None = None
    tools_available: Any = None


class _Result(msgspec.Struct, gc=False):
    call_id: Any = None
    success: Any = None
    result: Any = None
    error: Any = None


class _Step(msgspec.Struct, gc=False):
    timestamp: Any = None
    tool_calls: list[_Call] | None = None
    tool_results: list[_Result] | None = None
    error: Any = None


class _Document(msgspec.Struct, gc=False):
    task: Any = None
    start_time: Any = None
    end_time: Any = None
    provider: Any = None
    model: Any = None
    max_steps: Any = None
    llm_interactions: list[_Interaction] = []
    agent_steps: list[_Step] = []
    success: Any = None
    final_result: Any = None


_decoder = msgspec.json.Decoder(_Document)
_lists: Final = {
    "llm_interactions": msgspec.json.Decoder(_Interaction).decode,
    "agent_steps": msgspec.json.Decoder(_Step).decode,
}


class TraeAgent:
    """Files of `trae-cli`'s trajectory recorder."""

    name = "trae_agent"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with interactions and steps, or its beginning: a task, its start and interactions."""
        members = members_by_name(head)
        if {b"agent_steps", b"llm_interactions"} <= members.keys():
            return True
        if not {b"task", b"start_time", b"llm_interactions"} <= members.keys():
            return False
        names = list(element_names(head, members[b"llm_interactions"], 1))
        return not names or b"input_messages" in names[0] or b"timestamp" in names[0]

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the run; a malformed step or interaction costs itself."""
        read, rejected = read_object(document, _decoder, _lists)
        entries = [] if read is None else _Run(read).entries()
        return records_of(document, entries, rejected, "the run has no task or no time of its start")


class _Run:
    """The entries of one run."""

    def __init__(self, document: _Document) -> None:
        self._document = document
        self._began = local_instant(document.start_time)
        task = document.task if isinstance(document.task, str) else ""
        start = document.start_time if isinstance(document.start_time, str) else ""
        key = minted_id("trae_agent", task, start)[2:]
        self._story = Story(Mission("trae_agent", f"trae_{key}"))
        self._calls = 0

    def entries(self) -> list[bytes]:
        if self._began is None or not isinstance(self._document.task, str):
            return []
        story = self._story
        story.at(self._began)
        story.created(self._facts())
        story.said(True, self._document.task, "task")
        moments: list[_Interaction | _Step] = [*self._document.llm_interactions, *self._document.agent_steps]
        for moment in sorted(moments, key=lambda one: _time(one.timestamp)):
            story.at(_time(moment.timestamp))
            if isinstance(moment, _Interaction):
                self._tell_interaction(moment)
            else:
                self._tell_step(moment)
        self._tell_end()
        return story.entries

    def _facts(self) -> dict[str, Any]:
        document = self._document
        model = _text(document.model)
        provider = _text(document.provider)
        max_steps = count_of(document.max_steps)
        labels = {"provider": provider, "max_steps": max_steps}
        return {
            "title": title_of(document.task),
            "goal": cut(document.task, TEXT_LIMIT),
            "tools": declared_tools(*(one.tools_available for one in document.llm_interactions)),
            "task": "trae_agent/" + minted_id("task", _without_root(document.task))[2:],
            "agent": "trae-agent",
            "model": model,
            "labels": {name: value for name, value in labels.items() if value is not None} or None,
            "clock": "local",
        }

    def _tell_interaction(self, interaction: _Interaction) -> None:
        self._calls += 1
        key = str(self._calls)
        response = interaction.response or _Response()
        provider = _text(interaction.provider) or _text(self._document.provider)
        model = _text(response.model) or _text(interaction.model)
        more: dict[str, Any] = {
            "provider": provider,
            "finish_reason": finish_reason_of(response.finish_reason),
        }
        self._story.model_call(key, model, _usage_of(response.usage, provider), **more)
        self._story.said(False, response.content, key)
        for call in response.tool_calls or ():
            self._begin(call)

    def _begin(self, call: _Call) -> None:
        if not _text(call.call_id) or not _text(call.name) or call.name == _FINISHED:
            return
        self._story.begin(call.call_id, call.name, call.arguments)

    def _tell_step(self, step: _Step) -> None:
        for call in step.tool_calls or ():
            if isinstance(call.call_id, str) and not self._story.is_open(call.call_id):
                self._begin(call)
        for result in step.tool_results or ():
            if isinstance(result.call_id, str):
                self._tell_result(result)
        error = _text(step.error)
        if error:
            told = {"error": cut(error, TEXT_LIMIT)}
            self._story.tell("run.failed", told, summary=error, actor="system", severity="error")

    def _tell_result(self, result: _Result) -> None:
        """The end of a call; one that failed may have answered with nothing but its error."""
        error = (_text(result.error) or "") if result.success is False else None
        output = output_text(result.result)
        self._story.end(result.call_id, error=error, output=output or error if error else output)

    def _tell_end(self) -> None:
        """A run that was killed has no end; one that says neither success nor failure has none either."""
        document = self._document
        ended = local_instant(document.end_time)
        if ended is None or type(document.success) is not bool:
            return
        self._story.at(ended)
        if document.success:
            self._story.concluded(document.final_result)
            self._story.goal("completed", document.final_result)
            self._story.outcome("succeeded", "agent")
            return
        steps = len(document.agent_steps)
        limit = count_of(document.max_steps)
        died = any(_text(step.error) for step in document.agent_steps[-1:])
        self._story.goal("failed", document.final_result)
        spent = limit is not None and steps >= limit and not died
        self._story.outcome("limit_reached" if spent else "failed", "agent")


def _usage_of(usage: _Usage | None, provider: str | None) -> Usage:
    if usage is None:
        return Usage()
    read = count_of(usage.cache_read_input_tokens)
    inclusive = provider is not None and provider.lower() in _INCLUSIVE
    return Usage(
        fresh=fresh_of(usage.input_tokens, read if inclusive else None),
        output=count_of(usage.output_tokens),
        cache_read=read,
        cache_write=count_of(usage.cache_creation_input_tokens),
        reasoning=count_of(usage.reasoning_tokens),
    )


def _without_root(task: str) -> str:
    """The task without the folder it was given in, which differs from run to run: the first one it names."""
    found = _FOLDER.search(task)
    return task.replace(found[0].rstrip("."), "<root>") if found else task


def _time(text: Any) -> int:
    return local_instant(text) or 0


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


ADAPTER: Final[DocumentAdapter] = TraeAgent()
