"""`quartermaster schema`: the JSON Schemas of reports and policies."""

import click

from quartermaster.cli import output
from quartermaster.core.reports.schema import SCHEMAS, schema_text


@click.command("schema")
@click.argument("name", type=click.Choice(list(SCHEMAS)))
def command(name: str) -> None:
    """Print the JSON Schema of reports or of a policy file."""
    output.write(schema_text(name).rstrip("\n"))
