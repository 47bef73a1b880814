"""Missions as an event log for process mining: XES as IEEE 1849 has it, one trace a mission."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from quartermaster.core.journal import format_instant
from quartermaster.exports.calls import Call, calls_of
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission

_HEAD: Final = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849.2016" xes.features="" xmlns="http://www.xes-standard.org/">
  <extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
  <extension name="Time" prefix="time" uri="http://www.xes-standard.org/time.xesext"/>
  <extension name="Lifecycle" prefix="lifecycle" uri="http://www.xes-standard.org/lifecycle.xesext"/>
  <extension name="Organizational" prefix="org" uri="http://www.xes-standard.org/org.xesext"/>
  <global scope="trace">
    <string key="concept:name" value=""/>
  </global>
  <global scope="event">
    <string key="concept:name" value=""/>
    <date key="time:timestamp" value="1970-01-01T00:00:00Z"/>
    <string key="lifecycle:transition" value="complete"/>
  </global>
  <classifier name="Activity" keys="concept:name"/>
"""
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def xes_lines(connection: Connection, missions: Iterable[Mission]) -> Iterator[bytes]:
    """The pieces of one document. The activity of an event is its tool or model, else its type."""
    yield _HEAD.encode()
    for mission in missions:
        about = {
            "concept:name": mission.mission_id,
            "task": mission.task,
            "variant": mission.variant,
            "trial": mission.trial,
            "outcome": mission.outcome,
            "model": mission.model,
        }
        yield f"  <trace>\n{_attributes(about, 4)}".encode()
        for call in calls_of(connection, mission.key):
            yield f"    <event>\n{_attributes(_event(call), 6)}    </event>\n".encode()
        yield b"  </trace>\n"
    yield b"</log>\n"


class _Time(str):
    """A text that is a time."""

    __slots__ = ()


def _event(call: Call) -> dict[str, Any]:
    return {
        "concept:name": call.tool or call.entry_type,
        "time:timestamp": _Time(format_instant(call.began)),
        "lifecycle:transition": "complete",
        "org:resource": call.actor,
        "entry_type": call.entry_type,
        "success": call.success,
        "input_tokens": call.input_tokens,
        "output_tokens": call.output_tokens,
        "cost_usd": call.cost_usd,
        "duration_ms": call.duration_ms,
    }


def _attributes(attributes: dict[str, Any], indent: int) -> str:
    lines = (_attribute(key, value) for key, value in attributes.items() if value is not None)
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _attribute(key: str, value: Any) -> str:
    match value:
        case bool():
            kind, text = "boolean", str(value).lower()
        case int():
            kind, text = "int", str(value)
        case float():
            kind, text = "float", repr(value)
        case _Time():
            kind, text = "date", str(value)
        case _:
            kind, text = "string", _NO_XML.sub("\ufffd", str(value))
    return f"<{kind} key={quoteattr(key)} value={quoteattr(text)}/>"
