"""Folders that are watched in place because somebody asked for it, beside those of the settings."""

import os
from pathlib import Path

import msgspec

from quartermaster.errors import NotFound
from quartermaster.store.database import Connection


class Watched(msgspec.Struct, frozen=True):
    """A folder, and the key and the slug of the workspace that its missions go to."""

    path: Path
    workspace: int
    slug: str


def list_watched(connection: Connection) -> list[Watched]:
    """Every watched folder, by path."""
    rows = connection.execute(
        "select path, workspace, slug from watched join workspace on workspace.id = workspace order by path"
    )
    return [Watched(Path(os.fsdecode(path)), workspace, slug) for path, workspace, slug in rows]


def add_watched(connection: Connection, workspace: int, path: Path, now: int) -> None:
    """Watch a folder; one that is watched already is watched for this workspace from now on."""
    connection.execute(
        "insert or replace into watched (path, workspace, created_at) values (?, ?, ?)",
        (os.fsencode(path), workspace, now),
    )


def remove_watched(connection: Connection, path: Path) -> None:
    """Watch a folder no more; what was read of it stays. Raises NotFound."""
    removed = connection.execute("delete from watched where path = ?", (os.fsencode(path),))
    if removed.rowcount == 0:
        raise NotFound(f"{path} is not watched; `quartermaster watch list` shows what is")
