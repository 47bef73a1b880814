"""`quartermaster member`: who may do what in a workspace."""

import time
from pathlib import Path

import click

from quartermaster import administration
from quartermaster.cli import admin, completing, output
from quartermaster.cli.options import home_option
from quartermaster.home import choose_workspace
from quartermaster.store import access
from quartermaster.store.access import Member
from quartermaster.store.database import Connection

_workspace_option = click.option(
    "--workspace", metavar="WORKSPACE", help="Id or slug; default: the only one, else local."
)


@click.group("member")
def command() -> None:
    """Add members to a workspace, change their role, remove them."""


@command.command("add")
@click.argument("user")
@_workspace_option
@click.option(
    "--role",
    required=True,
    metavar="ROLE",
    shell_complete=completing.words(*completing.ROLES),
    help="OWNER, ADMIN, MANAGER, MEMBER or VIEWER.",
)
@home_option
@output.format_option
def add(user: str, workspace: str | None, role: str, home: Path | None, form: str) -> None:
    """Make USER a member; a second call changes the role."""
    wanted = access.parse_role(role)

    def put(connection: Connection) -> Member:
        key, now = choose_workspace(connection, workspace).key, time.time_ns()
        return administration.put_member(connection, key, user, wanted, admin.acting(), now=now)

    with admin.opened(home) as (_, database):
        member = database.write_blocking(put)
    output.print_rows(form, [_row(member)], _COLUMNS)


@command.command("remove")
@click.argument("user")
@_workspace_option
@home_option
def remove(user: str, workspace: str | None, home: Path | None) -> None:
    """Take USER out of a workspace."""

    def take(connection: Connection) -> str:
        chosen = choose_workspace(connection, workspace)
        administration.remove_member(connection, chosen.key, user, admin.acting(), now=time.time_ns())
        return chosen.slug

    with admin.opened(home) as (_, database):
        slug = database.write_blocking(take)
    output.tell(f"{user} is no member of {slug} any more")


@command.command("list")
@_workspace_option
@home_option
@output.format_option
def list_(workspace: str | None, home: Path | None, form: str) -> None:
    """List the members of a workspace, the highest role first."""

    def find(connection: Connection) -> list[Member]:
        return access.list_members(connection, choose_workspace(connection, workspace).key)

    with admin.opened(home) as (_, database):
        members = database.read_blocking(find)
    output.print_rows(form, [_row(member) for member in members], _COLUMNS)


def _row(member: Member) -> dict[str, object]:
    return {"user": member.user_id, "role": member.role.name}


_COLUMNS = (output.field("USER", "user"), output.field("ROLE", "role"))
