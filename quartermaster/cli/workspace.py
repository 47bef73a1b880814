"""`quartermaster workspace`: tenants of this home."""

import time
from pathlib import Path

import click
import msgspec

from quartermaster import __version__
from quartermaster.cli import admin, output
from quartermaster.cli.options import home_option
from quartermaster.core.journal import format_instant
from quartermaster.home import choose_workspace
from quartermaster.store import access, audit, transfer
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database

_EXPORT_SECONDS = 3600.0


@click.group("workspace")
def command() -> None:
    """Create, list, export and import workspaces."""


@command.command("create")
@click.argument("slug")
@click.option("--id", "workspace_id", metavar="ID", help="Its id; default: a new one.")
@click.option("--name", help="What people call it; default: the slug.")
@home_option
@output.format_option
def create(slug: str, workspace_id: str | None, name: str | None, home: Path | None, form: str) -> None:
    """Make a workspace and its inbox."""

    def make(connection: Connection) -> Workspace:
        now = time.time_ns()
        made = access.create_workspace(connection, slug, workspace_id=workspace_id, name=name, now=now)
        audit.note(connection, made.key, "workspace.created", admin.operator(), now=now, slug=slug)
        return made

    with admin.opened(home) as (folder, database):
        workspace = database.write_blocking(make)
        inbox = folder.create_inbox(workspace.slug)
    output.print_rows(form, [_row(workspace)], _COLUMNS)
    output.tell(f"drop recordings into {inbox}")


@command.command("export")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@home_option
@output.format_option
def export(file: Path, workspace: str | None, home: Path | None, form: str) -> None:
    """Write a workspace into one file: every raw entry, and the ledger of files. Daemon up or down."""
    with admin.opened(home) as (_, database):
        chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
        head = transfer.Head(
            format=transfer.FORMAT,
            made_by=__version__,
            workspace_id=chosen.workspace_id,
            slug=chosen.slug,
        )
        end = transfer.export(database, chosen.key, head, file, seconds=_EXPORT_SECONDS)
        _note(database, chosen, "workspace.exported", missions=end.missions, entries=end.entries)
    output.print_rows(form, [{"file": str(file), **msgspec.to_builtins(end)}], _EXPORTED)


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local.")
@home_option
@output.format_option
def import_(file: Path, workspace: str | None, home: Path | None, form: str) -> None:
    """Take in what such a file holds and the workspace does not have yet; a second time changes nothing."""
    transfer.check(file)
    with admin.opened(home) as (_, database):
        chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
        imported = transfer.take_in(database, chosen.key, file, now=time.time_ns())
        _note(database, chosen, "workspace.imported", missions=imported.missions, accepted=imported.accepted)
    output.print_rows(form, [msgspec.to_builtins(imported)], _IMPORTED)


@command.command("list")
@home_option
@output.format_option
def list_(home: Path | None, form: str) -> None:
    """List the workspaces by slug."""
    with admin.opened(home) as (_, database):
        known = database.read_blocking(access.list_workspaces)
    output.print_rows(form, [_row(workspace) for workspace in known], _COLUMNS)


def _note(database: Database, workspace: Workspace, action: str, **facts: int) -> None:
    database.write_blocking(
        lambda connection: audit.note(
            connection, workspace.key, action, admin.operator(), now=time.time_ns(), **facts
        )
    )


def _row(workspace: Workspace) -> dict[str, object]:
    return {
        "id": workspace.workspace_id,
        "slug": workspace.slug,
        "name": workspace.name,
        "created_at": format_instant(workspace.created_at),
    }


def _number(key: str) -> output.Column:
    return output.field(key.upper(), key, right=True)


_EXPORTED = (output.field("FILE", "file"), *map(_number, ("missions", "entries", "sources")))
_IMPORTED = tuple(map(_number, ("missions", "accepted", "duplicate", "removed", "sources")))
_COLUMNS = (
    output.field("SLUG", "slug"),
    output.field("ID", "id"),
    output.field("NAME", "name"),
    output.field("CREATED", "created_at"),
)
