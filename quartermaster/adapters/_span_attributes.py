"""What a span says of itself, in whatever vocabulary its attributes are written.

Read are the GenAI semantic conventions of OpenTelemetry (old names and new ones), OpenInference,
OpenLLMetry and the Vercel AI SDK. Where several are on one span, the first that says something counts.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from quartermaster.adapters._entries import (
    ARGUMENT_LIMIT,
    TEXT_LIMIT,
    arguments_digest,
    cut,
    cut_arguments,
    kept_arguments,
    output_text,
)
from quartermaster.adapters._lines import is_id, text_or_none
from quartermaster.adapters._story import arguments_of, cost_of, text_of

Kind = Literal["model", "tool", "agent", "other"]
Attributes = Mapping[str, Any]

_OPENINFERENCE: Final[dict[Any, Kind]] = {
    "LLM": "model",
    "EMBEDDING": "model",
    "TOOL": "tool",
    "AGENT": "agent",
}
_OPERATIONS: Final[dict[Any, Kind]] = {
    "chat": "model",
    "completion": "model",
    "text_completion": "model",
    "generate_content": "model",
    "embeddings": "model",
    "call_llm": "model",
    "execute_tool": "tool",
    "invoke_agent": "agent",
    "invoke_workflow": "agent",
}
_OPENLLMETRY: Final[dict[Any, Kind]] = {"workflow": "agent", "agent": "agent", "tool": "tool"}

_SESSION: Final = (
    "gen_ai.conversation.id",
    "session.id",
    "gcp.vertex.agent.session_id",
    "langfuse.session.id",
    "ai.telemetry.metadata.sessionId",
    "traceloop.association.properties.session_id",
)
MISSION: Final = "quartermaster.mission.id"
"""The attribute of a resource that names the mission of everything that it tells, before any session."""
_MODEL: Final = (
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "ai.response.model",
    "ai.model.id",
    "embedding.model_name",
)
_REQUESTED_MODEL: Final = ("gen_ai.request.model", "llm.model_name", "ai.model.id", "gen_ai.response.model")
_PROVIDER: Final = (
    "gen_ai.provider.name",
    "gen_ai.system",
    "llm.provider",
    "llm.system",
    "ai.model.provider",
)
_AGENT: Final = ("gen_ai.agent.name", "agent.name", "agent_name", "ai.telemetry.functionId")
_TOOL: Final = ("gen_ai.tool.name", "tool.name", "ai.toolCall.name", "traceloop.entity.name")
_TOOL_CALL: Final = ("gen_ai.tool.call.id", "tool_call.id", "ai.toolCall.id")
_TOOL_ARGUMENTS: Final = (
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.args",
    "gcp.vertex.agent.tool_call_args",
    "ai.toolCall.args",
    "input.value",
    "traceloop.entity.input",
    "tool.parameters",
)
_OUTPUT: Final = (
    "gen_ai.output.messages",
    "gen_ai.output",
    "gen_ai.completion.0.content",
    "llm.output_messages.0.message.content",
    "ai.response.text",
    "gen_ai.tool.call.result",
    "gcp.vertex.agent.tool_response",
    "ai.toolCall.result",
    "output.value",
    "traceloop.entity.output",
)
_MESSAGES: Final = (
    "gen_ai.input.messages",
    "ai.prompt.messages",
    "ai.prompt",
    "input.value",
    "traceloop.entity.input",
)

_INPUT_TOKENS: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "ai.usage.inputTokens",
    "ai.usage.promptTokens",
    "ai.usage.tokens",
    "llm.usage.prompt_tokens",
)
_OUTPUT_TOKENS: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "ai.usage.outputTokens",
    "ai.usage.completionTokens",
    "llm.usage.completion_tokens",
)
_CACHE_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "ai.usage.cachedInputTokens",
    "gen_ai.usage.details.cache_read_tokens",
)
_CACHE_WRITE: Final = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
    "gen_ai.usage.details.cache_write_tokens",
)
_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
    "ai.usage.reasoningTokens",
    "gen_ai.usage.details.reasoning_tokens",
)
_TOTAL_TOKENS: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")
_COST: Final = ("gen_ai.usage.cost", "gen_ai.usage.total_cost", "llm.cost.total")
_COST_PARTS: Final = (
    ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"),
    ("llm.cost.prompt", "llm.cost.completion"),
    ("cost_prompt", "cost_completion"),
)

_LARGE: Final = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "gen_ai.input.messages",
    "gen_ai.output",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gcp.vertex.agent.llm_",
    "gcp.vertex.agent.tool_",
    "llm.input_messages",
    "llm.output_messages",
    "llm.request.functions",
    "llm.tools",
    "llm.invocation_parameters",
    "ai.prompt",
    "ai.response.text",
    "ai.response.object",
    "ai.toolCall.",
    "input.value",
    "output.value",
    "tool.parameters",
    "tool.description",
    "gen_ai.tool.",
    "traceloop.entity.",
)
_KEPT_ATTRIBUTES: Final = 64
_MESSAGES_LOOKED_AT: Final = 8
_SHELLS: Final = frozenset({"bash", "shell", "execute_bash", "terminal"})
_PLAIN: Final = frozenset({int, float, bool, type(None)})


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of a model call; they do not overlap. `total` only where nothing else is known."""

    fresh: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    total: int | None = None
    cost: float | None = None


