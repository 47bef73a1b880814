"""ATIF trajectories of Harbor: the steps of one session, or of a part of it.

A context summary starts a new file of the same session; both are one mission. Steps that were copied
into the new file are not told again, and `final_metrics`, which include the parts before and what
helpers used, are told as they are recorded and never added.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import members_by_name, read_object, records_of
from quartermaster.adapters._entries import Mission, declared_schemas, declared_tools, output_text
from quartermaster.adapters._story import (
    MINUTE,
    Story,
    Usage,
    arguments_of,
    cost_of,
    count_of,
    fresh_of,
    local_instant,
    text_of,
    title_of,
)
from quartermaster.core.journal import minted_id

_VERSION: Final = re.compile(rb'"ATIF-')
_CONTINUED: Final = re.compile(r"-cont-\d{1,6}$")
_ASKED: Final = re.compile(r"(?:Task Description|Original Task):?\**\s*(.+)")
_EXIT_CODE: Final = re.compile(
    r"\[(?:The command completed|Command finished) with exit code (-?\d{1,9})|<returncode>(-?\d{1,9})<"
)
_FAILED: Final = re.compile(r"\s*(?:\[?Error\b|ERROR\b|Traceback \(most recent)")
_FINISHES: Final = frozenset({"finish", "mark_task_complete"})
_PART_MINUTES: Final = 10**5
"""How far the steps of two parts without times are put apart."""
_TAIL: Final = 400


class _Agent(msgspec.Struct, gc=False):
    name: Any = None
    version: Any = None
    model_name: Any = None
    tool_definitions: Any = None
    extra: Any = None


class _Metrics(msgspec.Struct, gc=False):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    cached_tokens: Any = None
    cost_usd: Any = None
    total_prompt_tokens: Any = None
    total_completion_tokens: Any = None
    total_cached_tokens: Any = None
    total_cost_usd: Any = None


class _Call(msgspec.Struct, gc=False):
    tool_call_id: Any = None
    function_name: Any = None
    arguments: Any = None


class _Result(msgspec.Struct, gc=False):
    source_call_id: Any = None
    content: Any = None


class _Observation(msgspec.Struct, gc=False):
    results: list[_Result] | None = None


class _Step(msgspec.Struct, gc=False):
    step_id: Any = None
    source: Any = None
    message: Any = None
    timestamp: Any = None
    model_name: Any = None
    tool_calls: list[_Call] | None = None
    observation: _Observation | None = None
    metrics: _Metrics | None = None
    is_copied_context: Any = None
    llm_call_count: Any = None
    extra: Any = None


class _Document(msgspec.Struct, gc=False):
    schema_version: Any = None
    session_id: Any = None
    agent: Any = None
    steps: list[_Step] = []
    final_metrics: Any = None


_decoder = msgspec.json.Decoder(_Document)
_lists: Final = {"steps": msgspec.json.Decoder(_Step).decode}


class HarborAtif:
    """Documents whose schema version begins with ATIF."""

    name = "harbor_atif"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """The schema version says so."""
        members = members_by_name(head)
        begin = members.get(b"schema_version")
        return begin is not None and _VERSION.match(head, begin) is not None

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the session or its part; a malformed step costs that step."""
        read, rejected = read_object(document, _decoder, _lists)
        entries = [] if read is None else _Part(read).entries()
        return records_of(document, entries, rejected, "the trajectory has no session or no steps")


