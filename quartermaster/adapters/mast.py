"""MAST records: traces of agent teams as texts, some with what several people found wrong with them.

A trace is JSON with a list of messages (AG2), or the log of a MetaGPT team in either of two layouts. One
record is one mission. Message lists have no clock: dated one minute apart (`clock: "ordinal"`).
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import each_of_list, element_names
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut
from quartermaster.adapters._story import MINUTE, Story, Usage, cost_of, local_instant, text_of, title_of
from quartermaster.adapters._team import TeamTalk
from quartermaster.core.journal import minted_id
from quartermaster.errors import Rejected

_MODE_LIMIT: Final = 120
_ACTED: Final = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) \| [^\n]{0,200}? - (\w+)\(\w+\): to do [^\n]*$",
    re.MULTILINE,
)
_LOGGED: Final = re.compile(
    r"^\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\] (?:FROM: (.+?) TO: [^\n]*|NEW MESSAGES:)$", re.MULTILINE
)
_SPEAKER: Final = re.compile(r"\s*(\w[\w .-]{0,60}): ?\s*")
_LOG_HEAD: Final = re.compile(r"(?:\s*ACTION: [^\n]*)?\s*CONTENT:\s*")
_LOG_END: Final = re.compile(r"\n-{20,}\s*(?:\n=== .*)?$", re.DOTALL)


class _Record(msgspec.Struct, gc=False):
    mas_name: Any = None
    benchmark_name: Any = None
    trace_id: Any = None
    round: Any = None
    trace: Any = None
    annotations: Any = None


class _Turn(NamedTuple):
    """One message of a log; `instant` is None where only the order is known."""

    instant: int | None
    speaker: str
    text: str


class _Trace(NamedTuple):
    """What a record's trace tells."""

    asked: str | None
    turns: list[_Turn]
    correct: bool | None = None
    cost: float | None = None


_decode_record = msgspec.json.Decoder(_Record).decode


class Mast:
    """Lists of records, of the human-labelled set or as a harness wrote them."""

    name = "mast"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A list whose records name a multi-agent system and hold its trace."""
        return any({b"mas_name", b"trace"} <= names for names in element_names(head, json.start_of(head)))

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each record; a malformed one costs itself."""
        for element in each_of_list(document, _decode_record):
            if isinstance(element, RejectedLine):
                yield element
                continue
            record, (start, end) = element
            length = (len(document) if end is None else end) - start
            try:
                entries = _entries_of(record)
            except Rejected as rejected:
                yield RejectedLine(start, length, str(rejected))
                continue
            for entry in entries:
                yield Record(entry, start, length)


def _entries_of(record: _Record) -> list[bytes]:
    if not isinstance(record.trace, str):
        raise Rejected("trace is not a text")
    trace = _trace_of(record.trace)
    if not trace.turns:
        raise Rejected("trace is neither a list of messages nor a log of a known layout")
    names = [_name(part) for part in (record.mas_name, record.benchmark_name, record.round, record.trace_id)]
    story = Story(Mission("mast", "mast_" + minted_id("mast", *names, record.trace)[2:]))
    began = trace.turns[0].instant
    story.at(MINUTE if began is None else began)
    story.created(
        {
            "title": title_of(trace.asked) or title_of(trace.turns[0].text),
            "task": "/".join(["mast", *[part for part in (names[0], names[1], names[3]) if part]]),
            "goal": cut(trace.asked, TEXT_LIMIT) if trace.asked else None,
            "agent": names[0] or None,
            "labels": _labels(record),
            "clock": "ordinal" if began is None else "local",
        }
    )
    _tell_turns(story, trace)
    if trace.correct is not None:
        outcome = "succeeded" if trace.correct else "failed"
        story.outcome(outcome, "verifier", float(trace.correct))
    return story.entries


