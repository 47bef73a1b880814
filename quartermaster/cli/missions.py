"""`quartermaster missions`: what has been recorded."""

import click

from quartermaster.cli import completing, output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target


@click.command("missions")
@click.option("--q", metavar="TEXT", help="Part of the id, title, task or variant.")
@click.option("--task", help="What was asked.")
@click.option("--variant", help="By which agent and model.")
@click.option(
    "--outcome",
    shell_complete=completing.words(*completing.OUTCOMES),
    help="succeeded, failed, aborted, timed_out or limit_reached.",
)
@click.option(
    "--trace-format",
    "trace_format",
    metavar="NAME",
    shell_complete=completing.trace_formats,
    help="What it was recorded in.",
)
@click.option(
    "--failure-mode",
    metavar="NAME",
    shell_complete=completing.failure_modes,
    help="Where this was found: D01, exact_tool_loop, ...",
)
@click.option("--since", metavar="TIME", help="Ended at or after this RFC 3339 time.")
@click.option("--until", metavar="TIME", help="Started before this RFC 3339 time.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@target_options()
@output.format_option
def command(target: Target, limit: int, form: str, trace_format: str | None, **filters: str | None) -> None:
    """List missions, last changed first."""
    given = {name: value for name, value in {**filters, "format": trace_format}.items() if value is not None}
    output.print_rows(form, target.missions(given, limit), _COLUMNS)


def _found(row: Row) -> str:
    """Findings by severity, the worst first; nothing for a mission that was not examined as it is now."""
    found = row.get("findings")
    if found is None:
        return ""
    return ", ".join(f"{count:,} {severity}" for severity, count in found.items() if count) or "none"


_COLUMNS = (
    output.field("MISSION", "mission_id"),
    output.field("FORMAT", "format"),
    output.field("TASK", "task"),
    output.field("OUTCOME", "outcome"),
    output.field("ENTRIES", "entries", right=True),
    output.field("CALLS", "model_calls", right=True),
    output.field("TOKENS", "total_tokens", right=True),
    output.field("COST USD", "total_cost_usd", right=True),
    output.Column("FOUND", _found),
    output.field("ENDED", "ended_at"),
    output.field("TITLE", "title"),
)
