"""Gemini CLI sessions: one object for one session, written anew whenever something is added.

A model call is a message of the model; one without words and without tokens only carries tools of the
message before it. The exit code stands in the text of a shell's result and wins over the status. The
file has no record of an end, so no session has an outcome.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters import DocumentAdapter, Record, RejectedLine
from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import read_object, records_of
from quartermaster.adapters._entries import (
    TEXT_LIMIT,
    Mission,
    arguments_beside,
    cut,
    kept_arguments,
    kept_output,
    one_line,
    output_text,
)
from quartermaster.adapters._lines import is_id, or_none, text_or_none, time_or_none
from quartermaster.adapters._session_log import SessionLog

_NOTHING: Final = msgspec.Raw(b"null")
_EXIT_CODE: Final = re.compile(r"^Exit Code: (-?\d{1,9})\s*$", re.MULTILINE)
_REFUSED: Final = re.compile(r"did not allow|denied|rejected", re.IGNORECASE)
_CANCELLED: Final = "Request cancelled."
_SEVERITIES: Final = {"info": "info", "warning": "warn", "error": "error"}


class Tokens(msgspec.Struct, gc=False):
    """Token counters; what was cached is part of the input, thoughts come on top of the output."""

    input: int = 0
    output: int = 0
    cached: int = 0
    thoughts: int = 0
    tool: int = 0


class Message(msgspec.Struct, rename="camel", gc=False):
    """One message: of the user, of the model (gemini), or a notice of the program."""

    id: Any = None
    timestamp: Any = None
    type: Any = None
    model: Any = None
    content: msgspec.Raw = _NOTHING
    tokens: msgspec.Raw = _NOTHING
    tool_calls: msgspec.Raw = _NOTHING


class ToolCall(msgspec.Struct, gc=False):
    """One call of a tool together with its result."""

    id: Any = None
    name: Any = None
    status: Any = None
    timestamp: Any = None
    args: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    result_display: msgspec.Raw = msgspec.field(default=_NOTHING, name="resultDisplay")


class Chat(msgspec.Struct, gc=False):
    """One session, named as it is written."""

    sessionId: Any = None
    projectHash: Any = None
    startTime: Any = None
    messages: list[Message] | None = None


_chat_decoder = msgspec.json.Decoder(Chat)
_decode_message = msgspec.json.Decoder(Message).decode
_decode_tokens = msgspec.json.Decoder(Tokens).decode
_decode_calls = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_call = msgspec.json.Decoder(ToolCall).decode


class _Session:
    """The entries of one session, message by message."""

    def __init__(self, chat: Chat, began: tuple[str, int], messages: list[Message]) -> None:
        self.log = SessionLog(
            Mission("gemini_cli", chat.sessionId),
            began[0],
            {"agent": "gemini-cli"},
            label_names=("project",),
            told_at_once=True,
        )
        self.log.now_is(*began)
        self._time = began
        said = (_text_of(message.content) for message in messages if message.type == "user")
        models = (m.model for m in messages if m.type == "gemini" and text_or_none(m.model))
        title = one_line(next((text for text in said if text.strip()), ""))
        self.log.learn(title=title, model=next(models, None), project=chat.projectHash)
        self._model_calls: set[str] = set()

    def read(self, message: Message, key: str) -> list[bytes]:
        self._time = time_or_none(message.timestamp) or self._time
        self.log.now_is(*self._time)
        text = _text_of(message.content)
        if message.type == "user":
            if text.strip():
                self.log.tell_text("message.user", "user", text, key)
        elif message.type == "gemini":
            self._read_answer(message, text, key)
        elif text_or_none(message.type) in _SEVERITIES:
            self._notice(message.type, text, key)
        return self.log.taken(None)

    def _read_answer(self, message: Message, text: str, key: str) -> None:
        raws = or_none(_decode_calls, message.tool_calls) or []
        calls = [call for raw in raws if (call := or_none(_decode_call, raw))]
        tokens = or_none(_decode_tokens, message.tokens)
        unknown = tokens is None or not (tokens.input or tokens.output or tokens.thoughts)
        is_continuation = tokens is not None and unknown and bool(calls) and not text
        if not is_continuation and key not in self._model_calls:
            self._model_calls.add(key)
            payload = _usage(message.model, None if unknown else tokens)
            self.log.tell_model_call(self.log.stamp(), payload, key)
        if text:
            self.log.tell_text("message.assistant", "agent", text, key)
        for index, call in enumerate(calls):
            self._read_call(call, text_or_none(call.id) or f"{key} {index}")

    def _read_call(self, call: ToolCall, call_id: str) -> None:
        if not text_or_none(call.name):
            return
        self.log.now_is(*(time_or_none(call.timestamp) or self._time))
        arguments = json.decoded_or_none(call.args)
        command = arguments.get("command") if isinstance(arguments, dict) else None
        is_shell = "shell" in call.name and isinstance(command, str) and command != ""
        told = cut(command, TEXT_LIMIT) if is_shell and isinstance(command, str) else call.name
        text = _result_text(call.result)
        payload = {"command": told, "tool": call.name if is_shell else None, "call_id": call_id}
        if is_shell and isinstance(command, str) and isinstance(arguments, dict):
            payload |= arguments_beside(command, arguments)
        else:
            payload |= kept_arguments(arguments)
        if call.status == "cancelled":
            self._cancelled(call, payload, text)
            return
        if call.status not in ("success", "error"):
            self.log.tell("exec.command", payload | {"phase": "start"}, call_id, summary=told)
            return
        codes = _EXIT_CODE.findall(text) if is_shell else []
        exit_code = int(codes[-1]) if codes else int(call.status == "error")
        payload |= {"exit_code": exit_code, "error": one_line(text) or None if exit_code else None}
        payload |= kept_output(text or output_text(json.decoded_or_none(call.result_display)))
        severity = "warn" if exit_code else "info"
        self.log.tell("exec.command", payload, call_id, summary=told, severity=severity)

    def _cancelled(self, call: ToolCall, payload: dict[str, Any], text: str) -> None:
        """A call that a person refused is a denied decision; one that was cut off has merely begun."""
        call_id = payload["call_id"]
        self.log.tell("exec.command", payload | {"phase": "start"}, call_id, summary=payload["command"])
        if _REFUSED.search(text):
            decision = {"decision": "deny", "credential_id": call.name, "call_id": call_id}
            about = {"summary": f"{call.name} was refused", "actor": "user", "severity": "warn"}
            self.log.tell("keeper.decision", decision, call_id, **about)

    def _notice(self, kind: str, text: str, key: str) -> None:
        if kind == "info" and text.strip() == _CANCELLED:
            payload = {"to_status": "interrupted"}
            self.log.tell("mission.status_change", payload, key, summary=text, actor="user")
            return
        payload = {"kind": kind, "text": cut(text, TEXT_LIMIT)}
        self.log.tell("run.notice", payload, key, summary=text, actor="system", severity=_SEVERITIES[kind])


class GeminiCli:
    """Chat files of Gemini CLI, under `~/.gemini/tmp` or elsewhere, whatever they are called."""

    name = "gemini_cli"
    line_based: Literal[False] = False
    keeps_bytes = False
    revisable = True

    def recognises(self, head: bytes, *, whole: bool) -> bool:
        """An object with the hash of a project and messages."""
        start = json.start_of(head)
        if head[start : start + 1] != b"{" or b'"projectHash"' not in head:
            return False
        missing = {b"sessionId", b"projectHash", b"messages"}
        for member in json.members(head, start):
            missing.discard(member.name)
        return not missing

    def read_document(self, document: bytes) -> Iterator[Record | RejectedLine]:
        """The entries of each message; a malformed one costs itself."""
        chat, rejected = read_object(document, _chat_decoder, {"messages": _decode_message})
        entries: list[bytes] = []
        reason = _unreadable(chat)
        if chat and not reason:
            entries = _entries(chat, chat.messages or [])
        yield from records_of(document, entries, rejected, reason)


def _unreadable(chat: Chat | None) -> str:
    """Why an object tells of no session; nothing where it does."""
    if chat is None:
        return "not a JSON object"
    if not is_id(chat.sessionId):
        return "sessionId is missing or no id"
    if chat.messages is None:
        return "messages are missing"
    return "" if _began(chat) else "no time is known: startTime is missing or no time"


def _began(chat: Chat) -> tuple[str, int] | None:
    times = (time_or_none(text) for text in (chat.startTime, *(m.timestamp for m in chat.messages or ())))
    return next((time for time in times if time), None)


def _entries(chat: Chat, messages: list[Message]) -> list[bytes]:
    began = _began(chat)
    if began is None:
        return []
    session = _Session(chat, began, messages)
    entries = session.log.taken(None)
    for index, message in enumerate(messages):
        entries += session.read(message, text_or_none(message.id) or str(index))
    return entries


def _text_of(content: msgspec.Raw) -> str:
    """A text, or the texts of a list of parts."""
    value = json.decoded_or_none(content)
    parts = value if isinstance(value, list) else [value]
    texts = (part.get("text") if isinstance(part, dict) else part for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str))


def _result_text(result: msgspec.Raw) -> str:
    """What the tool answered: the output of its response, or its error."""
    value = json.decoded_or_none(result)
    for name in (0, "functionResponse", "response"):
        if isinstance(value, list) and name == 0:
            value = value[0] if value else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return ""
    texts = (value.get(name) for name in ("error", "output"))
    return next((text for text in texts if isinstance(text, str)), "")


def _usage(model: Any, tokens: Tokens | None) -> dict[str, Any]:
    payload: dict[str, Any] = {"provider": "google", "model": text_or_none(model)}
    if tokens is None:
        return payload
    return payload | {
        "input_tokens": max(0, tokens.input + tokens.tool - tokens.cached),
        "cached_input_tokens": tokens.cached,
        "output_tokens": tokens.output + tokens.thoughts,
        "reasoning_tokens": tokens.thoughts,
    }


ADAPTER: Final[DocumentAdapter] = GeminiCli()