def kind_of(name: str, attributes: Attributes) -> Kind:
    """What a span stands for; only what says so itself is more than `other`."""
    kind = attributes.get("openinference.span.kind")
    if kind is not None:
        return _OPENINFERENCE.get(kind, "other") if type(kind) is str else "other"
    operation = attributes.get("gen_ai.operation.name")
    if type(operation) is str and operation:
        return _OPERATIONS.get(operation) or ("model" if _was_billed(attributes) else "other")
    operation = attributes.get("ai.operationId")
    if type(operation) is str and operation.startswith("ai."):
        return _kind_of_vercel(operation)
    kind = attributes.get("traceloop.span.kind")
    if type(kind) is str:
        return _OPENLLMETRY.get(kind, "other")
    if "gen_ai.tool.name" in attributes:
        return "tool"
    if "gen_ai.request.model" in attributes or "gen_ai.response.model" in attributes:
        return "model"
    return "agent" if name.startswith("invoke_agent") else "other"


def _was_billed(attributes: Attributes) -> bool:
    """Whether a span of an unknown operation names a model and the tokens that it took."""
    return model_of(attributes) is not None and _count(attributes, _INPUT_TOKENS) is not None


def _kind_of_vercel(operation: str) -> Kind:
    """`ai.generateText.doGenerate` asks the model; `ai.generateText` around it is the agent."""
    if operation == "ai.toolCall":
        return "tool"
    return "model" if operation.rpartition(".")[2].startswith("do") else "agent"


def mission_of(resource: Attributes) -> str | None:
    """The mission that whoever started the program has named, whatever sessions it begins."""
    value = resource.get(MISSION)
    return value if isinstance(value, str) and is_id(value) else None


def session_of(attributes: Attributes) -> str | None:
    """The conversation or session that a span belongs to."""
    for name in _SESSION:
        value = attributes.get(name)
        if value and is_id(value):
            return str(value)
    return None


def first_text(attributes: Attributes, names: tuple[str, ...]) -> str | None:
    """The first of these attributes that is a text."""
    for name in names:
        value = attributes.get(name)
        if type(value) is str and value:
            return value
    return None


def model_of(attributes: Attributes) -> str | None:
    """The model that answered, else the one that was asked for."""
    return first_text(attributes, _MODEL)


def requested_model_of(attributes: Attributes) -> str | None:
    """The model that was asked for, else the one that answered."""
    return first_text(attributes, _REQUESTED_MODEL)


def provider_of(attributes: Attributes) -> str | None:
    """Whose model it is."""
    return first_text(attributes, _PROVIDER)


def agent_of(attributes: Attributes) -> str | None:
    """The name of an agent."""
    return first_text(attributes, _AGENT)


def usage_of(attributes: Attributes) -> Usage:
    """Tokens and recorded cost. Input counters of these conventions include what the cache gave.

    Some recorders leave it out all the same; that shows where the cache gave more than all input.
    """
    told, output = _count(attributes, _INPUT_TOKENS), _count(attributes, _OUTPUT_TOKENS)
    read, write = _count(attributes, _CACHE_READ), _count(attributes, _CACHE_WRITE)
    cached = (read or 0) + (write or 0)
    fresh = told - cached if told is not None and cached <= told else told
    return Usage(
        fresh=fresh,
        output=output,
        cache_read=read,
        cache_write=write,
        reasoning=_count(attributes, _REASONING),
        total=_count(attributes, _TOTAL_TOKENS) if told is None and output is None else None,
        cost=_cost(attributes, told, output),
    )