class _Part:
    """The entries of one file of a session."""

    def __init__(self, document: _Document) -> None:
        self._document = document
        self._steps = [step for step in document.steps if isinstance(step.source, str)]
        self._agent = _converted(document.agent, _Agent) or _Agent()
        extra = self._agent.extra if isinstance(self._agent.extra, dict) else {}
        self._part = count_of(extra.get("continuation_index")) or 0
        self._timed = any(local_instant(step.timestamp) is not None for step in self._steps)
        session = document.session_id if isinstance(document.session_id, str) else ""
        key = minted_id("harbor_atif", _text(self._agent.name) or "", _CONTINUED.sub("", session))[2:]
        self._story = Story(Mission("harbor_atif", f"atif_{key}"))
        self._finished = False
        self._answer: Any = None

    def entries(self) -> list[bytes]:
        if not self._steps or not isinstance(self._document.session_id, str):
            return []
        story = self._story
        self._at(0, next((step for step in self._steps if local_instant(step.timestamp)), None))
        story.created(self._facts())
        for index, step in enumerate(self._steps):
            self._at(index + 1, step)
            if step.is_copied_context is not True:
                self._tell(f"{self._part}.{_step_key(step, index)}", step)
        if self._finished:
            story.concluded(self._answer)
            story.goal("completed", self._answer)
            story.outcome("succeeded", "agent")
        self._tell_totals()
        return story.entries

    def _at(self, index: int, step: _Step | None) -> None:
        if self._timed:
            self._story.at((step and local_instant(step.timestamp)) or 0)
        else:
            self._story.at((self._part % _PART_MINUTES * _PART_MINUTES + index + 1) * MINUTE)

    def _facts(self) -> dict[str, Any]:
        asked = next((text_of(step.message) for step in self._steps if step.source == "user"), "")
        found = _ASKED.search(asked)
        version = _text(self._document.schema_version)
        return {
            "title": title_of(found[1] if found else asked),
            "agent": _text(self._agent.name),
            "model": _text(self._agent.model_name)
            or next((model for step in self._steps if (model := _text(step.model_name))), None),
            "version": _text(self._agent.version),
            "tools": declared_tools(self._agent.tool_definitions),
            "tool_schemas": declared_schemas(self._agent.tool_definitions),
            "labels": {"schema_version": version} if version else None,
            "clock": None if self._timed else "ordinal",
        }

    def _tell(self, key: str, step: _Step) -> None:
        text = text_of(step.message)
        if step.source == "user":
            self._story.said(True, text, key)
        elif step.source == "agent":
            self._tell_turn(key, step, text)
        elif isinstance(step.extra, dict) and "context_management" in step.extra:
            self._story.tell("run.compaction", {"text": text}, key, summary=text, actor="system")

    def _tell_turn(self, key: str, step: _Step, text: str) -> None:
        if step.llm_call_count != 0:
            model = _text(step.model_name) or self._agent.model_name
            self._story.model_call(key, model, _usage_of(step.metrics))
        self._story.said(False, text, key)
        self._finished = False
        for number, call in enumerate(step.tool_calls or ()):
            self._begin(f"{key}.{number}", call)
        if step.tool_calls is None:
            self._begin_written(key, text)
        results = step.observation.results if step.observation else None
        for result in results or ():
            self._end(result)
        if step.tool_calls is None and results:
            self._end_all(results)

    def _begin(self, key: str, call: _Call) -> None:
        tool = _text(call.function_name)
        if tool is None:
            return
        arguments = arguments_of(call.arguments)
        if tool in _FINISHES:
            self._finished = True
            self._answer = arguments.get("message") if isinstance(arguments, dict) else None
            return
        typed = arguments.get("keystrokes") if isinstance(arguments, dict) else None
        if isinstance(typed, str):
            tool, arguments = "terminal", {"command": typed.strip()}
        self._story.begin(_text(call.tool_call_id) or key, tool, arguments)

    def _begin_written(self, key: str, text: str) -> None:
        """Commands of an agent that writes them as JSON into its message instead of calling tools."""
        start, end = text.find("{"), text.rfind("}")
        written = (
            json.decoded_or_none(text[start : end + 1].encode("utf-8", "replace"))
            if end > start >= 0
            else None
        )
        if not isinstance(written, dict):
            return
        self._finished = written.get("task_complete") is True
        commands = written.get("commands")
        for number, command in enumerate(commands if isinstance(commands, list) else ()):
            typed = command.get("keystrokes") if isinstance(command, dict) else None
            if isinstance(typed, str) and typed.strip():
                self._story.begin(f"{key}.{number}", "terminal", {"command": typed.strip()})

    def _end(self, result: _Result) -> None:
        answered = _text(result.source_call_id)
        if answered is None or not self._story.is_open(answered):
            return
        text = output_text(result.content) or ""
        codes = _EXIT_CODE.findall(text[:_TAIL]) or _EXIT_CODE.findall(text[-_TAIL:])
        code = int(codes[-1][0] or codes[-1][1]) if codes else None
        failed = code != 0 if code is not None else _FAILED.match(text) is not None
        output = None if result.content is None else text
        self._story.end(answered, exit_code=code, error=text if failed else None, output=output)

    def _end_all(self, results: list[_Result]) -> None:
        """The end of commands typed into one terminal; what it shows comes after the last of them."""
        shown = [text for one in results if (text := output_text(one.content)) is not None]
        while (waiting := self._story.oldest_open()) is not None:
            told = shown and self._story.only_one_is_open()
            self._story.end(waiting, output="\n".join(shown) if told else None)

    def _tell_totals(self) -> None:
        totals = _converted(self._document.final_metrics, _Metrics)
        if totals is None:
            return
        told = {
            "prompt_tokens": count_of(totals.total_prompt_tokens),
            "completion_tokens": count_of(totals.total_completion_tokens),
            "cached_tokens": count_of(totals.total_cached_tokens),
            "total_cost_usd": cost_of(totals.total_cost_usd),
        }
        self._story.tell("run.totals", told, str(self._part), actor="system")


def _usage_of(metrics: _Metrics | None) -> Usage:
    if metrics is None:
        return Usage()
    read = count_of(metrics.cached_tokens)
    return Usage(
        fresh=fresh_of(metrics.prompt_tokens, read),
        output=count_of(metrics.completion_tokens),
        cache_read=read,
        cost=cost_of(metrics.cost_usd),
    )


def _step_key(step: _Step, index: int) -> str:
    return str(step.step_id) if type(step.step_id) is int and abs(step.step_id) < 2**53 else f"n{index}"


def _converted(value: Any, kind: type[Any]) -> Any:
    return msgspec.convert(value, kind) if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


ADAPTER: Final[DocumentAdapter] = HarborAtif()
