"""`quartermaster workspace`: tenants of this home."""

import time
from pathlib import Path

import click

from quartermaster.cli import admin, output
from quartermaster.cli.options import home_option
from quartermaster.core.journal import format_instant
from quartermaster.store import access
from quartermaster.store.access import Workspace


@click.group("workspace")
def command() -> None:
    """Create and list workspaces."""


@command.command("create")
@click.argument("slug")
@click.option("--id", "workspace_id", metavar="ID", help="Its id; default: a new one.")
@click.option("--name", help="What people call it; default: the slug.")
@home_option
@output.format_option
def create(slug: str, workspace_id: str | None, name: str | None, home: Path | None, form: str) -> None:
    """Make a workspace and its inbox."""
    with admin.opened(home) as (folder, database):
        workspace = database.write_blocking(
            lambda connection: access.create_workspace(
                connection, slug, workspace_id=workspace_id, name=name, now=time.time_ns()
            )
        )
        inbox = folder.create_inbox(workspace.slug)
    output.print_rows(form, [_row(workspace)], _COLUMNS)
    output.tell(f"drop recordings into {inbox}")


@command.command("list")
@home_option
@output.format_option
def list_(home: Path | None, form: str) -> None:
    """List the workspaces by slug."""
    with admin.opened(home) as (_, database):
        known = database.read_blocking(access.list_workspaces)
    output.print_rows(form, [_row(workspace) for workspace in known], _COLUMNS)


def _row(workspace: Workspace) -> dict[str, object]:
    return {
        "id": workspace.workspace_id,
        "slug": workspace.slug,
        "name": workspace.name,
        "created_at": format_instant(workspace.created_at),
    }


_COLUMNS = (
    output.field("SLUG", "slug"),
    output.field("ID", "id"),
    output.field("NAME", "name"),
    output.field("CREATED", "created_at"),
)
