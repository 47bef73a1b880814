"""OpenHands benchmark and resolver output: one line an instance, one mission each, with its history.

What the harness noted beside the history is told with its origin: an error text, the resolver's
verdict and test results. A cost of zero beside tokens is unknown.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import LineAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import element_names
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut
from quartermaster.adapters._lines import Object, read_objects
from quartermaster.adapters._openhands import Event, Events
from quartermaster.adapters._story import Story, count_of, title_of
from quartermaster.core.journal import minted_id

_LIMITS: Final = ("maximum iteration", "max iteration", "maximum budget", "budget for task")
_KINDS: Final = frozenset({b"action", b"observation"})


class _Metrics(msgspec.Struct, gc=False):
    accumulated_cost: Any = None
    costs: Any = None


class _Output(msgspec.Struct, gc=False):
    instance_id: Any = None
    issue: Any = None
    instruction: Any = None
    metadata: Any = None
    instance: Any = None
    base_commit: Any = None
    history: list[Event] = []
    metrics: _Metrics | None = None
    error: Any = None
    success: Any = None
    result_explanation: Any = None
    test_result: Any = None


_decode = msgspec.json.Decoder(_Output).decode


class OutputReader:
    """Reads a file of instances; each line stands for itself."""

    def read_line(self, line: bytes, offset: int) -> Iterable[Record | RejectedLine]:
        """The entries of an instance."""
        return list(self._read(line, offset))

    def finish(self) -> Iterable[Record]:
        """Nothing: each line has told its own end."""
        return ()

    def _read(self, line: bytes, offset: int) -> Iterator[Record | RejectedLine]:
        for read in read_objects(line, offset, _decode):
            if isinstance(read, RejectedLine):
                yield read
            elif not read.value.history:
                yield RejectedLine(read.offset, len(read.text), "the instance has no history")
            else:
                for entry in _Instance(read).entries():
                    yield Record(entry, read.offset, len(read.text))


class OpenHandsOutput:
    """Files named `output.jsonl`."""

    name = "openhands_output"
    line_based: Literal[True] = True
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Some line is an instance or an issue with a history of events."""
        lines = json.complete_lines(head, whole=whole) or [head.removeprefix(json.BYTE_ORDER_MARK)]
        return any(_is_instance(line) for line in lines)

    def line_reader(self) -> OutputReader:
        """A fresh reader."""
        return OutputReader()


def _is_instance(line: bytes) -> bool:
    start = json.skip_blank(line, 0)
    if line[start : start + 1] != b"{" or b'"history"' not in line:
        return False
    members = {member.name: member.value.start for member in json.members(line, start)}
    if b"history" not in members or not {b"instance_id", b"issue", b"metrics"} & members.keys():
        return False
    return any(names & _KINDS for names in element_names(line, members[b"history"]))


class _Instance:
    """The entries of one line."""

    def __init__(self, read: Object) -> None:
        self._output: _Output = read.value
        self._metadata = _object(self._output.metadata)
        self._instance_id = _text(self._output.instance_id) or _issue_of(self._output.issue)
        times = [event.timestamp for event in self._output.history if isinstance(event.timestamp, str)]
        identity = (times[0],) if times else ("line", read.text)
        key = minted_id("openhands_output", self._instance_id or "", *identity)[2:]
        self._story = Story(Mission("openhands_output", f"oh_{key}"))
        metrics = self._output.metrics or _Metrics()
        costs = metrics.costs if isinstance(metrics.costs, list) else None
        self._events = Events(self._story, self._output.history, costs=costs)

    def entries(self) -> list[bytes]:
        self._story.at(self._events.began())
        self._story.created(self._facts())
        self._events.tell()
        self._tell_verdicts()
        return self._story.entries

    def _facts(self) -> dict[str, Any]:
        output, system = self._output, self._events.system()
        model = _text(_object(self._metadata.get("llm_config")).get("model")) or self._events.model()
        labels = {
            "agent_class": _text(self._metadata.get("agent_class")) or _text(system.get("agent_class")),
            "max_iterations": count_of(self._metadata.get("max_iterations")),
            "base_commit": _text(output.base_commit) or _text(_object(output.instance).get("base_commit")),
        }
        issue = _object(output.issue)
        return {
            "title": title_of(issue.get("title"))
            or title_of(_object(output.instance).get("problem_statement"))
            or title_of(output.instruction or self._events.asked()),
            "task": f"openhands/{self._instance_id}" if self._instance_id else None,
            "goal": self._goal(),
            "tools": self._events.tools(),
            "agent": "openhands",
            "model": model,
            "version": _text(system.get("openhands_version")),
            "commit": _text(self._metadata.get("git_commit")),
            "labels": {name: value for name, value in labels.items() if value is not None} or None,
            "clock": self._events.clock,
        }

    def _goal(self) -> str | None:
        """The issue, the problem statement or the instruction as it stands beside the history."""
        issue = _object(self._output.issue)
        told = [text for text in (_text(issue.get("title")), _text(issue.get("body"))) if text]
        problem = _text(_object(self._output.instance).get("problem_statement"))
        asked = "\n".join(told) or problem or _text(self._output.instruction)
        return cut(asked, TEXT_LIMIT) if asked else None

    def _tell_verdicts(self) -> None:
        output, story = self._output, self._story
        error = _text(output.error)
        if error:
            limited = any(words in error.lower() for words in _LIMITS)
            told = {"error": cut(error, TEXT_LIMIT)}
            entry_type = "budget.exceeded" if limited else "run.failed"
            story.tell(entry_type, told, summary=error, actor="system", severity="error")
            story.outcome("limit_reached" if limited else "failed", "harness")
        elif type(output.success) is bool:
            story.outcome("succeeded" if output.success else "failed", "harness")
        resolved = _resolved(output.test_result)
        if resolved is not None:
            story.outcome("succeeded" if resolved else "failed", "verifier", float(resolved))


def _resolved(test_result: Any) -> bool | None:
    """Whether the tests of the benchmark passed, where they were run."""
    result = _object(test_result)
    for value in (
        _object(result.get("report")).get("resolved"),
        result.get("resolved"),
        result.get("result"),
    ):
        if type(value) is bool:
            return value
    return None


def _issue_of(issue: Any) -> str | None:
    known = _object(issue)
    owner, repository, number = known.get("owner"), known.get("repo"), known.get("number")
    if not (_text(owner) and _text(repository)):
        return None
    return f"{owner}/{repository}#{number}" if type(number) is int else f"{owner}/{repository}"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


ADAPTER: Final[LineAdapter] = OpenHandsOutput()
