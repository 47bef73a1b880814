"""`quartermaster missions`: what has been recorded."""

import click

from quartermaster.cli import output
from quartermaster.cli.options import filter_options, target_options
from quartermaster.cli.target import Row, Target


@click.command("missions")
@filter_options
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@target_options()
@output.format_option
def command(target: Target, limit: int, form: str, filters: dict[str, str]) -> None:
    """List missions, last changed first."""
    shown = list(target.missions(filters, limit))
    output.print_rows(form, shown, _COLUMNS)
    looked_through = shown
    if filters.pop("failure_mode", None) is not None:
        looked_through = list(target.missions(filters, limit))
    unexamined = sum(row.get("findings") is None for row in looked_through)
    if unexamined:
        output.tell(
            f"{unexamined:,} of {len(looked_through):,} missions are not examined yet, so what would be found"
            " in them is not known; a running daemon examines them, and `quartermaster show` one"
        )


def _found(row: Row) -> str:
    """Findings by severity, the worst first."""
    found = row.get("findings")
    if found is None:
        return "not yet"
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
