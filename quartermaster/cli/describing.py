"""Missions described on a command line: `task=checkout,variant=v2`, or ids with commas between them."""

from typing import Any

from quartermaster.core.selection import Selection, selection_of
from quartermaster.errors import UsageError


def described(text: str, side: str) -> Selection:
    """The selection that a text describes; names that are no field are those of labels."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not any("=" in part for part in parts):
        return selection_of(parts, side)
    fields: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{side}: {part!r} is not of the form name=value")
        known = name in Selection.__struct_fields__ and name not in ("mission_ids", "labels")
        (fields if known else fields.setdefault("labels", {}))[name] = value
    return selection_of(fields, side)
