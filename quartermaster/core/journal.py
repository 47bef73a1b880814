"""The journal entry: one recorded fact, as it travels on the wire and as the rest of the core reads it."""

import re
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal

import msgspec

from quartermaster.errors import Rejected

SEVERITIES: Final = ("info", "notice", "warn", "error")
ID_LIMIT: Final = 512
"""Characters that an id of an entry, a mission or a run may have."""

AUDIT: Final = "audit."
"""Entry types that begin so tell what was done to a workspace; they come from this program alone."""

_NANOSECONDS: Final = 1_000_000_000
_DAY: Final = 24 * 60 * 60 * _NANOSECONDS
_EARLIEST: Final = -(2**63)
_LATEST: Final = 2**63 - 1
_HALF_PAIR: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Payload(msgspec.Struct, gc=False):
    """The payload keys that steps, metrics and mission facts are read from.

    Everything else stays in the raw bytes. The fields accept any JSON value, because recordings
    hold any: whoever reads a field decides what it means.
    """

    command: Any = None
    cmd: Any = None
    tool: Any = None
    name: Any = None
    model: Any = None
    provider: Any = None
    to_status: Any = None
    status: Any = None
    to: Any = None
    action: Any = None
    credential_id: Any = None
    decision: Any = None
    approved: Any = None
    exit_code: Any = None
    error: Any = None
    cancelled: Any = None
    reason: Any = None
    in_band_error: Any = None
    phase: Any = None
    run_id: Any = None
    call_id: Any = None
    arguments: Any = None
    state: Any = None
    total_tokens: Any = None
    tokens: Any = None
    input_tokens: Any = None
    output_tokens: Any = None
    cached_input_tokens: Any = None
    cache_read_tokens: Any = None
    cache_creation_tokens: Any = None
    cache_creation_1h_tokens: Any = None
    cost_usd: Any = None
    cost_confidence: Any = None
    billing_mode: Any = None
    service_tier: Any = None
    ledger_id: Any = None
    elapsed_ms: Any = None
    duration_ms: Any = None
    assignment_id: Any = None


class JournalEntry(msgspec.Struct, gc=False):
    """One native entry. `instant` is nanoseconds since 1970 in UTC; absent texts are None.

    `severity` is an index into SEVERITIES. `id` is None where the recording gives none: the
    reader of the recording mints one (see `minted_id`).
    """

    id: str | None
    workspace_id: str | None
    mission_id: str | None
    instant: int
    entry_type: str
    severity: int
    actor_type: str | None
    actor_id: str | None
    trace_id: str | None
    payload: Payload


_Text = Annotated[str, msgspec.Meta(max_length=ID_LIMIT)] | None


class _Wire(msgspec.Struct, gc=False):
    """The usual entry: every field of the type that it should have."""

    entry_type: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LIMIT)]
    ts: str
    id: _Text = None
    workspace_id: _Text = None
    mission_id: _Text = None
    severity: Literal["info", "notice", "warn", "error", ""] | None = None
    actor_type: _Text = None
    actor_id: _Text = None
    trace_id: _Text = None
    payload: Payload | None = None


class _OddWire(msgspec.Struct, gc=False):
    """Any other entry: to be looked at field by field, so that the reason can be named."""

    entry_type: Any = None
    ts: Any = None
    id: Any = None
    workspace_id: Any = None
    mission_id: Any = None
    severity: Any = None
    actor_type: Any = None
    actor_id: Any = None
    trace_id: Any = None
    payload: Any = None


_decode = msgspec.json.Decoder(_Wire).decode
_decode_odd = msgspec.json.Decoder(_OddWire).decode
_SEVERITY_INDEX: Final = {name: index for index, name in enumerate(SEVERITIES)}
_NO_PAYLOAD: Final = Payload()