def _count(attributes: Attributes, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = attributes.get(name)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and 0 <= value < 2**53:
            return value
    return None


def _cost(attributes: Attributes, *tokens: int | None) -> float | None:
    for name in _COST:
        cost = cost_of(attributes.get(name))
        if cost is not None:
            return cost
    for names in _COST_PARTS:
        parts = [attributes.get(name) for name in names]
        costs = [cost_of(part) for part in parts]
        unknown = [cost is None and count != 0 for cost, count in zip(costs, tokens, strict=True)]
        if not any(unknown):  # half of a cost is no cost
            total = sum(cost for cost in costs if cost is not None)
            return round(total, 12) if total else None
    return None


def command_of(name: str, attributes: Attributes) -> dict[str, Any]:
    """The payload of a command, without its outcome; of a shell the command line is its name."""
    tool = first_text(attributes, _TOOL) or name.removeprefix("execute_tool ") or "tool"
    arguments = arguments_of(arguments_of(_first(attributes, _TOOL_ARGUMENTS)))  # some are JSON twice
    line = arguments.get("command") if isinstance(arguments, dict) and tool in _SHELLS else None
    call: dict[str, Any] = {"command": cut(tool, TEXT_LIMIT), "call_id": first_text(attributes, _TOOL_CALL)}
    if isinstance(line, str) and line:
        told = call | {"command": cut(line, TEXT_LIMIT), "tool": cut(tool, TEXT_LIMIT)}
        told |= kept_arguments({name: arguments[name] for name in arguments if name != "command"} or None)
        return told if len(line) <= TEXT_LIMIT else told | {"arguments_digest": arguments_digest(arguments)}
    return call | kept_arguments(arguments)


def exit_code_of(attributes: Attributes) -> int | None:
    """The exit code of a process that a tool ran."""
    value = attributes.get("process.exit.code")
    return value if type(value) is int and abs(value) < 2**53 else None


def output_of(attributes: Attributes) -> str | None:
    """What came out, as written."""
    return output_text(_first(attributes, _OUTPUT)) or None


def prompt_of(attributes: Attributes) -> str | None:
    """What a user asked first, as far as the span tells messages."""
    for prefix, role, content in (
        ("gen_ai.prompt.", ".role", ".content"),
        ("llm.input_messages.", ".message.role", ".message.content"),
    ):
        if f"{prefix}0{role}" not in attributes:
            continue
        for index in range(_MESSAGES_LOOKED_AT):
            if attributes.get(f"{prefix}{index}{role}") == "user":
                return text_or_none(attributes.get(f"{prefix}{index}{content}"))
    for name in _MESSAGES:
        value = attributes.get(name)
        if value:
            return _prompt_in(arguments_of(value), 0)
    return None


def _prompt_in(value: Any, depth: int) -> str | None:
    """The first text of a user in messages however they are nested; a text alone is the prompt itself."""
    if isinstance(value, str):
        return value or None
    if depth > _MESSAGES_LOOKED_AT:
        return None
    if isinstance(value, dict):
        for name in ("messages", "prompt", "input", "task", "query", "user_msg"):
            if value.get(name):
                return _prompt_in(arguments_of(value[name]), depth + 1)
        return None
    if not isinstance(value, list):
        return None
    for item in value[:_MESSAGES_LOOKED_AT]:
        if isinstance(item, dict) and item.get("role") == "user":
            return _text_of_message(item)
        if isinstance(item, list):
            if len(item) == 2 and item[0] == "user" and isinstance(item[1], str):
                return item[1] or None
            found = _prompt_in(item, depth + 1)
            if found:
                return found
    return None


def _text_of_message(message: dict[str, Any]) -> str | None:
    """The text of a message, in `content` or in `parts` as the newer conventions have it."""
    parts = message.get("parts")
    if isinstance(parts, list):
        texts = (part.get("content") for part in parts if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str)) or None
    return text_of(message.get("content")) or None


def kept_attributes(attributes: Attributes) -> dict[str, Any] | None:
    """The attributes that are small enough to be kept as they are; messages and arguments are elsewhere."""
    kept: dict[str, Any] = {}
    for name, value in attributes.items():
        if type(value) in _PLAIN:
            kept[name] = value
        elif not name.startswith(_LARGE):
            short = type(value) is str and len(value) <= ARGUMENT_LIMIT
            kept[name] = value if short else cut_arguments(value)
        if len(kept) == _KEPT_ATTRIBUTES:
            break
    return kept or None


def _first(attributes: Attributes, names: tuple[str, ...]) -> Any:
    for name in names:
        value = attributes.get(name)
        if value is not None:
            return value
    return None
