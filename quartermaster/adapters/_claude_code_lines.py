"""The lines of a Claude Code session, as far as the adapter reads them.

Fields take any value, because files hold any; bodies that can be large stay undecoded (`Raw`).
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters import _json as json
from quartermaster.adapters._lines import or_none, text_or_none

_NOTHING: Final = msgspec.Raw(b"null")


class Line(msgspec.Struct, rename="camel", gc=False):
    """One line. Only lines of the types user, assistant and system are read any further."""

    type: Any = None
    subtype: Any = None
    session_id: Any = None
    timestamp: Any = None
    uuid: Any = None
    version: Any = None
    cwd: Any = None
    git_branch: Any = None
    is_meta: Any = None
    is_sidechain: Any = None
    agent_id: Any = None
    is_compact_summary: Any = None
    is_api_error_message: Any = None
    retry_attempt: Any = None
    max_retries: Any = None
    retry_in_ms: Any = None
    compact_metadata: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    message: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    tool_use_result: msgspec.Raw = _NOTHING


class Progress(msgspec.Struct, rename="camel", gc=False):
    """What a line of progress carries; that of a sub-agent holds a whole line of the sub-agent's own."""

    type: Any = None
    agent_id: Any = None
    message: msgspec.Raw = _NOTHING


class Report(msgspec.Struct, rename="camel", gc=False):
    """What the program notes of a tool's result; that of a sub-agent sums it up."""

    agent_id: Any = None
    status: Any = None
    duration_ms: Any = None
    total_duration_ms: Any = None
    total_tokens: Any = None
    total_tool_use_count: Any = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The four token counters of a model call, which do not overlap, and what its price depends on beside."""

    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_creation: Any = None
    service_tier: Any = None


class Block(msgspec.Struct, gc=False):
    """One content block: text, thinking, tool_use or tool_result."""

    type: Any = None
    text: Any = None
    id: Any = None
    name: Any = None
    input: msgspec.Raw = _NOTHING
    tool_use_id: Any = None
    content: msgspec.Raw = _NOTHING
    is_error: Any = None


class Message(NamedTuple):
    """The message of a line; a content that is one text is one text block."""

    id: Any
    model: Any
    usage: Usage | None
    blocks: list[Block]
    stop_reason: Any


class _Message(msgspec.Struct, gc=False):
    id: Any = None
    model: Any = None
    usage: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING
    stop_reason: Any = None


_decode_progress = msgspec.json.Decoder(Progress).decode
_decode_report = msgspec.json.Decoder(Report).decode
_decode_line = msgspec.json.Decoder(Line).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_usage = msgspec.json.Decoder(Usage).decode
_decode_blocks = msgspec.json.Decoder(list[Block]).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_REPORTED: Final = re.compile(rb'"(?:agentId|durationMs)"')


def decode_line(text: bytes) -> tuple[Line, Message | None]:
    """A line and its message. Raises for what is no JSON object."""
    line = _decode_line(text)
    return line, _message(line.message) if line.type in ("user", "assistant") else None


def decode_sub_agent(line: Line) -> tuple[str, Line, Message | None] | None:
    """The id of the sub-agent of a line of progress, and the line that it wrote."""
    progress = or_none(_decode_progress, line.data)
    if progress is None or progress.type != "agent_progress" or not text_or_none(progress.agent_id):
        return None
    inner = or_none(decode_line, progress.message)
    return (progress.agent_id, *inner) if inner else None


def decode_result(raw: msgspec.Raw) -> Report | None:
    """What the program notes of a result, where that says how long it took or who reported."""
    if not _REPORTED.search(raw):
        return None
    return or_none(_decode_report, raw)


def result_text(content: msgspec.Raw) -> str:
    """The text of a tool result: a text, or the text blocks of a list, others as their type in brackets."""
    value = json.decoded_or_none(content)
    if isinstance(value, str):
        return value
    items = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    texts = (item.get("text", f"[{item.get('type')}]") for item in items)
    return "\n".join(text for text in texts if isinstance(text, str))


def _message(raw: msgspec.Raw) -> Message | None:
    message = or_none(_decode_message, raw)
    if message is None:
        return None
    usage = or_none(_decode_usage, message.usage)
    return Message(message.id, message.model, usage, _blocks(message.content), message.stop_reason)


def _blocks(content: msgspec.Raw) -> list[Block]:
    blocks = or_none(_decode_blocks, content)
    if blocks is not None:
        return blocks
    text = or_none(_decode_text, content)
    if text is not None:
        return [Block(type="text", text=text)]
    elements = or_none(_decode_elements, content) or []
    return [block for element in elements if (block := or_none(_decode_block, element))]