def read_entry(raw: bytes | memoryview) -> JournalEntry:
    """One entry from the JSON text of one object; raises Rejected with the reason.

    A payload that is no object counts as empty, as it does for other readers of this format. What is not
    looked at is valid UTF-8 and JSON all the same, because the bytes are handed out again as they are.
    """
    if not (type(raw) is bytes and raw.isascii()):
        _check_text(raw)
    try:
        wire = _decode(raw)
    except msgspec.ValidationError:
        return _read_odd_entry(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Rejected(_why_undecodable(error, raw)) from None
    entry_id, mission_id = wire.id, wire.mission_id
    if (entry_id and entry_id.isspace()) or (mission_id and mission_id.isspace()):
        return _read_odd_entry(raw)
    return JournalEntry(
        entry_id or None,
        wire.workspace_id or None,
        mission_id or None,
        parse_instant(wire.ts),
        wire.entry_type,
        _SEVERITY_INDEX[wire.severity] if wire.severity else 0,
        wire.actor_type or None,
        wire.actor_id or None,
        wire.trace_id or None,
        wire.payload or _NO_PAYLOAD,
    )


def _read_odd_entry(raw: bytes | memoryview) -> JournalEntry:
    wire = _decoded(_decode_odd, raw)
    if type(wire.entry_type) is not str or not wire.entry_type:
        raise Rejected("entry_type is missing or not a text")
    payload = _NO_PAYLOAD
    if type(wire.payload) is dict:
        payload = msgspec.convert(wire.payload, Payload)
    return JournalEntry(
        _identifier(wire.id, "id"),
        _identifier(wire.workspace_id, "workspace_id"),
        _identifier(wire.mission_id, "mission_id"),
        parse_instant(wire.ts),
        _storable(wire.entry_type, "entry_type"),
        0 if not wire.severity else _severity(wire.severity),
        _text_or_none(wire.actor_type, "actor_type"),
        _text_or_none(wire.actor_id, "actor_id"),
        _text_or_none(wire.trace_id, "trace_id"),
        payload,
    )


def _check_text(raw: bytes | memoryview) -> None:
    data = raw if isinstance(raw, bytes) else bytes(raw)
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise Rejected(f"not valid UTF-8 (byte {error.start})") from None


def _decoded(decode: Any, raw: bytes | memoryview) -> Any:
    try:
        return decode(raw)
    except msgspec.ValidationError as error:
        if "out of range" in str(error):
            raise Rejected("a number is out of range") from None
        raise Rejected("not a JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Rejected(_why_undecodable(error, raw)) from None


def _why_undecodable(error: Exception, raw: bytes | memoryview) -> str:
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    text = str(error)
    in_escape = "truncated" in text or "surrogate" in text or "escape" in text
    half = _half_pair(bytes(raw)) if in_escape else None
    if half is not None:
        return f"{half} is half of a surrogate pair"
    if "truncated" in text:
        return "JSON ends too early"
    return f"not valid JSON: {text.removeprefix('JSON is malformed: ')}"[:200]


def _half_pair(raw: bytes) -> str | None:
    """The first escape that stands for half a character; None where the text ends before its object does."""
    if not raw.rstrip().endswith(b"}"):
        return None
    return next((found[1].decode() for found in _HALF_PAIR.finditer(raw) if found[1]), None)


def _identifier(value: Any, field: str) -> str | None:
    if value is None or value == "":
        return None
    if type(value) is not str:
        raise Rejected(f"{field} is not a text")
    if len(value) > ID_LIMIT:
        raise Rejected(f"{field} has more than {ID_LIMIT} characters")
    if value.isspace():
        raise Rejected(f"{field} is blank")
    return value


def _storable(value: str, field: str) -> str:
    if len(value) > ID_LIMIT:
        raise Rejected(f"{field} has more than {ID_LIMIT} characters")
    return value


def _text_or_none(value: Any, field: str) -> str | None:
    if not value or type(value) is not str:
        return None
    return _storable(value, field)


def _severity(value: Any) -> int:
    try:
        return _SEVERITY_INDEX[value]
    except (KeyError, TypeError):
        raise Rejected("severity is none of " + ", ".join(SEVERITIES)) from None


_days: dict[str, int] = {}
"""Nanoseconds since 1970 of days that came lately, by the text up to the `T` before the time."""

_REMEMBERED_DAYS: Final = 4096
_LONGEST_TIME: Final = 64
_date_and_time: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)").fullmatch
_MINUTES: Final = {
    f"{minute // 60:02d}:{minute % 60:02d}:": minute * 60 * _NANOSECONDS for minute in range(24 * 60)
}
_SECONDS: Final = {f"{second:02d}": second * _NANOSECONDS for second in range(60)}
_ENDINGS: Final = {"Z": 0, **{f".{part:03d}Z": part * 1_000_000 for part in range(1000)}}
"""Nanoseconds of what follows the seconds in most recordings."""


def parse_instant(text: Any) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time, or of `YYYY-MM-DD HH:MM:SS` (taken as UTC).

    Up to nine decimals count, further ones are cut. Raises Rejected for anything else.
    """
    if type(text) is not str:
        raise Rejected("ts is missing or not a text")
    try:
        day = _days.get(text[:11])
        minute = _MINUTES.get(text[11:17])
        second = _SECONDS.get(text[17:19])
        if day is None or minute is None or second is None or len(text) > _LONGEST_TIME:
            return _parse_new_day(text)
        ending = _ENDINGS.get(text[19:])
        if ending is not None:
            return day + minute + second + ending
        fraction = text[20:-1]
        if text[19] == "." and text[-1] == "Z" and fraction.isascii() and fraction.isdigit():
            return day + minute + second + int(fraction[:9].ljust(9, "0"))
        return _parse_any_instant(text)
    except (ValueError, IndexError, OverflowError):
        raise Rejected("ts is not an RFC 3339 time") from None


def _parse_new_day(text: str) -> int:
    instant = _parse_any_instant(text)
    day = instant - instant % _DAY
    if text[10] == "T" and text[-1] == "Z" and _EARLIEST <= day <= _LATEST - 2 * _DAY:
        if len(_days) >= _REMEMBERED_DAYS:
            _days.clear()
        _days[text[:11]] = day
    return instant


def _parse_any_instant(text: str) -> int:
    if len(text) > _LONGEST_TIME or len(text) < 19 or not text.isascii():
        raise ValueError
    head, tail = text[:19], text[19:]
    fraction = ""
    if tail.startswith("."):
        digits = tail[1:]
        rest = digits.lstrip("0123456789")
        fraction = digits[: len(digits) - len(rest)]
        if not fraction:
            raise ValueError
        tail = rest
    parts = _date_and_time(head)
    if parts is None or (head[10] == " " and (tail or fraction) and tail not in ("Z", "+00:00")):
        raise ValueError
    zone = _zone(tail, spaced=head[10] == " ")
    year, month, day, hour, minute, second = map(int, parts.groups())
    moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    return _since_epoch(moment) + int(fraction[:9].ljust(9, "0") or 0)


def _zone(text: str, *, spaced: bool) -> timezone:
    if text in ("Z", "z") or (spaced and not text):
        return UTC
    if len(text) != 6 or text[0] not in "+-" or text[3] != ":" or not (text[1:3] + text[4:]).isdigit():
        raise ValueError
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 23 or minutes > 59:
        raise ValueError
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _since_epoch(moment: datetime) -> int:
    nanoseconds = int((moment - _EPOCH) // timedelta(seconds=1)) * _NANOSECONDS
    if not _EARLIEST <= nanoseconds <= _LATEST - _NANOSECONDS * 61:
        raise Rejected("ts lies outside of the years 1678 to 2261")
    return nanoseconds


_day_texts: dict[int, str] = {}
"""The text up to the `T` before the time, by days since 1970, of those that were written lately."""

_MINUTE_TEXTS: Final = tuple(_MINUTES)
_SECOND_TEXTS: Final = tuple(_SECONDS)


def format_instant(instant: int) -> str:
    """RFC 3339 in UTC with `Z`, with as many decimals as the instant has (at most nine)."""
    seconds, nanoseconds = divmod(instant, _NANOSECONDS)
    minutes, second = divmod(seconds, 60)
    day, minute = divmod(minutes, 24 * 60)
    text = (_day_texts.get(day) or _new_day_text(day)) + _MINUTE_TEXTS[minute] + _SECOND_TEXTS[second]
    if not nanoseconds:
        return text + "Z"
    return f"{text}.{nanoseconds:09d}".rstrip("0") + "Z"


def _new_day_text(day: int) -> str:
    text = (_EPOCH + timedelta(days=day)).strftime("%Y-%m-%dT")
    if text[4] != "-":  # strftime does not pad years before 1000 everywhere
        text = text.rjust(11, "0")
    if len(_day_texts) >= _REMEMBERED_DAYS:
        _day_texts.clear()
    _day_texts[day] = text
    return text


def minted_id(*parts: str | bytes) -> str:
    """`j_` and 16 hex digits that follow from the parts alone, for facts that come without an id."""
    return minted_within(b"", *parts)


def minted_within(context: bytes, *parts: str | bytes) -> str:
    """What `minted_id` gives for the parts behind those whose `framed` bytes the context is."""
    return "j_" + blake2b(context + framed(*parts), digest_size=8).hexdigest()


def framed(*parts: str | bytes) -> bytes:
    """The parts as bytes of which no other parts have the same: each behind its length."""
    pieces: list[bytes] = []
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        pieces += len(data).to_bytes(8, "big"), data
    return b"".join(pieces)
