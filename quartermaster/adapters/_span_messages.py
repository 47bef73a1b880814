"""What is said in spans: what users asked, what models and agents answered, and with which tools.

Messages stand in attributes as flattened lists, as JSON in a text, or as plain text, in several
vocabularies; the first that says something counts.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from quartermaster.adapters._lines import text_or_none
from quartermaster.adapters._story import arguments_of

Attributes = Mapping[str, Any]

_FLATTENED: Final = (("gen_ai.prompt.", "."), ("llm.input_messages.", ".message."))
_ASKED: Final = (
    "gen_ai.input.messages",
    "ai.prompt.messages",
    "ai.prompt",
    "gcp.vertex.agent.llm_request",
    "input.value",
    "traceloop.entity.input",
)
_TEXTS_SAID: Final = (
    "gen_ai.completion.0.content",
    "llm.output_messages.0.message.content",
    "llm.output_messages.0.message.contents.0.message_content.text",
    "ai.response.text",
    "ai.response.object",
)
"""Attributes that are what the model answered and nothing else."""
_SAID: Final = (
    "gen_ai.output.messages",
    "gen_ai.output",
    "gcp.vertex.agent.llm_response",
    "output.value",
    "traceloop.entity.output",
)
_AROUND_A_QUESTION: Final = ("messages", "contents", "prompt", "input", "task", "query", "user_msg")
_AROUND_AN_ANSWER: Final = (
    "content",
    "parts",
    "text",
    "message",
    "kwargs",
    "messages",
    "generations",
    "choices",
    "response",
    "output",
    "final_output",
    "answer",
    "result",
)
_USERS: Final = ("user", "human")
_NO_ANSWER: Final = frozenset(
    {"user", "human", "system", "developer", "tool", "function", "tool_call", "tool_use", "tool_result"}
    | {"function_call", "reasoning", "thinking"}
)
"""Roles of messages and types of parts that are not the model's words."""
_OBSERVATION: Final = "Observation:"
"""How results of tools begin that an agent hands to its model under the name of the user."""
_DEPTH_LIMIT: Final = 8
_MESSAGES_LIMIT: Final = 10_000
_TOOLS_LIMIT: Final = 200
_FINISH_REASONS: Final = (
    "gen_ai.response.finish_reasons",
    "gen_ai.completion.0.finish_reason",
    "ai.response.finishReason",
    "llm.finish_reason",
)


def asked_in(attributes: Attributes) -> str | None:
    """What a user said last, as far as the span tells messages."""
    for prefix, between in _FLATTENED:
        if f"{prefix}0{between}role" in attributes:
            return _question(_last_flattened(attributes, prefix, between))
    for name in _ASKED:
        value = attributes.get(name)
        if value:
            return _question(_asked(arguments_of(value), 0))
    return None


def _question(text: str | None) -> str | None:
    return text if text and text.strip() and not text.startswith(_OBSERVATION) else None


def _last_flattened(attributes: Attributes, prefix: str, between: str) -> str | None:
    last: str | None = None
    for index in range(_MESSAGES_LIMIT):
        role = attributes.get(f"{prefix}{index}{between}role")
        if role is None:
            break
        if role in _USERS:
            last = text_or_none(attributes.get(f"{prefix}{index}{between}content")) or text_or_none(
                attributes.get(f"{prefix}{index}{between}contents.0.message_content.text")
            )
    return last


def _asked(value: Any, depth: int) -> str | None:
    """The last text of a user in messages however they are nested; a text alone is the question itself."""
    if isinstance(value, str):
        return value or None
    if depth > _DEPTH_LIMIT:
        return None
    if isinstance(value, dict):
        inside = (value[name] for name in _AROUND_A_QUESTION if value.get(name))
        return next((_asked(arguments_of(one), depth + 1) for one in inside), None)
    for item in reversed(value) if isinstance(value, list) else ():
        if isinstance(item, dict) and item.get("role") in _USERS:
            return _words(item.get("parts") or item.get("content"), depth)
        if isinstance(item, list):
            if len(item) == 2 and item[0] in _USERS and isinstance(item[1], str):
                return item[1] or None
            if found := _asked(item, depth + 1):
                return found
    return None


