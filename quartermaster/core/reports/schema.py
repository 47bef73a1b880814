"""The JSON Schemas of what people and programs write and read: reports, and the policy of a comparison."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from quartermaster.core.gate import Gate
from quartermaster.core.report import REPORTS, SCHEMA

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def report_schema() -> dict[str, Any]:
    """Of every kind of report. Readers must ignore fields that they do not know."""
    kinds, parts = msgspec.json.schema_components(REPORTS.values(), ref_template="#/$defs/{name}")
    return {
        "$schema": _DIALECT,
        "$id": f"urn:quartermaster:report:{SCHEMA}",
        "title": f"Report of Quartermaster, version {SCHEMA}",
        "oneOf": list(kinds),
        "$defs": parts,
    }


def policy_schema() -> dict[str, Any]:
    """Of a policy file; an unknown key is an error."""
    schema = msgspec.json.schema(Gate, ref_template="#/$defs/{name}")
    return {
        "$schema": _DIALECT,
        "$id": "urn:quartermaster:policy:1",
        "title": "Policy of a comparison",
        **schema,
    }


SCHEMAS: Final[dict[str, Callable[[], dict[str, Any]]]] = {"report": report_schema, "policy": policy_schema}


def schema_text(name: str) -> str:
    """A schema as it is published."""
    return msgspec.json.format(msgspec.json.encode(SCHEMAS[name]()), indent=2).decode() + "\n"