def _tell_turns(story: Story, trace: _Trace) -> None:
    if trace.turns[0].instant is None:
        talk = TeamTalk(story)
        for index, turn in enumerate(trace.turns):
            talk.tell(turn.speaker, turn.text, asks=index == 0)
        return
    replies = [index for index, turn in enumerate(trace.turns) if turn.speaker != "Human"]
    for index, turn in enumerate(trace.turns):
        key = str(index)
        story.at(turn.instant or 0)
        if turn.speaker == "Human":
            story.said(True, turn.text, key, agent=turn.speaker, speaker=turn.speaker, step=index)
            continue
        if trace.cost is None:
            story.model_call(key, agent=turn.speaker)
        elif index == replies[-1]:
            story.model_call(key, None, Usage(cost=trace.cost), agent=turn.speaker, counts="the whole run")
        else:
            usage = Usage(cost=0.0)
            story.model_call(key, None, usage, agent=turn.speaker, counted_by="the last call of the run")
        story.said(False, turn.text, key, agent=turn.speaker, speaker=turn.speaker, step=index)


def _trace_of(text: str) -> _Trace:
    value = json.decoded_or_none(text.encode("utf-8", "replace"))
    if not isinstance(value, dict):
        return _Trace(None, _turns_of_log(text))
    messages = value.get("trajectory")
    if isinstance(messages, list):
        data = value.get("other_data")
        correct = data.get("correct") if isinstance(data, dict) else None
        asked = value.get("problem_statement")
        asked = asked[0] if isinstance(asked, list) and asked else asked
        return _Trace(
            asked if isinstance(asked, str) else None,
            [turn for message in messages if (turn := _turn_of(message))],
            correct if type(correct) is bool else None,
        )
    content, asked = value.get("content"), value.get("prompt")
    turns = _turns_of_log(content) if isinstance(content, str) else []
    return _Trace(asked if isinstance(asked, str) else None, turns, None, cost_of(value.get("cost")))


def _turn_of(message: Any) -> _Turn | None:
    if not isinstance(message, dict):
        return None
    speaker = message.get("name") or message.get("role")
    if not isinstance(speaker, str):
        return None
    return _Turn(None, speaker, _joined(message.get("content")))


def _joined(content: Any) -> str:
    """The text of a message; some are lists of their lines."""
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "\n".join(content)
    return text_of(content)


def _turns_of_log(text: str) -> list[_Turn]:
    heads = list(_ACTED.finditer(text))
    if heads:
        return [
            _Turn(local_instant(head[1].replace(" ", "T")), head[2], body.strip())
            for head, body in _bodies(text, heads)
        ]
    turns: list[_Turn] = []
    for head, body in _bodies(text, list(_LOGGED.finditer(text))):
        rest = _LOG_END.sub("", body)
        speaker = head[2]
        if speaker is None:
            named = _SPEAKER.match(rest)
            speaker, rest = (named[1], rest[named.end() :]) if named else ("unknown", rest)
        else:
            rest = _LOG_HEAD.sub("", rest, count=1)
        turns.append(_Turn(local_instant(head[1].replace(" ", "T")), speaker, rest.strip()))
    return turns


def _bodies(text: str, heads: list[re.Match[str]]) -> Iterator[tuple[re.Match[str], str]]:
    """Each head line of a log with what stands below it."""
    for index, head in enumerate(heads):
        end = heads[index + 1].start() if index + 1 < len(heads) else len(text)
        yield head, text[head.end() : end]


def _labels(record: _Record) -> dict[str, Any] | None:
    labels: dict[str, Any] = {
        name: value
        for name, value in (("benchmark", record.benchmark_name), ("round", record.round))
        if isinstance(value, str) and value
    }
    annotations = record.annotations if isinstance(record.annotations, list) else []
    votes = [_votes(one) for one in annotations if isinstance(one, dict)]
    if votes:
        labels["annotators"] = max(count for _, _, count in votes)
        labels["failure_modes"] = {mode: found for mode, found, _ in votes if mode and found}
        labels["origin"] = "human"
    return labels or None


def _votes(annotation: dict[str, Any]) -> tuple[str, int, int]:
    """A failure mode, how many people found it, and of how many."""
    mode = annotation.get("failure mode")
    first_line = mode.strip().split("\n", 1)[0].strip() if isinstance(mode, str) else ""
    said = [value for name, value in annotation.items() if name.startswith("annotator")]
    return cut(first_line, _MODE_LIMIT), sum(value is True for value in said), len(said)


def _name(value: Any) -> str:
    return cut(str(value), _MODE_LIMIT) if isinstance(value, str) or type(value) is int else ""


ADAPTER: Final[DocumentAdapter] = Mast()
