"""`quartermaster recompute`: which verdicts would be others under the rules and prices of today."""

from collections.abc import Iterator
from typing import Any, Final

import click

from quartermaster.cli import output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target
from quartermaster.errors import UsageError

FLIPS: Final = 1


@click.command("recompute")
@click.option("--dry-run", is_flag=True, help="List what would flip, and queue nothing.")
@click.option("--all", "everything", is_flag=True, help="List also what stays as it is.")
@target_options()
@output.format_option
def command(target: Target, dry_run: bool, everything: bool, form: str) -> int:
    """List the verdicts and baselines of a home that would come out otherwise today, and why.

    Each is computed again from the capsules that it was given on: the rules of this version, the prices and
    the thresholds of today. Without --dry-run a new run is made for each verdict that flips; the old ones
    stay as they are. Exits with 1 when something flips.
    """
    from quartermaster.cli.local import Local

    if not isinstance(target, Local):
        raise UsageError("verdicts are recomputed on the machine of their home, without --url")
    rows = list(target.recompute())
    flipping = [row for row in rows if row["flips"]]
    if not dry_run:
        flipping = [_again(target, row) for row in flipping]
    output.print_rows(form, rows if everything and dry_run else flipping, _COLUMNS)
    return FLIPS if flipping else 0


def _again(target: Target, row: Row) -> Row:
    if row["request"] is None:
        return row
    kind, body = row["request"]
    return {**row, "new_run": target.evaluate(kind, body, wait=True)["id"]}


def _why(row: Row) -> Iterator[Any]:
    yield from row["because"]
    if row["note"]:
        yield row["note"]


_COLUMNS = (
    output.field("KIND", "kind"),
    output.field("WHICH", "id"),
    output.field("WAS", "was"),
    output.field("WOULD BE", "now"),
    output.Column("BECAUSE OF", lambda row: ", ".join(_why(row))),
    output.field("NEW RUN", "new_run"),
)
