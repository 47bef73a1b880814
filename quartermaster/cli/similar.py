"""`quartermaster similar`: missions of the same shape."""

from collections.abc import Iterator

import click

from quartermaster.cli import completing, output
from quartermaster.cli.options import target_options
from quartermaster.cli.target import Row, Target, find_mission_id


@click.command("similar")
@click.argument("mission", shell_complete=completing.missions)
@click.option(
    "--level",
    type=click.Choice(["kinds", "tools", "arguments", "outcomes"]),
    help="Only those that share this signature.",
)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@target_options()
@output.format_option
def command(target: Target, mission: str, level: str | None, limit: int, form: str) -> None:
    """Find missions of the same shape as MISSION or nearly the same, and how they ended."""
    found = target.similar(find_mission_id(target, mission), {"level": level, "limit": limit})
    output.print_document(form, found, lambda: "\n".join(_lines(form, found)))


_COLUMNS = (
    output.field("MISSION", "mission_id"),
    output.Column("SAME", lambda row: row["level"] or "nearly"),
    output.field("DISTANCE", "distance", right=True),
    output.field("OUTCOME", "outcome"),
    output.field("TASK", "task"),
    output.field("VARIANT", "variant"),
    output.field("TITLE", "title"),
)


def _lines(form: str, found: Row) -> Iterator[str]:
    if found["rows"]:
        yield output.table(form, found["rows"], _COLUMNS)
        yield ""
    ended = ", ".join(f"{count:,} {word}" for word, count in found["outcomes"].items()) or "none"
    yield f"{found['found']:,} of {found['compared']:,} missions are like it: {ended}"
    if found["not_yet"]:
        yield f"{found['not_yet']:,} missions have not been compared yet; ask again"
