"""`quartermaster sources`: every file that was offered, and what became of it."""

import click

from quartermaster.cli import completing, output
from quartermaster.cli.ingest import ledger_columns
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Target

_STATES = ("reading", "complete", "waiting", "unrecognised", "refused", "failed", "vanished")


@click.command("sources")
@click.option("--state", type=click.Choice(_STATES), help="What became of the file.")
@click.option(
    "--trace-format",
    "trace_format",
    metavar="NAME",
    shell_complete=completing.trace_formats,
    help="What it was recorded in.",
)
@click.option("--q", metavar="TEXT", help="Part of the name.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@target_options()
@output.format_option
def command(target: Target, limit: int, form: str, trace_format: str | None, **filters: str | None) -> None:
    """List files that were offered and what became of each, last changed first.

    Reading a file again with `ingest` adds nothing and names the lines of it that were rejected.
    """
    given = {name: value for name, value in {**filters, "format": trace_format}.items() if value is not None}
    rows = list(target.sources(given, limit))
    output.print_rows(form, rows, (*ledger_columns(rows), output.field("REASON", "reason")))
