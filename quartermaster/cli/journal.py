"""`quartermaster journal`: the recorded facts themselves."""

import click

from quartermaster.cli import output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Target, find_mission_id


@click.command("journal")
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
def command(target: Target, mission: str | None, limit: int, form: str, **filters: object) -> None:
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
