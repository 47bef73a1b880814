"""Missions as OTLP in JSON, one export a line, in the GenAI conventions: what a Collector reads from files.

Each mission is a trace: one span of the agent around one for each model call and each tool call. The
resource names the mission, so that reading the lines here makes the same mission of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from typing import Any, Final

import msgspec

from quartermaster.adapters._span_attributes import MISSION
from quartermaster.exports.calls import Call, calls_of
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission

_SPANS_A_LINE: Final = 500
_MILLISECOND: Final = 10**6
_INTERNAL, _CLIENT = 1, 3
_OK, _ERROR = 1, 2
_FAILED: Final = ("failed", "aborted", "timed_out", "limit_reached")


def otlp_lines(connection: Connection, missions: Iterable[Mission]) -> Iterator[bytes]:
    """Exports of at most 500 spans."""
    for mission in missions:
        spans = _spans(connection, mission)
        while some := list(islice(spans, _SPANS_A_LINE)):
            scope = {"scope": {"name": "quartermaster"}, "spans": some}
            resource = {"attributes": _attributes(_resource(mission))}
            export = {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}
            yield msgspec.json.encode(export) + b"\n"


def _resource(mission: Mission) -> dict[str, Any]:
    return {
        "service.name": mission.agent or "agent",
        "service.version": mission.version,
        MISSION: mission.mission_id,
        "quartermaster.task": mission.task,
        "quartermaster.variant": mission.variant,
        "quartermaster.outcome": mission.outcome,
    }


def _spans(connection: Connection, mission: Mission) -> Iterator[dict[str, Any]]:
    trace, root = _hex(16, "trace", mission.mission_id), _hex(8, "root", mission.mission_id)
    about = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": mission.agent,
        "gen_ai.request.model": mission.model,
    }
    began, ended = _extent(connection, mission)
    name = f"invoke_agent {mission.agent}" if mission.agent else "invoke_agent"
    success = None if mission.outcome is None else mission.outcome not in _FAILED
    within = {"traceId": trace, "spanId": root}
    yield _span(within, name, _INTERNAL, (began, ended), _status(success, None), about)
    for call in calls_of(connection, mission.key):
        if call.entry_type in ("llm.call", "exec.command"):
            yield _call(trace, root, mission.mission_id, call)


def _extent(connection: Connection, mission: Mission) -> tuple[int, int]:
    """First and last instant; those of its order where a recording has no times."""
    row = connection.execute(
        "select coalesce(first_instant, 0), coalesce(last_instant, 0) from mission where id = ?",
        (mission.key,),
    ).fetchone()
    return mission.started_at or row[0], mission.ended_at or row[1]


def _call(trace: str, root: str, mission_id: str, call: Call) -> dict[str, Any]:
    is_model = call.entry_type == "llm.call"
    within = {"traceId": trace, "spanId": _hex(8, "span", mission_id, call.entry_id), "parentSpanId": root}
    return _span(
        within,
        f"{'chat' if is_model else 'execute_tool'} {call.tool or ''}".strip(),
        _CLIENT if is_model else _INTERNAL,
        (call.began, call.began + (call.duration_ms or 0) * _MILLISECOND),
        _status(call.success, call.error),
        _model(call) if is_model else _tool(call),
    )


def _model(call: Call) -> dict[str, Any]:
    """Input tokens of these conventions are those of the cache too."""
    parts = (call.input_tokens, call.cache_read_tokens, call.cache_write_tokens)
    told = [part for part in parts if part is not None]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": call.tool,
        "gen_ai.usage.input_tokens": sum(told) if told else None,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": call.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": call.cache_write_tokens,
        "gen_ai.usage.cost": call.cost_usd,
    }


def _tool(call: Call) -> dict[str, Any]:
    arguments = None if call.arguments is None else msgspec.json.encode(call.arguments).decode()
    return {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool or "tool",
        "gen_ai.tool.call.id": call.entry_id,
        "gen_ai.tool.call.arguments": arguments,
    }


def _span(  # noqa: PLR0917 - a span has these parts
    within: Mapping[str, str],
    name: str,
    kind: int,
    extent: tuple[int, int],
    status: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    began, ended = max(extent[0], 1), max(*extent, 1)  # a span that begins at 0 has no start for others
    return {
        **within,
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(began),
        "endTimeUnixNano": str(ended),
        "attributes": _attributes(attributes),
        "status": status,
    }


def _status(success: bool | None, error: str | None) -> dict[str, Any]:
    if success is None:
        return {}
    if success:
        return {"code": _OK}
    return {"code": _ERROR, **({"message": error} if error else {})}


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items() if value is not None]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, int):
        return {"intValue": str(value)}  # numbers of 64 bits are texts in this JSON
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": str(value)}


def _hex(size: int, *parts: str) -> str:
    """An id of so many bytes that follows from the texts."""
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
