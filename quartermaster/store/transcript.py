"""Reads a mission in words: its raw entries in the order of its trajectory."""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final

from quartermaster.core.pricing import Price
from quartermaster.core.transcript import Teller, Transcript
from quartermaster.store.database import Connection
from quartermaster.store.journal import entry_id_of
from quartermaster.store.missions import Mission
from quartermaster.store.raw import RawReader

_BETWEEN_CHECKS: Final = 1024


def read_transcript(
    connection: Connection,
    mission: Mission,
    *,
    price: Price | None = None,
    check: Callable[[], None] = lambda: None,
) -> Transcript:
    """The transcript of a mission; `check` is asked now and then and raises what ends the reading.

    `price` fills in the cost of model calls without a recorded one.
    """
    teller = Teller(price)
    for index, raw in enumerate(_raws(connection, mission.key)):
        if index % _BETWEEN_CHECKS == 0:
            check()
        teller.add(raw)
    return teller.transcript(
        mission.mission_id,
        outcome=mission.outcome,
        timed=mission.started_at is not None,
        format=mission.format,
        title=mission.title,
        task=mission.task,
        variant=mission.variant,
        agent=mission.agent,
        model=mission.model,
        labels=mission.labels,
    )


def _raws(connection: Connection, mission: int) -> Iterator[bytes]:
    """Entries mostly come in the order of their blocks: the next one is looked for beside the last."""
    reader = RawReader(connection)
    first, raws = 0, list[bytes]()
    for sequence in _sequences(connection, mission):
        if not first <= sequence < first + len(raws):
            first, raws = reader.block_of(mission, sequence)
        if sequence - first < len(raws):
            yield raws[sequence - first]


def _sequences(connection: Connection, mission: int) -> Iterable[int]:
    """In the order of a replay, which is that of the table unless ids have two forms."""
    mixed = connection.execute("select mixed_ids from mission where id = ?", (mission,)).fetchone()
    columns = "sequence" if mixed == (0,) else "instant, entry_id, sequence"
    rows = connection.execute(
        f"select {columns} from entry where mission = ? order by instant, entry_id",  # noqa: S608 - our own
        (mission,),
    )
    return (row[0] for row in rows) if mixed == (0,) else _in_order(rows)


def _in_order(rows: Iterable[tuple[int, str | int, int]]) -> Iterator[int]:
    """Ids of two forms at one instant are ordered by their texts, as a replay orders them."""
    for _, group in groupby(rows, key=itemgetter(0)):
        texts = sorted((entry_id_of(entry_id), sequence) for _, entry_id, sequence in group)
        yield from (sequence for _, sequence in texts)
