"""Log records of OpenTelemetry, told as entries.

Coding agents report their work as log events, without spans: Claude Code does. Those events that are
calls become calls; every other record is kept as it is and makes no step.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from quartermaster.adapters import _span_attributes as read
from quartermaster.adapters._entries import TEXT_LIMIT, Mission, cut, cut_arguments, kept_arguments, one_line
from quartermaster.adapters._spans import mission_id_of
from quartermaster.adapters._story import arguments_of, cost_of
from quartermaster.core.journal import format_instant, minted_id

_WITHOUT_SESSION: Final = "logs"
_ERROR_SEVERITY: Final = 17
_WARN_SEVERITY: Final = 13
_canonical = msgspec.json.Encoder(order="sorted").encode


class LogRecord(msgspec.Struct, gc=False):
    """One log record. `instant` is nanoseconds since 1970, ids are lower-case hex."""

    instant: int
    name: str | None
    body: Any
    severity: int
    trace_id: str | None
    span_id: str | None
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    offset: int = 0
    length: int = 0


def entry_of_log(record: LogRecord, home: Callable[[str], str | None]) -> bytes:
    """The entry of a record. `home` gives the mission of a trace, where it has one.

    The record has no id of its own: equal records of one instant are one.
    """
    session = read.session_of(record.attributes) or read.session_of(record.resource)
    entry_type, payload, summary = _told(record)
    entry_id = minted_id(
        "otel",
        "log",
        str(record.instant),
        record.trace_id or "",
        record.span_id or "",
        _canonical([record.name, record.body, dict(record.attributes)]),
    )
    return Mission("otel", _mission_of(record, session, home)).written(
        entry_id,
        format_instant(record.instant),
        entry_type,
        payload,
        summary=summary,
        actor="user" if entry_type == "message.user" else "agent",
        severity=_severity(record, payload),
        trace_id=record.trace_id,
    )


def _mission_of(record: LogRecord, session: str | None, home: Callable[[str], str | None]) -> str:
    named = read.mission_of(record.resource)
    if named is not None:
        return named
    if session is not None:
        return mission_id_of(session)
    if record.trace_id is not None:
        return home(record.trace_id) or mission_id_of(record.trace_id)
    service = record.resource.get("service.name")
    return mission_id_of(f"{_WITHOUT_SESSION}_{service if isinstance(service, str) else 'unknown'}")


def _severity(record: LogRecord, payload: Mapping[str, Any]) -> str:
    if record.severity >= _ERROR_SEVERITY:
        return "error"
    return "warn" if record.severity >= _WARN_SEVERITY or payload.get("error") else "info"


def _told(record: LogRecord) -> tuple[str, dict[str, Any], str]:
    """Type, payload and summary of the entry."""
    name, attributes = record.name or "", record.attributes
    match name.removeprefix("claude_code."):
        case "api_request" if name != "api_request" or "cost_usd" in attributes:
            return "llm.call", _call(attributes), str(attributes.get("model") or "model call")
        case "tool_result" if "tool_name" in attributes:
            payload = _command(attributes)
            return "exec.command", payload, payload["command"]
        case "tool_decision" if "tool_name" in attributes:
            return "keeper.decision", _decision(attributes), str(attributes["tool_name"])
        case "user_prompt" if isinstance(attributes.get("prompt"), str):
            text = attributes["prompt"]
            return "message.user", {"text": cut(text, TEXT_LIMIT)}, text
        case _:
            body = record.body if isinstance(record.body, str) else None
            payload = {"name": record.name, "attributes": read.kept_attributes(attributes)}
            payload["body"] = cut(body, TEXT_LIMIT) if body is not None else cut_arguments(record.body)
            return "log.record", payload, name or body or "log record"


def _number(value: Any) -> int | None:
    """A whole number; this program writes its attributes as texts too."""
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return value if type(value) is int and 0 <= value < 2**53 else None


def _amount(value: Any) -> float | None:
    if type(value) is str and len(value) < 32:
        try:
            value = float(value)
        except ValueError:
            return None
    return cost_of(value)


def _call(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "model": attributes.get("model") if isinstance(attributes.get("model"), str) else None,
        "input_tokens": _number(attributes.get("input_tokens")),
        "output_tokens": _number(attributes.get("output_tokens")),
        "cached_input_tokens": _number(attributes.get("cache_read_tokens")),
        "cache_creation_tokens": _number(attributes.get("cache_creation_tokens")),
        "cost_usd": _amount(attributes.get("cost_usd")),
        "duration_ms": _number(attributes.get("duration_ms")),
    }


def _command(attributes: Mapping[str, Any]) -> dict[str, Any]:
    tool = str(attributes["tool_name"])
    parameters = arguments_of(attributes.get("tool_parameters") or attributes.get("tool_input"))
    line = None
    if isinstance(parameters, dict):
        line = parameters.get("full_command") or parameters.get("command")
    failed = attributes.get("success") in ("false", False)
    error = attributes.get("error")
    return {
        "command": cut(line if isinstance(line, str) and line else tool, TEXT_LIMIT),
        "tool": cut(tool, TEXT_LIMIT) if isinstance(line, str) and line else None,
        **({} if isinstance(line, str) and line else kept_arguments(parameters)),
        "error": (one_line(error) if isinstance(error, str) and error else "failed") if failed else None,
        "duration_ms": _number(attributes.get("duration_ms")),
    }


def _decision(attributes: Mapping[str, Any]) -> dict[str, Any]:
    accepted = attributes.get("decision") == "accept"
    source = attributes.get("source")
    return {
        "decision": "allow" if accepted else "deny",
        "tool": str(attributes["tool_name"]),
        "decided_by": source if isinstance(source, str) else None,
    }
