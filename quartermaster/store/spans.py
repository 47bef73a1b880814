"""What is remembered of live spans: where they hang, and what they have told of their missions."""

from typing import Final

from quartermaster.store.database import Connection
from quartermaster.store.journal import EntryKey, entry_id_of, entry_key

_KEEP_BRANCH: Final = "insert or replace into span values (?, ?, ?, ?, ?, ?)"
_KEEP_FACTS: Final = "insert or replace into span_facts values (?, ?, ?)"


def find_branch(
    connection: Connection, workspace: int, entry_id: str
) -> tuple[str | None, bool, bool, bool] | None:
    """A span's parent, whether it has come, whether it is a model call, and whether one lies below it."""
    row = connection.execute(
        "select parent, known, calls, called_below from span where workspace = ? and span = ?",
        (workspace, entry_key(entry_id)),
    ).fetchone()
    if row is None:
        return None
    parent = None if row[0] is None else entry_id_of(row[0])
    return parent, bool(row[1]), bool(row[2]), bool(row[3])


def keep_branches(
    connection: Connection, workspace: int, branches: dict[str, tuple[str | None, bool, bool, bool]]
) -> None:
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
