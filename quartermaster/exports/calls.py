"""Model calls, tool calls and the other steps of a mission in order, each once, with what it says."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from quartermaster.core.trajectory import (
    COMMAND_END,
    COMMAND_START,
    COST_INCURRED,
    ENTRY_TYPE_OF_KIND,
    PICODOLLARS,
)
from quartermaster.store.database import Connection
from quartermaster.store.journal import entry_id_of
from quartermaster.store.names import Texts
from quartermaster.store.raw import RawReader

_COLUMNS: Final = (
    "instant, entry_id, sequence, kind, tool, success, input_tokens, output_tokens, cache_read_tokens,"
    " cache_write_tokens, cost, duration_ms, pairing, actor"
)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One step. `input_tokens` are those beside the cache; `arguments` is what a tool was given."""

    entry_id: str
    began: int
    entry_type: str
    tool: str | None
    success: bool | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    cost_usd: float | None
    duration_ms: int | None
    actor: str | None
    arguments: Any = None
    error: str | None = None


class _Payload(msgspec.Struct):
    arguments: Any = None
    error: Any = None


class _Entry(msgspec.Struct):
    payload: _Payload | None = None


_decode = msgspec.json.Decoder(_Entry).decode


def calls_of(connection: Connection, mission: int) -> Iterator[Call]:
    """By instant; a command that was told at its start and at its end comes with its end."""
    texts, raws = Texts(connection), RawReader(connection)
    begun: dict[int, list[tuple[Any, ...]]] = {}
    rows = connection.execute(
        f"select {_COLUMNS} from entry where mission = ? and kind is not null and kind <> {COST_INCURRED}"  # noqa: S608
        " order by instant, entry_id",
        (mission,),
    )
    for row in rows:
        kind, pairing = row[3], row[12]
        if kind == COMMAND_START:
            begun.setdefault(pairing, []).append(row)
            continue
        start = begun[pairing].pop() if kind == COMMAND_END and begun.get(pairing) else row
        yield _call(mission, start, row, texts, raws)
    for left in begun.values():
        for row in left:
            yield _call(mission, row, row, texts, raws)


def _call(mission: int, start: tuple[Any, ...], end: tuple[Any, ...], texts: Texts, raws: RawReader) -> Call:
    began, told = _payload(raws.read(mission, start[2])), _payload(raws.read(mission, end[2]))
    duration = end[11] if end[11] is not None or start is end else (end[0] - start[0]) // 10**6
    return Call(
        entry_id=entry_id_of(start[1]),
        began=start[0],
        entry_type=ENTRY_TYPE_OF_KIND[start[3]],
        tool=texts[start[4]],
        success=None if end[5] is None else bool(end[5]),
        input_tokens=end[6],
        output_tokens=end[7],
        cache_read_tokens=end[8],
        cache_write_tokens=end[9],
        cost_usd=None if end[10] is None else end[10] / PICODOLLARS,
        duration_ms=duration,
        actor=texts[end[13]],
        arguments=began.arguments,
        error=told.error if isinstance(told.error, str) else None,
    )


def _payload(raw: bytes | None) -> _Payload:
    try:
        return (_decode(raw).payload if raw else None) or _Payload()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Payload()
