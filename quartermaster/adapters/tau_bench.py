"""tau-bench results: a list of records, each one trial of one task with its reward.

The recordings have no clock. Entries are dated one minute per message from 1970 on, in the order of
the conversation, and the mission says `clock: "ordinal"`, so that no duration and no rule about
"within so many seconds" means anything here. Tokens, model and cost of the agent are unknown.
"""

import ast
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    cut,
    kept_arguments,
    kept_output,
    one_line,
    output_text,
)
from quartermaster.core.journal import format_instant, minted_id
from quartermaster.errors import Rejected

_LOOKED_AT: Final = 3
_MINUTE: Final = 60 * 10**9
_SOLVED: Final = 0.999
_FAILED_RESULT: Final = re.compile(r"""Error|# \w+ = ["']Error""")
_DOMAINS: Final = {
    "airline": re.compile(rb'"name":\s*"\w*(?:reservation|flight|airport|certificate)'),
    "retail": re.compile(rb'"name":\s*"\w*(?:order|product|exchange|return_delivered|modify_user_address)'),
}
_canonical = msgspec.json.Encoder(order="sorted").encode


class _Numbers(msgspec.Struct, gc=False):
    task_id: Any = None
    trial: Any = None


_decode_numbers = msgspec.json.Decoder(_Numbers).decode
_decode = msgspec.json.Decoder().decode


class _Trial:
    """The entries of one record."""

    def __init__(self, record: dict[str, Any], domain: str | None, trial: int | None) -> None:
        self._record = record
        self._info = _object(record.get("info"), "info")
        self._reward = _reward(record.get("reward"))
        self._mission = Mission("tau_bench", "tau_" + minted_id("tau_bench", _content(record))[2:])
        self._domain = domain
        self._trial = trial
        self._entries: list[bytes] = []
        self._message = 0
        self._within = 0
        self._unanswered: list[tuple[str, Any, str]] = []

    def entries(self) -> list[bytes]:
        self._tell_created()
        if "error" in self._info:
            self._tell_death(self._info["error"])
            return self._entries
        messages = self._record.get("traj")
        if not isinstance(messages, list):
            raise Rejected("traj is not a list")
        for message in messages:
            self._message += 1
            self._within = 0
            self._tell_message(_object(message, f"message {self._message} of traj"))
        self._message += 1
        self._within = 0
        solved = self._reward >= _SOLVED
        status = "completed" if solved else "failed"
        self._tell("mission.status_change", {"to_status": status}, summary=status, actor="system")
        self._tell_outcome("succeeded" if solved else "failed", "verifier")
        return self._entries

    def _tell_created(self) -> None:
        task = _object(self._info.get("task"), "info.task")
        instruction = task.get("instruction")
        title = one_line(instruction) if isinstance(instruction, str) else None
        payload = {
            "title": title,
            "goal": cut(instruction, TEXT_LIMIT) if isinstance(instruction, str) and title else None,
            "task": "/".join(part for part in ("tau_bench", self._domain, _task_id(self._record)) if part),
            "trial": self._trial,
            "labels": self._labels(task) or None,
            "clock": "ordinal",
        }
        self._tell("mission.created", payload, summary=title or "", actor="system")

    def _labels(self, task: dict[str, Any]) -> dict[str, Any]:
        """What the file says beside the conversation. A whole number as `user_cost` counts tokens."""
        actions, cost, source = task.get("actions"), self._info.get("user_cost"), self._info.get("source")
        labels = {
            "expected_actions": len(actions) if isinstance(actions, list) else None,
            "user_cost": cost if isinstance(cost, float) else None,
            "source": source if isinstance(source, str) else None,
        }
        return {name: value for name, value in labels.items() if value is not None}

    def _tell_death(self, error: Any) -> None:
        text = error if isinstance(error, str) else "the run died"
        payload = {"error": cut(text, TEXT_LIMIT)}
        self._tell("run.failed", payload, summary=text, actor="system", severity="error")
        self._tell_outcome("failed", "harness")

    def _tell_outcome(self, outcome: str, origin: str) -> None:
        payload = {"outcome": outcome, "reward": self._reward, "origin": origin}
        self._tell("mission.outcome", payload, summary=f"{outcome}, reward {self._reward:g}", actor="system")

    def _tell_message(self, message: dict[str, Any]) -> None:
        role, text = message.get("role"), message.get("content")
        if role == "assistant":
            self._tell("llm.call", {}, summary="assistant")
            self._tell_text("message.assistant", text, "agent")
            self._tell_calls(message.get("tool_calls"))
        elif role == "tool":
            self._tell_result(message.get("tool_call_id"), text)
        elif role == "user":
            self._tell_text("message.user", text, "user")

    def _tell_text(self, entry_type: str, text: Any, actor: str) -> None:
        if isinstance(text, str) and text:
            self._tell(entry_type, {"text": cut(text, TEXT_LIMIT)}, summary=text, actor=actor)

    def _tell_calls(self, calls: Any) -> None:
        if not isinstance(calls, list):
            return
        for index, value in enumerate(calls):
            where = f"call {index + 1} of message {self._message}"
            call = _object(value, where)
            function = _object(call.get("function"), where)
            tool = function.get("name")
            if not isinstance(tool, str) or not tool:
                raise Rejected(f"{where} names no tool")
            call_id = f"{self._message}.{index + 1}"
            self._unanswered.append((call_id, call.get("id"), tool))
            payload = _command(call_id, tool, "start")
            payload |= kept_arguments(_arguments(function.get("arguments")))
            self._tell("exec.command", payload, summary=tool)

    def _tell_result(self, answered: Any, text: Any) -> None:
        """The end of the call with this id, else of the oldest open one: ids may be missing or used twice."""
        if not self._unanswered:
            return
        matching = (call for call in self._unanswered if answered and call[1] == answered)
        call = next(matching, self._unanswered[0])
        self._unanswered.remove(call)
        call_id, _, tool = call
        failed = isinstance(text, str) and _FAILED_RESULT.match(text) is not None
        payload = _command(call_id, tool, "end")
        payload["exit_code"] = int(failed)
        payload["error"] = one_line(text) if failed else None
        payload |= kept_output(output_text(text))
        self._tell("exec.command", payload, summary=tool, severity="warn" if failed else "info")

    def _tell(self, entry_type: str, payload: dict[str, Any], **about: str) -> None:
        entry_id = self._mission.entry_id(str(self._message), str(self._within))
        ts = format_instant(self._message * _MINUTE + self._within)
        self._within += 1
        self._entries.append(self._mission.written(entry_id, ts, entry_type, payload, **about))


