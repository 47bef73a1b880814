"""Plain lists of chat messages, as chat-completion clients and Magentic-One write them.

Nothing but roles, texts and tool calls is known: no times (entries are dated one minute apart from 1970
on, `clock: "ordinal"`), tokens, cost or outcome, but where agents say that the request is satisfied.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._chat import (
    Message,
    begins_as_message_list,
    calls_of,
    content_id,
    decode_message,
    is_message_list,
    speaks_mini,
)
from quartermaster.adapters._documents import is_cut, members_by_name, read_list, read_object, records_of
from quartermaster.adapters._entries import Mission, declared_schemas, declared_tools, output_text
from quartermaster.adapters._story import MINUTE, Story, arguments_of, text_of, title_of
from quartermaster.adapters._team import TeamTalk

_CHAT_ROLES: Final = frozenset({"system", "developer", "user", "human", "assistant", "tool", "function"})
_FAILED: Final = re.compile(r"""\s*(?:Error\b|ERROR\b|Traceback \(most recent|\{"error": ?["{])""")
_BESIDE_MESSAGES: Final = frozenset(
    {
        b"messages",
        b"model",
        b"tools",
        b"functions",
        b"tool_choice",
        b"parallel_tool_calls",
        b"temperature",
        b"top_p",
        b"max_tokens",
        b"max_completion_tokens",
        b"seed",
        b"stop",
        b"n",
        b"stream",
        b"user",
        b"response_format",
    }
)
"""What a chat-completion request holds; a document with anything else is another format's."""


class _Document(msgspec.Struct, gc=False):
    messages: list[Message] = []
    model: Any = None
    tools: Any = None
    functions: Any = None


_decoder = msgspec.json.Decoder(_Document)


class ChatMessages:
    """One conversation: a list of messages, or a request object that holds one."""

    name = "chat_messages"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """Messages of role and content, and no mark of a more exact format."""
        if begins_as_message_list(head):
            return not speaks_mini(head)
        members = members_by_name(head)
        if b"messages" not in members or not members.keys() <= _BESIDE_MESSAGES:
            return False
        return is_message_list(head, members[b"messages"])

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of the conversation; a malformed message costs that message, a cut one all."""
        start = json.start_of(document)
        if document[start : start + 1] == b"[":
            messages, rejected = read_list(document, decode_message)
            read = _Document(messages)
        else:
            found, rejected = read_object(document, _decoder, {"messages": decode_message})
            read = found or _Document()
        entries = [] if is_cut(document, rejected) else _entries_of(read)
        return records_of(document, entries, rejected, "the conversation has no messages with a role")


def _entries_of(document: _Document) -> list[bytes]:
    model = document.model
    messages = [message for message in document.messages if isinstance(message.role, str)]
    if not messages:
        return []
    team = any(message.role not in _CHAT_ROLES for message in messages)
    story = Story(Mission("chat_messages", "chat_" + content_id("chat_messages", messages)))
    story.at(MINUTE)
    asked = next((text_of(one.content) for one in messages if one.role in ("user", "human")), "")
    story.created(
        {
            "title": title_of(asked),
            "agent": "magentic-one"
            if any(one.role.startswith("Orchestrator (") for one in messages)
            else None,
            "model": model if isinstance(model, str) and model else None,
            "tools": declared_tools(document.tools, document.functions),
            "tool_schemas": declared_schemas(document.tools, document.functions),
            "clock": "ordinal",
        }
    )
    if team:
        _tell_team(story, messages)
    else:
        _Chat(story, model).tell(messages)
    return story.entries


def _tell_team(story: Story, messages: list[Message]) -> None:
    talk = TeamTalk(story)
    for message in messages:
        talk.tell(message.role, text_of(message.content))
    if talk.satisfied:
        story.goal("completed")
        story.outcome("succeeded", "agent")


class _Chat:
    """A conversation of one assistant with its user and its tools."""

    def __init__(self, story: Story, model: Any) -> None:
        self._story = story
        self._model = model

    def tell(self, messages: list[Message]) -> None:
        for index, message in enumerate(messages):
            self._story.at((index + 2) * MINUTE)
            if message.role == "assistant":
                self._tell_reply(str(index), message)
            elif message.role in ("tool", "function"):
                named = message.tool_call_id or message.name
                self._tell_result(named, output_text(message.content), None)
            elif message.role in ("user", "human"):
                self._tell_user(str(index), message)

    def _tell_reply(self, key: str, message: Message) -> None:
        agent = message.name if isinstance(message.name, str) and message.name else None
        self._story.model_call(key, self._model, agent=agent)
        self._story.said(False, text_of(message.content), key, agent=agent)
        for number, (tool, arguments, call_id) in enumerate(calls_of(message)):
            self._story.begin(call_id or f"{key}.{number}", tool, arguments_of(arguments))
        for number, block in enumerate(_blocks(message.content, "tool_use")):
            named, given = block.get("name"), block.get("id")
            if isinstance(named, str) and named:
                block_id = given if isinstance(given, str) and given else f"{key}.{number}"
                self._story.begin(block_id, named, block.get("input"))

    def _tell_user(self, key: str, message: Message) -> None:
        for block in _blocks(message.content, "tool_result"):
            failed = block.get("is_error")
            self._tell_result(
                block.get("tool_use_id"),
                output_text(block.get("content")),
                failed if type(failed) is bool else False,
            )
        self._story.said(True, text_of(message.content), key)

    def _tell_result(self, answered: Any, text: str | None, failed: bool | None) -> None:
        """The end of the call with this id, else of the oldest open one: ids may be missing."""
        if failed is None:
            failed = text is not None and _FAILED.match(text) is not None
        error = text or "" if failed else None
        if isinstance(answered, str) and self._story.end(answered, error=error, output=text):
            return
        waiting = self._story.oldest_open()
        if waiting is not None:
            self._story.end(waiting, error=error, output=text)


def _blocks(content: Any, kind: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        return []
    return [block for block in content if isinstance(block, dict) and block.get("type") == kind]


ADAPTER: Final[DocumentAdapter] = ChatMessages()