def said_in(attributes: Attributes) -> str | None:
    """What a model or an agent answered in words; None where it only called tools."""
    for name in _TEXTS_SAID:
        text = text_or_none(attributes.get(name))
        if text and text.strip():
            return text
    for name in _SAID:
        value = attributes.get(name)
        if value:
            text = _answer_in(name, value)
            if text and text.strip():
                return text
    return None


def _answer_in(name: str, value: Any) -> str | None:
    decoded = arguments_of(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
    if name == "gen_ai.output" and isinstance(value, str):
        return None if _calls_tools(decoded) else value
    return _words(decoded, 0)


def _calls_tools(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and ("tool.name" in item or "tool_calls" in item) for item in items)


def _words(value: Any, depth: int) -> str | None:
    """The words of a message, or of the last message with words, however that is wrapped."""
    if isinstance(value, str):
        return value or None
    if depth > _DEPTH_LIMIT:
        return None
    if isinstance(value, dict):
        return _words_of_object(value, depth)
    if not isinstance(value, list):
        return None
    items = [item for item in value if isinstance(item, dict | list)]
    if any(isinstance(item, dict) and "role" in item for item in items):
        return next((text for item in reversed(items) if (text := _words(item, depth + 1))), None)
    return "\n".join(text for item in items if (text := _words(item, depth + 1))) or None


def _words_of_object(value: dict[str, Any], depth: int) -> str | None:
    kinds = (value.get("role"), value.get("type"))
    if any(isinstance(kind, str) and kind in _NO_ANSWER for kind in kinds) or "tool.name" in value:
        return None
    inside = (value[name] for name in _AROUND_AN_ANSWER if value.get(name))
    return next((text for one in inside if (text := _words(one, depth + 1))), None)


def finish_reason_in(attributes: Attributes) -> str | None:
    """Why a model stopped; of several answers the first one's reason."""
    for name in _FINISH_REASONS:
        value = arguments_of(attributes.get(name))
        if isinstance(value, list):
            value = next(iter(value), None)
        if text_or_none(value):
            return str(value)
    return None


def tools_in(attributes: Attributes) -> list[str]:
    """The names of the tools that a model or an agent was given."""
    listed = attributes.get("gen_ai.tool.definitions") or attributes.get("ai.prompt.tools")
    if isinstance(listed, str):
        return list(_names_in(listed))
    names = attributes.get("smolagents.tools_names")
    items = listed if isinstance(listed, list) else names if isinstance(names, list) else None
    if items is not None:
        return [name for item in items[:_TOOLS_LIMIT] if (name := _tool_name(arguments_of(item)))]
    return _flattened_tools(attributes)


def _flattened_tools(attributes: Attributes) -> list[str]:
    names: list[str] = []
    for index in range(_TOOLS_LIMIT):
        name = attributes.get(f"llm.request.functions.{index}.name")
        if name is None:
            schema = attributes.get(f"llm.tools.{index}.tool.json_schema")
            name = next(iter(_names_in(schema)), None) if isinstance(schema, str) else None
        if not text_or_none(name):
            break
        names.append(str(name))
    return names


@lru_cache(maxsize=256)
def _names_in(text: str) -> tuple[str, ...]:
    """The names of the tools that a text in JSON defines, which every call of an agent repeats."""
    value = arguments_of(text)
    items = value if isinstance(value, list) else [value]
    return tuple(name for item in items[:_TOOLS_LIMIT] if (name := _tool_name(arguments_of(item))))


def _tool_name(item: Any) -> str | None:
    if isinstance(item, str):
        return item or None
    if not isinstance(item, dict):
        return None
    function = item.get("function")
    return text_or_none(item.get("name")) or (
        text_or_none(function.get("name")) if isinstance(function, dict) else None
    )
