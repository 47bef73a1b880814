"""What the commands that manage a home have in common: they work on its database directly."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from quartermaster.cli.options import settings_for
from quartermaster.errors import NotFound
from quartermaster.home import Home, holder, open_home
from quartermaster.store import access
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database


@contextmanager
def opened(home: Path | None) -> Iterator[tuple[Home, Database]]:
    """The home and its database, made where there is none yet."""
    folder = Home(settings_for(home).home)
    database = open_home(folder, create=True, beside_daemon=holder(folder) is not None).database
    with database:
        yield folder, database


def choose_workspace(connection: Connection, id_or_slug: str | None) -> Workspace:
    """The workspace of that id or slug; where none is named the only one, else `local`."""
    known = access.list_workspaces(connection)
    if id_or_slug is None and len(known) == 1:
        return known[0]
    found = access.find_workspace(connection, id_or_slug or access.FIRST_WORKSPACE)
    if found is None:
        slugs = ", ".join(workspace.slug for workspace in known)
        raise NotFound(f"no workspace {id_or_slug or access.FIRST_WORKSPACE!r}; there are {slugs}")
    return found
