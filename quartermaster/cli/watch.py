"""`quartermaster watch`: folders of other programs whose recordings are read where they lie."""

import time
from collections.abc import Iterable
from pathlib import Path

import click

from quartermaster.cli import admin, output
from quartermaster.cli.options import home_option, settings_for
from quartermaster.config import check_inbox
from quartermaster.errors import NotFound, UsageError
from quartermaster.home import choose_workspace
from quartermaster.store import watched
from quartermaster.store.database import Connection


@click.group("watch")
def command() -> None:
    """Watch folders in place, and stop watching them."""


@command.command("add")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@home_option
def add(path: Path, workspace: str | None, home: Path | None) -> None:
    """Watch the folder PATH, read-only; its missions go to the workspace.

    A running daemon looks into it at its next scan, one that is started later from its start.
    """
    folder = _folder(path)
    settings = settings_for(home)
    check_inbox(folder, settings.home)
    _refuse_overlap(folder, (inbox.path.resolve() for inbox in settings.inbox))

    def put(connection: Connection) -> str:
        chosen = choose_workspace(connection, workspace)
        others = [
            one for one in watched.list_watched(connection) if one.path != folder or one.slug != chosen.slug
        ]
        _refuse_overlap(folder, (one.path for one in others))
        watched.add_watched(connection, chosen.key, folder, time.time_ns())
        return chosen.slug

    with admin.opened(home) as (_, database):
        slug = database.write_blocking(put)
    output.tell(f"{folder} is watched; its missions go to workspace {slug}")


@command.command("list")
@home_option
@output.format_option
def list_(home: Path | None, form: str) -> None:
    """List the folders that are watched in place."""
    settings = settings_for(home)
    with admin.opened(home) as (_, database):
        added = database.read_blocking(watched.list_watched)
    rows = [_row(one.path, one.slug, "watch add") for one in added]
    rows += [_row(inbox.path, inbox.workspace, "settings") for inbox in settings.inbox]
    output.print_rows(form, sorted(rows, key=lambda row: str(row["path"])), _COLUMNS)


@command.command("remove")
@click.argument("path", type=click.Path(path_type=Path))
@home_option
def remove(path: Path, home: Path | None) -> None:
    """Watch the folder PATH no more; the missions that were read from it stay."""
    folder = path.expanduser().resolve()
    if any(inbox.path.resolve() == folder for inbox in settings_for(home).inbox):
        raise UsageError(f"{folder} is an inbox of the settings; take it out there")
    with admin.opened(home) as (_, database):
        database.write_blocking(lambda connection: watched.remove_watched(connection, folder))
    output.tell(f"{folder} is not watched any more; what was read of it stays")


def _folder(path: Path) -> Path:
    folder = path.expanduser().resolve()
    if not folder.exists():
        raise NotFound(f"there is no folder {folder}; check the spelling, or make it first")
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name the one that it lies in, or read it with `ingest`")
    return folder


def _refuse_overlap(folder: Path, others: Iterable[Path]) -> None:
    for other in others:
        if folder == other:
            raise UsageError(f"{folder} is watched already; `quartermaster watch list` says for whom")
        if folder.is_relative_to(other) or other.is_relative_to(folder):
            raise UsageError(
                f"{folder} and {other}, which is watched already, lie inside of one another;"
                " their files would be read twice, so stop watching one of them"
            )


def _row(path: Path, workspace: str, added_by: str) -> dict[str, object]:
    state = "ok" if path.is_dir() else "missing"
    return {"path": str(path), "workspace": workspace, "added_by": added_by, "state": state}


_COLUMNS = (
    output.field("PATH", "path"),
    output.field("WORKSPACE", "workspace"),
    output.field("ADDED BY", "added_by"),
    output.field("STATE", "state"),
)
