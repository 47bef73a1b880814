"""The trajectory of a mission as the database keeps it: rows in the order of a replay."""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, Final

import msgspec

from quartermaster.core.journal import SEVERITIES
from quartermaster.core.trajectory import COMMAND_END, COMMAND_START, COST_INCURRED, ENTRY_TYPE_OF_KIND
from quartermaster.store.database import Connection
from quartermaster.store.journal import entry_id_of
from quartermaster.store.names import Texts

_PAGE: Final = 4096
_COLUMNS: Final = (
    "instant, kind, tool, success, severity, tokens, input_tokens, output_tokens, cache_read_tokens,"
    " cache_write_tokens, cost, duration_ms, pairing, ledger, arguments,"
    " cache_write_1h_tokens, terms"
)
_INSTANT: Final = 0
_ENTRY_ID: Final = 17

Row = tuple[Any, ...]


class StepView(msgspec.Struct, frozen=True, kw_only=True):
    """One step as people look at it. `ended` is the entry that closed a command, where one did."""

    index: int
    entry_id: str
    ended: str | None
    instant: int
    entry_type: str
    tool: str | None
    success: bool | None
    severity: str
    tokens: int | None
    cost: int | None
    duration_ms: int | None


def step_pages(connection: Connection, mission: int, *, page: int = _PAGE) -> Iterator[list[Row]]:
    """Rows in the field order of core.trajectory.Step, by (instant, id), a page at a time.

    The database orders numbered ids before ids of other forms; where a mission has both at one
    instant, the rows of that instant are put into the order of their texts.
    """
    if _has_ids_of_two_forms(connection, mission):
        rows = _by_text_within_instant(_walk(connection, mission, f"{_COLUMNS}, entry_id"))
        while batch := [row[:_ENTRY_ID] for row in islice(rows, page)]:
            yield batch
        return
    cursor = _walk(connection, mission, _COLUMNS)
    while batch := cursor.fetchmany(page):
        yield batch


def _walk(connection: Connection, mission: int, columns: str) -> Any:
    return connection.execute(
        f"select {columns} from entry where mission = ? and kind is not null order by instant, entry_id",  # noqa: S608
        (mission,),
    )


def _has_ids_of_two_forms(connection: Connection, mission: int) -> bool:
    return bool(connection.execute("select mixed_ids from mission where id = ?", (mission,)).fetchone()[0])


def _by_text_within_instant(rows: Iterable[Row]) -> Iterator[Row]:
    for _, group in groupby(rows, key=lambda row: row[_INSTANT]):
        yield from sorted(group, key=lambda row: entry_id_of(row[_ENTRY_ID]))


def trajectory_window(connection: Connection, mission: int, start: int, limit: int) -> list[StepView]:
    """Steps from index `start` on, at most `limit`; a command stands where it began, with its outcome."""
    texts = Texts(connection)
    rows = _by_text_within_instant(_walk(connection, mission, f"{_COLUMNS}, entry_id"))
    window: list[StepView] = []
    open_calls: dict[int, list[int]] = {}
    index = 0
    for row in rows:
        kind, pairing = row[1], row[12]
        if kind == COST_INCURRED:
            continue
        if kind == COMMAND_END and open_calls.get(pairing):
            began = open_calls[pairing].pop()
            if start <= began < start + limit:
                window[began - start] = _ended(window[began - start], row)
            continue
        if kind == COMMAND_START:
            open_calls.setdefault(pairing, []).append(index)
        if start <= index < start + limit:
            window.append(_view(index, row, texts))
        index += 1
        if index >= start + limit and not any(
            any(start <= one for one in ones) for ones in open_calls.values()
        ):
            break
    return window


def _view(index: int, row: Row, texts: Texts) -> StepView:
    return StepView(
        index=index,
        entry_id=entry_id_of(row[_ENTRY_ID]),
        ended=None,
        instant=row[_INSTANT],
        entry_type=ENTRY_TYPE_OF_KIND[row[1]],
        tool=texts[row[2]],
        success=None if row[3] is None else bool(row[3]),
        severity=SEVERITIES[row[4]],
        tokens=row[5],
        cost=row[10],
        duration_ms=row[11],
    )


def _ended(view: StepView, row: Row) -> StepView:
    return msgspec.structs.replace(
        view,
        ended=entry_id_of(row[_ENTRY_ID]),
        success=None if row[3] is None else bool(row[3]),
        severity=SEVERITIES[max(row[4], SEVERITIES.index(view.severity))],
        duration_ms=row[11],
    )
