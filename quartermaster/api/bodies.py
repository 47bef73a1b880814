"""Reading what a client sends: the body within its limit, and single values of it and of the query."""

import re
from typing import Any, Final, TypeVar

import msgspec

from quartermaster.api.access import Call, services_of
from quartermaster.api.edge import fields_of
from quartermaster.api.problems import Problem, bad_request, too_large
from quartermaster.core.journal import parse_instant
from quartermaster.errors import Rejected

T = TypeVar("T")

LINES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
"""Content types of one JSON value a line; no page can send them to another site without asking first."""

_WHOLE_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_SPACE_BEFORE_OFFSET: Final = re.compile(r" (?=\d\d:\d\d$)", re.ASCII)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")


async def read_body(request: Call, *, line_based: bool = False) -> bytes:
    """The whole body of JSON; 415 and 413 as far as they can be told before it is read."""
    _check_content_type(fields_of(request.scope), line_based=line_based)
    return await read_bytes(request)


async def read_bytes(request: Call) -> bytes:
    """The whole body, whatever it is; 413 as far as it can be told before it is read."""
    fields = fields_of(request.scope)
    limit = services_of(request).body_limit_bytes
    length = fields.get(b"content-length", b"0")
    if not _DIGITS.fullmatch(length) or int(length) > limit:
        raise too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise bad_request("incomplete body", "The connection ended before the body did; send it again.")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_content_type(fields: dict[bytes, bytes], *, line_based: bool) -> None:
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(415, "unsupported content encoding", "Send the body as it is, without compression.")
    given = fields.get(b"content-type")
    if given is None or given == b"application/json":
        return
    essence, *parameters = given.decode("latin-1").lower().split(";")
    essence = essence.strip()
    is_json = essence == "application/json" or (
        essence.startswith("application/") and essence.endswith("+json")
    )
    charsets = [one.strip()[8:].strip('"') for one in parameters if one.strip().startswith("charset=")]
    if not (is_json or (line_based and essence in LINES)) or any(one != "utf-8" for one in charsets):
        raise Problem(
            415, "unsupported content type", "Send JSON in UTF-8 with 'Content-Type: application/json'."
        )


def decode_body(body: bytes, decoder: "msgspec.json.Decoder[T | None]", empty: T) -> T:
    """One JSON object; null counts as the empty one, everything else is 400."""
    try:
        decoded = decoder.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError, ValueError, OverflowError):
        raise invalid_body(
            "The body is one JSON object in UTF-8, without NaN, Infinity or deep nesting."
        ) from None
    return empty if decoded is None else decoded


def invalid_body(detail: str) -> Problem:
    """The body is no JSON, or holds a value of the wrong type."""
    return bad_request("invalid JSON body", detail)


def text_field(value: Any, name: str) -> str:
    """A text of a body, "" where it is missing or null."""
    if value is None:
        return ""
    if type(value) is not str:
        raise invalid_body(f"{name} is a text.")
    return value


def integer_field(value: Any, name: str) -> int:
    """A 64-bit whole number of a body, 0 where it is missing or null."""
    if value is None:
        return 0
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise invalid_body(f"{name} is a whole number of 64 bits, written without fraction and exponent.")
    return value


class Query:
    """The parameters of one request, each read once and checked."""

    def __init__(self, parameters: dict[str, list[str]]) -> None:
        self._parameters = parameters

    def text(self, name: str) -> str | None:
        """One text; 400 when it is given twice."""
        values = self._parameters.get(name)
        if values is None:
            return None
        if len(values) > 1:
            raise bad_request("repeated parameter", f"The query parameter {name} may be given once.")
        return values[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Several texts, by repetition or with commas between them."""
        values = self._parameters.get(name, ())
        return tuple(part for value in values for part in value.split(",") if part)

    def instant(self, name: str) -> int | None:
        """An RFC 3339 time as nanoseconds since 1970."""
        text = self.text(name)
        if text is None:
            return None
        try:
            # A plus sign that nobody has encoded arrives as a space.
            return parse_instant(_SPACE_BEFORE_OFFSET.sub("+", text) if "T" in text else text)
        except Rejected:
            raise bad_request(
                "invalid parameter", f"{name} is a time such as 2026-01-31T12:00:00Z."
            ) from None

    def flag(self, name: str) -> bool | None:
        """true or false."""
        text = self.text(name)
        if text is None:
            return None
        if text not in ("true", "false"):
            raise bad_request("invalid parameter", f"{name} is true or false.")
        return text == "true"

    def choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        """One of some words."""
        text = self.text(name)
        if text is not None and text not in allowed:
            raise bad_request("invalid parameter", f"{name} is one of {', '.join(allowed)}.")
        return text

    def number(self, name: str, *, least: int, most: int, default: int) -> int:
        """A whole number within bounds; 400 for everything else."""
        text = self.text(name)
        if text is None:
            return default
        if not _WHOLE_NUMBER.fullmatch(text) or not least <= int(text) <= most:
            raise bad_request("invalid parameter", f"{name} is a whole number from {least} to {most}.")
        return int(text)

    def forgiving_number(self, name: str, *, least: int, most: int, default: int) -> int:
        """A whole number within bounds; the default for everything else."""
        values = self._parameters.get(name, [])
        if len(values) != 1 or not _WHOLE_NUMBER.fullmatch(values[0]):
            return default
        return int(values[0]) if least <= int(values[0]) <= most else default
