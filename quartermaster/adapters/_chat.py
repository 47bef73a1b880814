"""Lists of chat messages, which several formats hold: how they begin, and what a message is."""

import re
from typing import Any, Final

import msgspec

from quartermaster.adapters import _json as json
from quartermaster.adapters._documents import element_names
from quartermaster.adapters._story import Usage, count_of, fresh_of, text_of
from quartermaster.core.journal import minted_id

_MINI: Final = re.compile(rb"<returncode>|mswea_bash_command|COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")


class Message(msgspec.Struct, gc=False):
    """One message of a chat; fields take any value."""

    role: Any = None
    content: Any = None
    name: Any = None
    tool_calls: Any = None
    tool_call_id: Any = None
    function_call: Any = None
    extra: Any = None


decode_message: Final = msgspec.json.Decoder(Message).decode


def is_message_list(head: bytes, array: int) -> bool:
    """Whether the array at `array` begins with messages that have a role and a content."""
    names = list(element_names(head, array))
    first = names[0] if names else set()
    return b"role" in first and any(b"content" in found for found in names)


def begins_as_message_list(head: bytes) -> bool:
    """Whether a document is a list of messages."""
    return is_message_list(head, json.start_of(head))


def speaks_mini(head: bytes) -> bool:
    """Whether messages hold the marks that mini-swe-agent puts into every conversation."""
    return _MINI.search(head) is not None


def content_id(format_name: str, messages: list[Message]) -> str:
    """An id for a conversation that has none: it follows from all that was said."""
    parts: list[str | bytes] = []
    for message in messages:
        parts += [str(message.role), str(message.name or ""), text_of(message.content)]
        parts += [f"{tool}({arguments})" for tool, arguments, _ in calls_of(message)]
    return minted_id(format_name, *parts)[2:]


def calls_of(message: Message) -> list[tuple[str, Any, str]]:
    """The tool calls of a message: tool, arguments as written, and its id or ""."""
    listed = message.tool_calls if isinstance(message.tool_calls, list) else []
    calls: list[tuple[str, Any, str]] = []
    for one in listed:
        if isinstance(one, dict):
            calls += _call_of(one.get("function") or one, one.get("id"))
    if not calls and isinstance(message.function_call, dict):
        calls += _call_of(message.function_call, None)
    return calls


def _call_of(function: Any, call_id: Any) -> list[tuple[str, Any, str]]:
    if not isinstance(function, dict):
        return []
    tool = function.get("name")
    if not isinstance(tool, str) or not tool:
        return []
    return [(tool, function.get("arguments"), call_id if isinstance(call_id, str) else "")]


def usage_of(usage: Any, cost: float | None = None) -> Usage:
    """The disjoint counters of a usage as OpenAI and LiteLLM write it.

    Cache reads are part of `prompt_tokens`. Cache writes are so only in newer files, which say so in
    the details; elsewhere they come on top.
    """
    if not isinstance(usage, dict):
        return Usage(cost=cost)
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    read = count_of(usage.get("cache_read_input_tokens"))
    if read is None:
        read = count_of(details.get("cached_tokens"))
    write = count_of(usage.get("cache_creation_input_tokens"))
    included = count_of(details.get("cache_creation_tokens"))
    prompt = count_of(usage.get("prompt_tokens"))
    inside = bool(included) and prompt is not None and prompt >= (read or 0) + (included or 0)
    write = included if write is None else write
    output_details = usage.get("completion_tokens_details")
    output_details = output_details if isinstance(output_details, dict) else {}
    return Usage(
        fresh=fresh_of(prompt, read, write if inside else None),
        output=count_of(usage.get("completion_tokens")),
        cache_read=read,
        cache_write=write,
        reasoning=count_of(output_details.get("reasoning_tokens")),
        cost=cost,
    )
