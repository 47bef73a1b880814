"""Native entries as the adapters of other formats write them."""

from typing import Any, Final

import msgspec

from quartermaster.core.journal import minted_id

SUMMARY_LIMIT: Final = 200
TEXT_LIMIT: Final = 2_000
ARGUMENT_LIMIT: Final = 400
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


class Mission:
    """Writes the entries of one mission; their ids follow from the mission and what they tell."""

    def __init__(self, format_name: str, mission_id: str) -> None:
        self.id = mission_id
        self._format_name = format_name

    def entry_id(self, *key: str | bytes) -> str:
        """The id of the entry that tells this of the mission: the same in every copy of a recording."""
        return minted_id(self._format_name, self.id, *key)

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
    """The text, or its beginning with a mark that more followed."""
    return text if len(text) <= limit else text[: limit - 1] + _LATER


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
