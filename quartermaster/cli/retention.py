"""`quartermaster retention`: how long missions are kept, and the removal of the others."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from quartermaster.cli import admin, completing, output
from quartermaster.cli.options import home_option, settings_for
from quartermaster.config import retention_of
from quartermaster.core.journal import format_instant
from quartermaster.home import choose_workspace
from quartermaster.store import audit, retention
from quartermaster.store.access import Workspace
from quartermaster.store.database import Connection, Database
from quartermaster.store.retention import Due, Policy

BY_HAND = "by hand"

_SECONDS = 60.0


def _workspace_option(function: Callable[..., Any]) -> Callable[..., Any]:
    said = "Id or slug; default: the only one, else local."
    return click.option("--workspace", metavar="WORKSPACE", help=said)(function)


@click.group("retention")
def command() -> None:
    """Say how long missions are kept, and remove those that are not."""


@command.command("show")
@_workspace_option
@home_option
@output.format_option
def show(workspace: str | None, home: Path | None, form: str) -> None:
    """Show what a workspace keeps, and what is due by now."""
    with _opened(home, workspace) as (database, chosen, policy):
        due = _due(database, chosen, policy)
    row = {"workspace": chosen.slug, **msgspec.to_builtins(policy), "due": len(due)}
    output.print_rows(form, [row], _POLICY)


@command.command("set")
@click.option("--days", type=click.IntRange(0, 100_000), default=0, help="Days without a change; 0: any.")
@click.option("--missions", type=click.IntRange(0, 2**40), default=0, help="How many missions; 0: all.")
@click.option("--size", type=click.IntRange(0, 2**50), default=0, metavar="BYTES", help="Room; 0: any.")
@click.option("--keep-type", multiple=True, metavar="TYPE", help="Keep missions with an entry of this type.")
@_workspace_option
@home_option
def set_(
    *,
    days: int,
    missions: int,
    size: int,
    keep_type: tuple[str, ...],
    workspace: str | None,
    home: Path | None,
) -> None:
    """Say what a workspace keeps from now on, whatever the settings say. What is not given has no limit."""
    policy = Policy(days=days or None, missions=missions or None, size=size or None, kept_types=keep_type)

    def put(connection: Connection) -> None:
        retention.set_policy(connection, chosen.key, policy)
        _note(connection, chosen, "retention.set", **msgspec.to_builtins(policy))

    with _opened(home, workspace) as (database, chosen, _):
        database.write_blocking(put)


@command.command("run")
@click.option("--dry-run", is_flag=True, help="Print what would go, and remove nothing.")
@_workspace_option
@home_option
@output.format_option
def run(dry_run: bool, workspace: str | None, home: Path | None, form: str) -> None:
    """Remove the missions that are due, with all that was kept of them, and print which."""
    with _opened(home, workspace) as (database, chosen, policy):
        due = _due(database, chosen, policy)
        if not dry_run:
            removed = retention.run(database, chosen.key, policy, now=time.time_ns())
            database.write_blocking(
                lambda connection: _note(connection, chosen, "retention.run", missions=removed.missions)
            )
            output.tell(f"{removed.missions:,} missions removed, {removed.freed:,} bytes freed")
    output.print_rows(form, [_row(one) for one in due], _DUE)


@command.command("keep")
@click.argument("mission", shell_complete=completing.missions)
@click.option("--reason", default=BY_HAND, show_default=True, help="Why; a mission may have several reasons.")
@_workspace_option
@home_option
def keep(mission: str, reason: str, workspace: str | None, home: Path | None) -> None:
    """Let no retention remove a mission."""

    def put(connection: Connection) -> None:
        retention.keep(connection, chosen.key, mission, reason)
        _note(connection, chosen, "retention.kept", mission=mission, reason=reason)

    with _opened(home, workspace) as (database, chosen, _):
        database.write_blocking(put)


@command.command("release")
@click.argument("mission", shell_complete=completing.missions)
@click.option("--reason", default=BY_HAND, show_default=True, help="The reason that ends.")
@_workspace_option
@home_option
def release(mission: str, reason: str, workspace: str | None, home: Path | None) -> None:
    """Let a mission go when it is due."""

    def put(connection: Connection) -> None:
        retention.release(connection, chosen.key, mission, reason)
        _note(connection, chosen, "retention.released", mission=mission, reason=reason)

    with _opened(home, workspace) as (database, chosen, _):
        database.write_blocking(put)


@contextmanager
def _opened(home: Path | None, workspace: str | None) -> Iterator[tuple[Database, Workspace, Policy]]:
    otherwise = retention_of(settings_for(home))
    with admin.opened(home) as (_, database):
        chosen = database.look_up(lambda connection: choose_workspace(connection, workspace))
        policy = database.look_up(lambda connection: retention.policy_of(connection, chosen.key, otherwise))
        yield database, chosen, policy


def _note(connection: Connection, workspace: Workspace, action: str, **facts: object) -> None:
    audit.note(connection, workspace.key, action, admin.operator(), now=time.time_ns(), **facts)


def _due(database: Database, workspace: Workspace, policy: Policy) -> list[Due]:
    now = time.time_ns()
    return database.read_blocking(
        lambda connection: retention.due(connection, workspace.key, policy, now), _SECONDS
    )


def _row(one: Due) -> dict[str, Any]:
    return {
        "mission_id": one.mission_id,
        "because": one.because,
        "entries": one.entries,
        "bytes": one.size,
        "changed_at": format_instant(one.changed_at),
    }


_DUE = (
    output.field("MISSION", "mission_id"),
    output.field("OVER", "because"),
    output.field("ENTRIES", "entries", right=True),
    output.field("BYTES", "bytes", right=True),
    output.field("CHANGED", "changed_at"),
)
_POLICY = (
    output.field("WORKSPACE", "workspace"),
    output.field("DAYS", "days", right=True),
    output.field("MISSIONS", "missions", right=True),
    output.field("BYTES", "size", right=True),
    output.field("KEPT TYPES", "kept_types"),
    output.field("DUE", "due", right=True),
)
