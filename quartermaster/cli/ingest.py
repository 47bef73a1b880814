"""`quartermaster ingest`: recordings in, and what became of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from quartermaster.cli import output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target
from quartermaster.cli.waiting import progress
from quartermaster.errors import NotFound


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH...")
@target_options(create=True)
@output.format_option
def command(target: Target, paths: tuple[Path, ...], form: str) -> int:
    """Read recordings (files or folders) into the journal and print what became of each.

    Reading a file again adds nothing. Exits with 2 when nothing at all was understood.
    """
    for path in paths:
        if not path.exists():
            raise NotFound(f"there is no file or folder {path}")
    with progress() as tell:
        ledgers = target.ingest([path.absolute() for path in paths], tell)
    print_ledger(form, ledgers)
    if not ledgers:
        output.tell(f"no files in {', '.join(map(str, paths))}")
    return 0 if any(understood(ledger) for ledger in ledgers) else 2


def understood(ledger: Row) -> bool:
    """Whether a file gave anything, now or when it was read before."""
    return bool(ledger["accepted"] or ledger["duplicate"])


def print_ledger(form: str, ledgers: list[Row]) -> None:
    """One row a file; what was rejected, and why, on stderr."""
    output.print_rows(form, ledgers, ledger_columns(ledgers))
    for ledger in ledgers:
        for line in _complaints(ledger):
            output.tell(line)


def ledger_columns(ledgers: Sequence[Row]) -> tuple[output.Column, ...]:
    """The columns of a ledger; secrets and unknown types have theirs where there are any."""
    further = (_MASKED, "masked"), (_UNKNOWN_TYPES, "unknown_types")
    shown = (column for column, key in further if any(ledger.get(key) for ledger in ledgers))
    return (*LEDGER_COLUMNS, *shown)


def _counts(ledger: Row, key: str) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted((ledger.get(key) or {}).items()))


def _complaints(ledger: Row) -> Iterator[str]:
    if ledger["reason"]:
        yield f"{ledger['path']}: {ledger['reason']}"
    lines = ledger.get("rejected_lines") or ()
    for one in lines:
        place = f"line {one['line']}" if one["line"] is not None else f"byte {one['position']}"
        yield f"{ledger['path']}: {place}: {one['reason']}"
    if ledger["rejected"] > len(lines):
        yield f"{ledger['path']}: {ledger['rejected'] - len(lines):,} more were rejected"


LEDGER_COLUMNS = (
    output.Column("FILE", lambda row: row.get("path") or row["name"]),
    output.field("FORMAT", "format"),
    output.field("STATE", "state"),
    output.field("MISSIONS", "missions", right=True),
    output.field("ACCEPTED", "accepted", right=True),
    output.field("DUPLICATE", "duplicate", right=True),
    output.field("CONFLICTING", "conflicting", right=True),
    output.field("REJECTED", "rejected", right=True),
    output.field("UNREAD BYTES", "unread", right=True),
)
_MASKED = output.Column("MASKED", lambda row: _counts(row, "masked"))
_UNKNOWN_TYPES = output.Column("UNKNOWN TYPES", lambda row: _counts(row, "unknown_types"))
