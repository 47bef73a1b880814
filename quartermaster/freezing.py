"""From the database into capsules: missions as they are now, sealed for later."""

from collections.abc import Callable
from itertools import chain
from typing import Final, NamedTuple

from quartermaster.core.capsule import (
    MISSIONS_LIMIT,
    Capsule,
    FrozenMission,
    Head,
    Sealed,
    freeze,
    open_capsule,
    seal,
    with_texts,
)
from quartermaster.core.pricing import Price
from quartermaster.core.selection import Selection
from quartermaster.errors import NotFound, UsageError
from quartermaster.store import baselines, missions, trajectory
from quartermaster.store.database import Connection
from quartermaster.store.missions import Mission
from quartermaster.store.names import Texts

ENTRIES_LIMIT: Final = 200_000
"""Entries of one side of a verdict that are kept with it: beyond, a mission would not fit into memory."""
_TEXTS_LIMIT: Final = 50_000


class Side(NamedTuple):
    """One side of a verdict: the capsule as it is read, and the bytes to keep of it."""

    capsule: Capsule
    sealed: Sealed


def freeze_missions(
    connection: Connection,
    workspace: int,
    selection: Selection,
    head: Head,
    *,
    price: Price,
    check: Callable[[], None],
    entries_limit: int | None = None,
) -> Side | None:
    """A capsule of the selected missions; None where they have more entries than `entries_limit`."""
    selected = missions.select_missions(connection, workspace, selection)
    if entries_limit is not None and sum(mission.entries for mission in selected) > entries_limit:
        return None
    if len(selected) > MISSIONS_LIMIT:
        raise UsageError(f"{len(selected):,} missions; a capsule holds at most {MISSIONS_LIMIT:,}")
    texts = Texts(connection)
    sealed = seal(head, [_frozen(connection, mission, texts, price, check) for mission in selected])
    return Side(open_capsule(sealed.data), sealed)


def baseline_side(connection: Connection, workspace: int, name: str) -> Side:
    """The version of a baseline that holds."""
    data = baselines.require_capsule(connection, workspace, name)
    capsule = open_capsule(data)
    return Side(capsule, Sealed(capsule.digest, data))


def freeze_baseline(
    connection: Connection,
    workspace: int,
    selection: Selection,
    head: Head,
    *,
    price: Price,
    check: Callable[[], None],
) -> Side:
    """A capsule for a baseline; NotFound where nothing is selected."""
    if selection.baseline is not None:
        raise UsageError("a baseline is frozen from missions, not from another baseline")
    side = freeze_missions(connection, workspace, selection, head, price=price, check=check)
    assert side is not None
    if not side.capsule.missions:
        raise NotFound("no mission is selected; `quartermaster missions` lists what there is")
    return side


def _frozen(
    connection: Connection, mission: Mission, texts: Texts, price: Price, check: Callable[[], None]
) -> FrozenMission:
    check()
    if len(texts) > _TEXTS_LIMIT:
        texts.clear()
    rows = chain.from_iterable(trajectory.step_pages(connection, mission.key))
    return freeze(
        baselines.facts_of(connection, mission),
        baselines.journal_range(connection, mission.key),
        with_texts(rows, texts),
        price,
    )
