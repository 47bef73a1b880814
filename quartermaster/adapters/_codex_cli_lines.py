"""The lines of a Codex CLI rollout, as far as the adapter reads them.

Fields take any value, because files hold any; bodies that can be large stay undecoded (`Raw`).
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

from quartermaster.adapters import _json as json
from quartermaster.adapters._lines import or_none, text_or_none

_NOTHING: Final = msgspec.Raw(b"null")


class Line(msgspec.Struct, gc=False):
    """One line: an envelope around a payload whose meaning depends on the type."""

    type: Any = None
    timestamp: Any = None
    payload: msgspec.Raw = _NOTHING


class Item(msgspec.Struct, gc=False):
    """What the model produced or was given (`response_item`), or what happened (`event_msg`)."""

    type: Any = None
    role: Any = None
    name: Any = None
    call_id: Any = None
    message: Any = None
    reason: Any = None
    status: Any = None
    success: Any = None
    exit_code: Any = None
    arguments: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    action: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING
    output: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING
    info: msgspec.Raw = _NOTHING


class SessionMeta(msgspec.Struct, gc=False):
    """Who runs where. `source` is a text, or an object for sub-agents."""

    id: Any = None
    parent_thread_id: Any = None
    cwd: Any = None
    cli_version: Any = None
    agent_nickname: Any = None
    model_provider: Any = None
    source: msgspec.Raw = _NOTHING
    git: msgspec.Raw = _NOTHING


class TurnContext(msgspec.Struct, gc=False):
    """What a turn runs with; the only place that names the model."""

    model: Any = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Token counters; what was cached is part of the input, what was reasoned part of the output."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    total_tokens: int = 0


class TokenCount(msgspec.Struct, gc=False):
    """The tokens of the whole session so far, and of its last model call."""

    total_token_usage: msgspec.Raw = _NOTHING
    last_token_usage: msgspec.Raw = _NOTHING


class Verdict(NamedTuple):
    """What the text of a call's result says of how it went.

    `exit_code` is None where the text has none, `running` the process that goes on behind the call's back.
    `output` is what the tool itself answered, without what the program puts before it.
    """

    exit_code: int | None
    elapsed_ms: int | None
    running: str | None
    text: str
    output: str


class Delegation(NamedTuple):
    """One agent gives another something to do: the other's name or id, its id, and what is to be done."""

    to: str
    agent_id: str | None
    sender: str | None
    text: str | None


class _Delegation(msgspec.Struct, gc=False):
    call_id: Any = None
    prompt: Any = None
    author: Any = None
    recipient: Any = None
    new_thread_id: Any = None
    new_agent_nickname: Any = None
    receiver_thread_id: Any = None
    receiver_agent_nickname: Any = None
    content: msgspec.Raw = _NOTHING


class _GoalUpdate(msgspec.Struct, gc=False):
    goal: Any = None


decode_line = msgspec.json.Decoder(Line).decode
_decode_item = msgspec.json.Decoder(Item).decode
_decode_meta = msgspec.json.Decoder(SessionMeta).decode
_decode_context = msgspec.json.Decoder(TurnContext).decode
_decode_count = msgspec.json.Decoder(TokenCount).decode
_decode_usage = msgspec.json.Decoder(Usage).decode
_decode_delegation = msgspec.json.Decoder(_Delegation).decode
_decode_goal = msgspec.json.Decoder(_GoalUpdate).decode

_HEAD: Final = 2_000
_OUTPUT: Final = "\nOutput:"
_PATCHED: Final = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.{1,1000})$", re.MULTILINE)
_FILES_LIMIT: Final = 200
_EXIT_CODE: Final = re.compile(r"^(?:Process exited with code|Exit code:) (-?\d{1,9})\b", re.MULTILINE)
_WALL_TIME: Final = re.compile(r"^Wall time: (\d{1,9}(?:\.\d{1,9})?) seconds", re.MULTILINE)
_RUNNING: Final = re.compile(r"^Process running with session ID (\w{1,64})", re.MULTILINE)


def item_of(line: Line) -> Item | None:
    """The payload of a line of items or events."""
    return or_none(_decode_item, line.payload)


def meta_of(line: Line) -> SessionMeta | None:
    """The payload of a line that opens a session."""
    return or_none(_decode_meta, line.payload)


