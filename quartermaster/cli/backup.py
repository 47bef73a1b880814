"""`quartermaster backup`: the whole database as one file, and whether such a file is sound."""

import time
from pathlib import Path
from typing import Any

import click
import msgspec

from quartermaster.cli import output
from quartermaster.cli.nameless import NAMELESS, GroupOrCommand
from quartermaster.cli.options import home_option, settings_for
from quartermaster.core.journal import format_instant
from quartermaster.errors import NotFound
from quartermaster.home import Home
from quartermaster.store import backup

DAMAGED = 10


@click.group("backup", cls=GroupOrCommand, subcommand_metavar="FILE | verify FILE")
def command() -> None:
    """Write the whole database into one file, while it is written to; verify such a file."""


@command.command(NAMELESS)
@click.argument("file", type=click.Path(path_type=Path))
@home_option
@output.format_option
def make(file: Path, home: Path | None, form: str) -> None:
    """Write the whole database into one file that its owner alone may read, daemon up or down.

    The file holds no tokens that could be used, and not the settings. It is there as a whole, or not at
    all.
    """
    folder = Home(settings_for(home).home)
    if not folder.database.exists():
        raise NotFound(f"there is no database in {folder.path}")
    contents = backup.make(folder.database, file, now=time.time_ns())
    output.print_rows(form, [_row(contents, file, file.stat().st_size)], _COLUMNS)


@command.command("verify")
@click.argument("file", type=click.Path(path_type=Path))
@output.format_option
def verify(file: Path, form: str) -> int:
    """Look through a backup: pages, references, counts, every raw entry. Exits with 10 when it is damaged."""
    verified = backup.verify(file)
    row = {"file": verified.file, "bytes": verified.size}
    if verified.contents is not None:
        row = _row(verified.contents, file, verified.size)
    row |= {"sha256": verified.sha256, "problems": list(verified.problems)}
    output.print_rows(form, [row], (*_COLUMNS, output.field("SHA-256", "sha256")))
    for problem in verified.problems:
        output.tell(f"damaged: {problem}")
    return DAMAGED if verified.problems else 0


def _row(contents: backup.Contents, file: Path, size: int) -> dict[str, Any]:
    return {
        "file": str(file),
        "bytes": size,
        **msgspec.to_builtins(contents),
        "made_at": format_instant(contents.made_at),
    }


def _count(heading: str, table: str) -> output.Column:
    return output.Column(heading, lambda row: row.get("rows", {}).get(table), right=True)


_COLUMNS = (
    output.field("FILE", "file"),
    output.field("BYTES", "bytes", right=True),
    output.field("MADE", "made_at"),
    output.field("SCHEMA", "schema_version", right=True),
    _count("WORKSPACES", "workspace"),
    _count("MISSIONS", "mission"),
    _count("ENTRIES", "entry"),
    _count("RUNS", "eval_run"),
)
