"""Reads a mission in words: its raw entries in the order of its trajectory."""

from collections.abc import Callable, Iterator
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
    reader = RawReader(connection)
    rows = connection.execute(
        "select instant, entry_id, sequence from entry where mission = ? order by instant, entry_id",
        (mission,),
    )
    for _, sequence in _in_order(rows):
        raw = reader.read(mission, sequence)
        if raw is not None:
            yield raw


def _in_order(rows: Iterator[tuple[int, str | int, int]]) -> Iterator[tuple[int, int]]:
    """Ids of two forms at one instant are ordered by their texts, as a replay orders them."""
    group: list[tuple[int, str, int]] = []
    for instant, entry_id, sequence in rows:
        if group and group[0][0] != instant:
            yield from ((one[0], one[2]) for one in sorted(group))
            group = []
        group.append((instant, entry_id_of(entry_id), sequence))
    yield from ((one[0], one[2]) for one in sorted(group))
