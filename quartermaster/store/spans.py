"""What is remembered of live spans: where they hang, and what they have told of their missions."""

from typing import Final, NamedTuple

from quartermaster.store.database import Connection
from quartermaster.store.journal import EntryKey, entry_id_of, entry_key

_KEEP_BRANCH: Final = "insert or replace into span values (?, ?, ?, ?, ?, ?, ?, ?)"
_KEEP_FACTS: Final = "insert or replace into span_facts values (?, ?, ?)"


class BranchRow(NamedTuple):
    """A span's parent, whether it has come, and whether it, or one below it, calls a model or answers."""

    parent: str | None
    known: bool
    calls: bool
    called_below: bool
    says: bool
    said_below: bool


def find_branch(connection: Connection, workspace: int, entry_id: str) -> BranchRow | None:
    """Where a span hangs."""
    row = connection.execute(
        "select parent, known, calls, called_below, says, said_below from span"
        " where workspace = ? and span = ?",
        (workspace, entry_key(entry_id)),
    ).fetchone()
    if row is None:
        return None
    parent = None if row[0] is None else entry_id_of(row[0])
    return BranchRow(parent, *map(bool, row[1:]))


def keep_branches(connection: Connection, workspace: int, branches: dict[str, BranchRow]) -> None:
    """Remember where spans hang."""
    connection.executemany(
        _KEEP_BRANCH,
        [
            (workspace, entry_key(entry_id), _key(parent), *map(int, flags))
            for entry_id, (parent, *flags) in branches.items()
        ],
    )


def _key(entry_id: str | None) -> EntryKey | None:
    return None if entry_id is None else entry_key(entry_id)


def find_facts(connection: Connection, workspace: int, mission_id: str) -> bytes | None:
    """What spans have told of a mission, as it was kept."""
    row = connection.execute(
        "select facts from span_facts where workspace = ? and mission_id = ?", (workspace, mission_id)
    ).fetchone()
    return None if row is None else bytes(row[0])


def keep_facts(connection: Connection, workspace: int, facts: dict[str, bytes]) -> None:
    """Remember what spans have told of missions."""
    connection.executemany(
        _KEEP_FACTS, [(workspace, mission_id, encoded) for mission_id, encoded in facts.items()]
    )