class TauBench:
    """Result lists of tau-bench and of forks that changed how they write calls and errors."""

    name = "tau_bench"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A list with an element that has a trajectory and a reward."""
        start = json.start_of(head)
        if head[start : start + 1] != b"[":
            return False
        return any(
            _begins_record(head, span.start) for span in islice(json.elements(head, start), _LOOKED_AT)
        )

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each record; a malformed one costs itself."""
        start = json.start_of(document)
        if start == len(document):
            return
        if document[start] != ord("["):
            yield RejectedLine(start, len(document) - start, "not a list of records")
            return
        spans = list(json.array_spans(document, start))
        domain = _domain(document)
        trials_are_told = _trials_are_told(document, spans)
        for span in spans:
            yield from _read(document, span, domain, trials_are_told)


def _begins_record(data: bytes, start: int) -> bool:
    if data[start : start + 1] != b"{":
        return False
    missing = {b"traj", b"reward"}
    for member in json.members(data, start):
        missing.discard(member.name)
        if not missing:
            return True
    return False


def _domain(document: bytes) -> str | None:
    """The domain whose tools are named most often in the whole document."""
    counts = {domain: len(names.findall(document)) for domain, names in _DOMAINS.items()}
    first, second = sorted(counts, key=counts.__getitem__, reverse=True)
    return first if counts[first] > counts[second] else None


def _trials_are_told(document: bytes, spans: list[json.Span]) -> bool:
    """False where every record's trial equals its task id: then it is no trial at all."""
    for start, end in spans:
        if end is None:
            continue
        try:
            numbers = _decode_numbers(document[start:end])
        except json.UNDECODABLE:
            continue
        if numbers.trial != numbers.task_id:
            return True
    return False


def _read(
    document: bytes, span: json.Span, domain: str | None, trials_are_told: bool
) -> Iterator[Record | RejectedLine]:
    start, end = span
    if end is None:
        yield RejectedLine(start, len(document) - start, "the document ends too early")
        return
    length = end - start
    try:
        record = _object(_decoded(document[start:end]), "the record")
        trial = record.get("trial") if trials_are_told else 0
        entries = _Trial(record, domain, trial if type(trial) is int else None).entries()
    except Rejected as rejected:
        yield RejectedLine(start, length, str(rejected))
        return
    for entry in entries:
        yield Record(entry, start, length)


def _decoded(text: bytes) -> Any:
    try:
        return _decode(text)
    except json.UNDECODABLE as error:
        value = json.decoded_or_none(text)
        if value is None:
            raise Rejected(json.why_undecodable(error)) from None
        return value


def _content(record: dict[str, Any]) -> bytes:
    """The record's content however it was written: copies with other white space are one mission."""
    try:
        return _canonical(record)
    except (RecursionError, ValueError, OverflowError):
        raise Rejected("JSON is nested too deeply") from None


def _object(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Rejected(f"{name} is not an object")
    return value


def _reward(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise Rejected("reward is not a number")
    if not -1e9 < value < 1e9:
        raise Rejected("reward is beyond all sense")
    return float(value)


def _task_id(record: dict[str, Any]) -> str:
    task_id = record.get("task_id")
    if type(task_id) is not int and type(task_id) is not str:
        raise Rejected("task_id is neither a number nor a text")
    return str(task_id)


def _arguments(arguments: Any) -> Any:
    """Arguments are JSON in a text, or in forks a Python literal; what is neither stays as it is."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return _decode(arguments)
    except json.UNDECODABLE:
        pass
    try:
        value = ast.literal_eval(arguments)
        return _decode(msgspec.json.encode(value)) if isinstance(value, dict) else arguments
    except (*json.UNDECODABLE, SyntaxError, TypeError, MemoryError):
        return arguments


def _command(call_id: str, tool: str, phase: str) -> dict[str, Any]:
    return {"command": tool, "phase": phase, "call_id": call_id}


ADAPTER: Final[DocumentAdapter] = TauBench()
