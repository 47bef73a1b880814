"""Native entries as the adapters of other formats write them."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

from quartermaster.core.journal import framed, minted_within

SUMMARY_LIMIT: Final = 200
TEXT_LIMIT: Final = 2_000
ARGUMENT_LIMIT: Final = 400
_TOOL_LIMIT: Final = 200
_NAME_LIMIT: Final = 200
_SCHEMA_LIMIT: Final = 4_000
_DEPTH_LIMIT: Final = 16
_LATER: Final = "…"


class _Entry(msgspec.Struct, omit_defaults=True):
    id: str
    mission_id: str
    ts: str
    entry_type: str
    actor_type: str
    summary: str
    severity: str = "info"
    payload: dict[str, Any] = {}
    trace_id: str | None = None


_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="sorted").encode


class Mission:
    """Writes the entries of one mission; their ids follow from the mission and what they tell."""

    def __init__(self, format_name: str, mission_id: str) -> None:
        self.id = mission_id
        self._context = framed(format_name, mission_id)

    def entry_id(self, *key: str | bytes) -> str:
        """The id of the entry that tells this of the mission: the same in every copy of a recording."""
        return minted_within(self._context, *key)

    def written(
        self,
        entry_id: str,
        ts: str,
        entry_type: str,
        payload: dict[str, Any],
        *,
        summary: str = "",
        actor: str = "agent",
        severity: str = "info",
        trace_id: str | None = None,
    ) -> bytes:
        """The JSON text of one entry; members of the payload that are None are left out."""
        told = {name: value for name, value in payload.items() if value is not None}
        line = one_line(summary or entry_type)
        return _encode(_Entry(entry_id, self.id, ts, entry_type, actor, line, severity, told, trace_id))


def cut(text: str, limit: int) -> str:
    """The text, or its beginning with a mark that more followed.

    A long limit is shared with the end of the text, where errors and exit words stand.
    """
    if len(text) <= limit:
        return text
    end = limit // 2 if limit >= TEXT_LIMIT else 0
    return text[: limit - end - 1] + _LATER + text[len(text) - end :]


def one_line(text: str) -> str:
    """The beginning of a text as one line of at most 200 characters."""
    return cut(" ".join(text[: SUMMARY_LIMIT * 4].split()), SUMMARY_LIMIT)


def cut_arguments(value: Any, depth: int = 0) -> Any:
    """A call's arguments with long texts cut, so that a file that was written is not kept twice."""
    if isinstance(value, str):
        return cut(value, ARGUMENT_LIMIT)
    if depth >= _DEPTH_LIMIT:
        return _LATER
    if isinstance(value, dict):
        return {name: cut_arguments(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [cut_arguments(item, depth + 1) for item in value]
    return value


def kept_arguments(value: Any) -> dict[str, Any]:
    """The `arguments` of a call for its entry.

    Where a text was cut the `arguments_digest` of all of them is beside: a change behind the cut is seen.
    """
    if value is None:
        return {}
    kept = cut_arguments(value)
    if kept == value:
        return {"arguments": kept}
    return {"arguments": kept, "arguments_digest": arguments_digest(value)}


def arguments_digest(value: Any) -> str | None:
    """16 hex digits that follow from all of the arguments, in whatever order they were written.

    None for what is nested too deeply to be written.
    """
    try:
        return _digest(_canonical(value))
    except RecursionError:
        return None


def finish_reason_of(value: Any) -> str | None:
    """Why a model stopped, as its provider names it; some list it for each of several answers."""
    first = value[0] if isinstance(value, list) and value else value
    return cut(first, _NAME_LIMIT) if isinstance(first, str) and first else None


def kept_output(text: str | None) -> dict[str, Any]:
    """The `output` of a call for its entry, and where it was cut the `output_digest` of all of it."""
    if text is None:
        return {}
    if len(text) <= TEXT_LIMIT:
        return {"output": text}
    digest = _digest(text.encode("utf-8", "surrogatepass"))
    return {"output": cut(text, TEXT_LIMIT), "output_digest": digest}


def output_text(value: Any) -> str | None:
    """What a tool answered, as text: the texts of a list of parts, JSON of other values, None of nothing."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list) and all(map(_is_text_part, value)):
        texts = [text for part in value if isinstance(text := _text_in(part), str)]
        if texts:
            return "\n".join(texts)
    try:
        return _encode(value).decode()
    except RecursionError:
        return None


def arguments_beside(line: str, arguments: dict[str, Any], name: str = "command") -> dict[str, Any]:
    """What a shell was given beside its command line, and where that is cut the digest of everything."""
    told = kept_arguments({key: value for key, value in arguments.items() if key != name} or None)
    if len(line) > TEXT_LIMIT:
        told["arguments_digest"] = arguments_digest(arguments)
    return told


def declared_tools(*declarations: Any) -> list[str] | None:
    """The names of tools in the order of their declaration, at most 200; None where none is declared.

    A declaration is a list of names, of definitions with a name, or of what holds such definitions.
    """
    names: dict[str, None] = {}
    for declaration in declarations:
        for one in declaration if isinstance(declaration, list) else ():
            names.update(dict.fromkeys(_tool_names(one)))
    return list(names)[:_TOOL_LIMIT] or None


def declared_schemas(*declarations: Any) -> dict[str, Any] | None:
    """What the same definitions say of the arguments of each tool, as far as calls are held against it: which
    are required, which may be, of what type. None where nothing is said."""
    schemas: dict[str, Any] = {}
    for declaration in declarations:
        for one in declaration if isinstance(declaration, list) else ():
            for name, schema in _tool_schemas(one):
                if len(schemas) < _TOOL_LIMIT:
                    schemas[name] = schema
    return schemas or None


def _tool_schemas(definition: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(definition, dict):
        return
    several = definition.get("function_declarations") or definition.get("functionDeclarations")
    function = definition.get("function")
    inside = (
        several if isinstance(several, list) else [function if isinstance(function, dict) else definition]
    )
    for one in inside:
        schema = _schema_of(one) if isinstance(one, dict) else None
        if schema is not None:
            yield from ((name, schema) for name in _named(one))


def _schema_of(definition: dict[str, Any]) -> dict[str, Any] | None:
    """The top of a schema, without descriptions and what lies deeper; a large one is as good as none."""
    places = (definition.get(name) for name in ("parameters", "input_schema", "inputSchema"))
    schema = next((one for one in places if isinstance(one, dict)), None)
    if schema is None or not isinstance(schema.get("properties"), dict):
        return None
    kept: dict[str, Any] = {
        "properties": {
            name: {key: one[key] for key in ("type", "enum") if key in one}
            for name, one in schema["properties"].items()
            if isinstance(one, dict)
        }
    }
    for key in ("required", "additionalProperties"):
        if isinstance(schema.get(key), list | bool):
            kept[key] = schema[key]
    return kept if len(_encode(kept)) <= _SCHEMA_LIMIT else None


def _tool_names(definition: Any) -> list[str]:
    if isinstance(definition, str):
        return [cut(definition, _NAME_LIMIT)] if definition else []
    if not isinstance(definition, dict):
        return []
    several = definition.get("function_declarations") or definition.get("functionDeclarations")
    if isinstance(several, list):
        return [name for one in several if isinstance(one, dict) for name in _named(one)]
    function = definition.get("function")
    return _named(function if isinstance(function, dict) else definition)


def _named(definition: dict[str, Any]) -> list[str]:
    name = definition.get("name")
    return [cut(name, _NAME_LIMIT)] if isinstance(name, str) and name else []


def _is_text_part(part: Any) -> bool:
    if isinstance(part, str):
        return True
    return isinstance(part, dict) and ("type" in part or part.keys() == {"text"})


def _text_in(part: Any) -> Any:
    return part if isinstance(part, str) else part.get("text")


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
