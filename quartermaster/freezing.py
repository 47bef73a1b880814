"""From the database into capsules: missions as they are now, sealed for later."""

from collections.abc import Callable
from itertools import chain
from typing import Final, NamedTuple

import msgspec

from quartermaster.core.capsule import (
    MISSIONS_LIMIT,
    Capsule,
    FrozenMission,
    Head,
    Sealed,
    accepted_after,
    freeze,
    open_capsule,
    seal,
    with_texts,
)
from quartermaster.core.journal import format_instant
from quartermaster.core.pricing import Price
from quartermaster.core.selection import Selection
from quartermaster.errors import NotFound, UsageError
from quartermaster.grounds import ungrounded_actions
from quartermaster.store import baselines, missions, trajectory
from quartermaster.store.baselines import Baseline
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


class Signed(NamedTuple):
    """Who freezes or accepts a baseline, when and why."""

    name: str
    by: str
    reason: str | None
    now: int

    def head(self, head: Head, former: Capsule | None) -> Head:
        """The head of the capsule of the baseline."""
        signed = msgspec.structs.replace(
            head,
            name=self.name,
            created_at=format_instant(self.now),
            created_by=self.by,
            reason=self.reason,
        )
        return signed if former is None else accepted_after(signed, former)


def freeze_baseline(
    connection: Connection,
    workspace: int,
    selection: Selection,
    signed: Signed,
    head: Head,
    *,
    price: Price,
    check: Callable[[], None],
    accepted: bool,
) -> Side:
    """A capsule for a baseline, new or accepted for the one that is there.

    Raises NotFound where nothing is selected, or nothing is there to accept it for.
    """
    if selection.baseline is not None:
        raise UsageError("a baseline is frozen from missions, not from another baseline")
    baselines.check_name(signed.name)
    former = baseline_side(connection, workspace, signed.name).capsule if accepted else None
    side = freeze_missions(
        connection, workspace, selection, signed.head(head, former), price=price, check=check
    )
    if side is None or not side.capsule.missions:
        raise NotFound("no mission is selected; `quartermaster missions` lists what there is")
    return side


def keep_baseline(
    connection: Connection, workspace: int, side: Side, signed: Signed, *, accepted: bool
) -> Baseline:
    """Keep a frozen side as the baseline that it was frozen for."""
    return baselines.add_version(
        connection,
        workspace,
        name=signed.name,
        sealed=side.sealed,
        mission_ids=tuple(mission.mission_id for mission in side.capsule.missions),
        created_by=signed.by,
        reason=signed.reason,
        accepted=accepted,
        now=signed.now,
    )


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
        ungrounded_actions(connection, mission, check),
    )
