"""`quartermaster journal`: the recorded facts themselves, and whether they are still those that came."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.nameless import NAMELESS, GroupOrCommand
from quartermaster.cli.options import home_option, settings_for, target_options
from quartermaster.cli.target import Target, find_mission_id
from quartermaster.errors import NotFound, UsageError
from quartermaster.home import Home
from quartermaster.store import access, verification
from quartermaster.store.access import Workspace
from quartermaster.store.chain import Head
from quartermaster.store.database import Connection, closing_connection, connect_unchanging, sqlite3
from quartermaster.store.verification import Problem

DAMAGED = 10

_TOLD_BESIDE = "the file beside the database"


@click.group("journal", cls=GroupOrCommand, subcommand_metavar="| verify")
def command() -> None:
    """List journal entries, newest first; verify that they are those that came."""


@command.command(NAMELESS)
@click.option("--mission", metavar="MISSION", help="Of one mission: id, unique prefix or latest.")
@click.option("--entry-type", multiple=True, metavar="TYPE", help="Of these types; may be given again.")
@click.option("--exclude-entry-type", multiple=True, metavar="TYPE", help="Not of these types.")
@click.option("--severity", multiple=True, type=click.Choice(["info", "notice", "warn", "error"]))
@click.option("--actor-type", multiple=True, metavar="TYPE", help="Of these actors.")
@click.option("--trace-id", metavar="ID", help="Of one trace.")
@click.option("--run-id", metavar="ID", help="Of one run, such as er_....")
@click.option("--since", metavar="TIME", help="At or after this RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Before this RFC 3339 time.")
@click.option("--q", metavar="PHRASE", help="Holding this phrase.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@target_options()
@output.format_option
def list_entries(target: Target, mission: str | None, limit: int, form: str, **filters: object) -> None:
    """List journal entries, newest first."""
    given = {name: value for name, value in filters.items() if value not in (None, ())}
    if mission is not None:
        given["mission_id"] = find_mission_id(target, mission)
    output.print_rows(form, target.entries(given, limit), _COLUMNS)


_COLUMNS = (
    output.field("TIME", "ts"),
    output.field("MISSION", "mission_id"),
    output.field("TYPE", "entry_type"),
    output.field("SEVERITY", "severity"),
    output.field("SUMMARY", "summary"),
    output.field("ID", "id"),
)


@command.command("verify")
@click.option("--workspace", metavar="WORKSPACE", help="Id or slug; default: every workspace.")
@click.option(
    "--against",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="BACKUP",
    help="A backup that the chain must continue; may be given again.",
)
@click.option(
    "--head", metavar="HEAD", help="An earlier head that the chain must contain (with --workspace)."
)
@home_option
@output.format_option
def verify(
    workspace: str | None, against: tuple[Path, ...], head: str | None, home: Path | None, form: str
) -> int:
    """Hold every raw entry against the hash chain, daemon up or down. Exits with 10 where one is bad.

    Each bad row is named. The head that is printed, kept where nobody here can write, shows later that
    nothing before it was rewritten.
    """
    folder = Home(settings_for(home).home)
    if not folder.database.exists():
        raise NotFound(f"there is no database in {folder.path}")
    if head is not None and workspace is None:
        raise UsageError("--head belongs to one workspace; name it with --workspace")
    earlier = [(str(file), _heads_in(file)) for file in against]
    beside = verification.heads_told_beside(folder.database)
    if beside is None:
        output.tell("no file beside the database tells how far the chains had come")
    else:
        earlier.append((_TOLD_BESIDE, beside))
    rows = []
    try:
        with closing_connection(folder.database, writable=False) as connection:
            for one in _chosen(connection, workspace):
                kept = [
                    (place, heads[one.workspace_id]) for place, heads in earlier if one.workspace_id in heads
                ]
                if head is not None:
                    kept.append(("--head", _head(head)))
                rows.append(_verified(connection, one, kept))
            problems = [str(problem) for problem in verification.strays(connection)]
    except sqlite3.DatabaseError as error:
        output.tell(f"damaged: the database cannot be read ({error})")
        return DAMAGED
    for problem in problems:
        output.tell(f"damaged: {problem}")
    output.print_rows(form, rows, _VERIFIED)
    return DAMAGED if problems or any(row["problems"] for row in rows) else 0


def _chosen(connection: Connection, workspace: str | None) -> list[Workspace]:
    if workspace is None:
        return access.list_workspaces(connection)
    found = access.find_workspace(connection, workspace)
    if found is None:
        raise NotFound(f"no workspace {workspace!r}")
    return [found]


def _heads_in(file: Path) -> dict[str, Head]:
    if not file.is_file():
        raise NotFound(f"no file {str(file)!r}")
    try:
        with connect_unchanging(file) as connection:
            return verification.heads_of(connection)
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{file} is no backup of Quartermaster, or it is damaged") from error


def _head(text: str) -> Head:
    number, _, link = text.partition(":")
    try:
        return Head(int(number), bytes.fromhex(link))
    except ValueError:
        raise UsageError(
            "a head is a number, a colon and 64 hex digits, as `journal verify` prints it"
        ) from None


def _verified(connection: Connection, workspace: Workspace, heads: list[tuple[str, Head]]) -> dict[str, Any]:
    problems: list[dict[str, Any]] = []

    def tell(problem: Problem) -> None:
        problems.append(msgspec.to_builtins(problem))
        output.tell(f"damaged: {problem}")

    began = time.monotonic()
    verified = verification.verify(connection, workspace.key, tell, heads=heads, progress=_progress())
    seconds = max(time.monotonic() - began, 1e-9)
    return {
        "workspace": workspace.slug,
        **msgspec.to_builtins(verified),
        "problems": problems,
        "seconds": round(seconds, 3),
        "megabytes_per_second": round(verified.size / seconds / 1e6, 1),
    }


def _progress() -> Callable[[int], None]:
    """Tells now and then how far it is, where somebody looks on."""
    began = told = time.monotonic()

    def progress(size: int) -> None:
        nonlocal told
        now = time.monotonic()
        if sys.stderr.isatty() and now > told + 2:
            told = now
            output.tell(f"{size / 1e6:,.0f} MB verified, {size / 1e6 / (now - began):,.0f} MB/s")

    return progress


_VERIFIED = (
    output.field("WORKSPACE", "workspace"),
    output.field("MISSIONS", "missions", right=True),
    output.field("ENTRIES", "entries", right=True),
    output.field("LINKS", "links", right=True),
    output.field("CHECKPOINTS", "checkpoints", right=True),
    output.field("MB/S", "megabytes_per_second", right=True),
    output.Column("BAD", lambda row: len(row["problems"]), right=True),
    output.field("HEAD", "head"),
)
