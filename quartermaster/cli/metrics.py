"""`quartermaster metrics`: what is measured of a mission, and what is looked for in it."""

import click

from quartermaster.cli import output


@click.command("metrics")
@output.format_option
def command(form: str) -> None:
    """List the metrics of a mission: what each one is, its unit, which way is good, and over what."""
    from quartermaster.core.mission_metrics import CATALOGUE

    rows = [
        {
            "id": one.id,
            "definition": one.definition,
            "unit": one.unit,
            "direction": one.direction,
            "population": one.population,
            "parts": one.parts,
            "export": one.export,
        }
        for one in CATALOGUE.values()
    ]
    output.print_rows(form, rows, _COLUMNS)


_COLUMNS = (
    output.field("METRIC", "id"),
    output.field("DEFINITION", "definition"),
    output.field("UNIT", "unit"),
    output.field("DIRECTION", "direction"),
    output.field("OVER", "population"),
    output.field("PARTS BY", "parts"),
    output.field("EXPORTED AS", "export"),
)
