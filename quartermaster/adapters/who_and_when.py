"""Who&When: runs of agent teams that failed, with a person's word on who made the decisive mistake, and when.

The recordings have no clock, tools or tokens. Entries are dated one minute per message from 1970 on
(`clock: "ordinal"`); each names the place of its message, which is what `mistake_step` counts.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters._chat import Message, content_id, decode_message, is_message_list
from quartermaster.adapters._documents import is_cut, members_by_name, read_object, records_of
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut
from quartermaster.adapters._story import MINUTE, Story, text_of, title_of
from quartermaster.adapters._team import TeamTalk


class _Document(msgspec.Struct, gc=False):
    history: list[Message] = []
    question: Any = None
    question_ID: Any = None
    level: Any = None
    ground_truth: Any = None
    is_correct: Any = None
    is_corrected: Any = None
    mistake_agent: Any = None
    mistake_step: Any = None
    mistake_reason: Any = None
    mistake_type: Any = None


_decoder = msgspec.json.Decoder(_Document)


class WhoAndWhen:
    """One labelled conversation of the hand-crafted or of the algorithm-generated half."""

    name = "who_and_when"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """A history of messages beside the question and the mistake."""
        members = members_by_name(head)
        if b"history" not in members:
            return False
        labelled = {b"mistake_agent", b"mistake_step"} <= members.keys()
        asked = b"question" in members and bool({b"question_ID", b"ground_truth"} & members.keys())
        return (labelled or asked) and is_message_list(head, members[b"history"])

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the run; a malformed message costs that message, a cut document all."""
        read, rejected = read_object(document, _decoder, {"history": decode_message})
        entries = [] if read is None or is_cut(document, rejected) else _entries_of(read)
        return records_of(document, entries, rejected, "the history has no messages with a role")


def _entries_of(document: _Document) -> list[bytes]:
    messages = [message for message in document.history if isinstance(message.role, str)]
    if not messages:
        return []
    story = Story(Mission("who_and_when", "ww_" + content_id("who_and_when", messages)))
    story.at(MINUTE)
    story.created(_facts(document, messages))
    talk = TeamTalk(story)
    for index, message in enumerate(messages):
        named = message.name if isinstance(message.name, str) and message.name else None
        talk.tell(named or message.role, text_of(message.content), asks=index == 0)
    if talk.satisfied:
        story.goal("completed")
        story.outcome("succeeded", "agent")
    correct = document.is_correct if document.is_correct is not None else document.is_corrected
    if type(correct) is bool:
        story.outcome("succeeded" if correct else "failed", "verifier", float(correct))
    return story.entries


def _facts(document: _Document, messages: list[Message]) -> dict[str, Any]:
    task, question = document.question_ID, document.question
    return {
        "title": title_of(question) or title_of(text_of(messages[0].content)),
        "goal": cut(question, TEXT_LIMIT) if isinstance(question, str) and question else None,
        "task": f"who_and_when/{task}" if isinstance(task, str) and task else None,
        "agent": "magentic-one" if any(one.role.startswith("Orchestrator (") for one in messages) else None,
        "labels": _labels(document),
        "clock": "ordinal",
    }


def _labels(document: _Document) -> dict[str, Any] | None:
    """What people said of the run, and the answer that was right."""
    texts = {
        "expected_answer": document.ground_truth,
        "mistake_agent": document.mistake_agent,
        "mistake_reason": document.mistake_reason,
        "mistake_type": document.mistake_type,
    }
    labels: dict[str, Any] = {
        name: cut(text, TEXT_LIMIT) for name, text in texts.items() if isinstance(text, str) and text
    }
    for name, number in (("mistake_step", document.mistake_step), ("level", document.level)):
        if isinstance(number, str) and number.isdecimal() and len(number) < 10:
            labels[name] = int(number)
        elif type(number) is int and 0 <= number < 10**9:
            labels[name] = number
    return labels | {"origin": "human"} if labels else None


ADAPTER: Final[DocumentAdapter] = WhoAndWhen()