def model_of(line: Line) -> Any:
    """The model that a turn runs with."""
    context = or_none(_decode_context, line.payload)
    return context.model if context else None


def parent_of(meta: SessionMeta) -> str | None:
    """The session that sent this one out as its sub-agent."""
    source = json.decoded_or_none(meta.source)
    for name in ("subagent", "thread_spawn"):
        source = source.get(name) if isinstance(source, dict) else None
    spawned_by = source.get("parent_thread_id") if isinstance(source, dict) else None
    return text_or_none(meta.parent_thread_id) or text_or_none(spawned_by)


def usages_of(item: Item) -> tuple[Usage, Usage | None] | None:
    """The usage so far and that of the last call; None where the line carries none."""
    count = or_none(_decode_count, item.info)
    total = or_none(_decode_usage, count.total_token_usage) if count else None
    return (total, or_none(_decode_usage, count.last_token_usage)) if count and total else None


def texts_of(content: msgspec.Raw) -> list[str]:
    """The texts of a message, or of a result that is a text, an object or a list of content items."""
    value = json.decoded_or_none(content)
    items = value if isinstance(value, list) else [value]
    texts = (item.get("text", item.get("content")) if isinstance(item, dict) else item for item in items)
    return [text for text in texts if isinstance(text, str)]


def verdict_of(output: msgspec.Raw) -> Verdict:
    """How a call went, from its result: JSON in older versions, a text with a head in newer ones."""
    text = "\n".join(texts_of(output))
    if text.startswith("{"):
        told = json.decoded_or_none(text.encode("utf-8", "replace"))
        metadata = told.get("metadata") if isinstance(told, dict) else None
        if isinstance(metadata, dict):
            inner = text_or_none(told.get("output")) or ""
            return Verdict(
                _whole_number(metadata.get("exit_code")),
                _milliseconds(metadata.get("duration_seconds")),
                None,
                inner,
                inner,
            )
    head, mark, _ = text[:_HEAD].partition(_OUTPUT)
    exit_code, wall_time, running = _EXIT_CODE.search(head), _WALL_TIME.search(head), _RUNNING.search(head)
    return Verdict(
        int(exit_code.group(1)) if exit_code else None,
        _milliseconds(float(wall_time.group(1))) if wall_time else None,
        running.group(1) if running and not exit_code else None,
        text,
        text[len(head) + len(mark) :].removeprefix("\n") if mark and (exit_code or wall_time) else text,
    )


def delegation_of(line: Line) -> Delegation | None:
    """What a line tells of agents that speak to each other; None where it names no receiver."""
    told = or_none(_decode_delegation, line.payload)
    if told is None:
        return None
    agent_id = text_or_none(told.new_thread_id) or text_or_none(told.receiver_thread_id)
    names = (told.new_agent_nickname, told.receiver_agent_nickname, told.recipient, agent_id)
    to = next((name for name in names if text_or_none(name)), None)
    if to is None:
        return None
    text = text_or_none(told.prompt) or "\n".join(texts_of(told.content)) or None
    return Delegation(to, agent_id, text_or_none(told.author), text)


def goal_of(line: Line) -> str | None:
    """The goal that a session was set."""
    told = or_none(_decode_goal, line.payload)
    goal = told.goal if told else None
    return text_or_none(goal.get("objective")) if isinstance(goal, dict) else None


def patched_files(patch: str) -> list[str]:
    """The files that a patch adds, changes, deletes or moves to."""
    return list(dict.fromkeys(_PATCHED.findall(patch)))[:_FILES_LIMIT]


def failed_by(item: Item) -> bool | None:
    """Whether an event says that its call failed; None where it does not say."""
    if type(item.exit_code) is int:
        return item.exit_code != 0
    if type(item.success) is bool:
        return not item.success
    result = json.decoded_or_none(item.result)
    if not isinstance(result, dict):
        return None
    told = result.get("Ok")
    return "Err" in result or (isinstance(told, dict) and told.get("isError") is True)


def _whole_number(value: Any) -> int | None:
    return value if type(value) is int else None


def _milliseconds(seconds: Any) -> int | None:
    if type(seconds) is not float and type(seconds) is not int:
        return None
    return round(seconds * 1_000) if 0 <= seconds < 1e9 else None
