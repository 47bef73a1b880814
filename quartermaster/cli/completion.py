"""`quartermaster completion`: the script by which a shell completes commands, options and values."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from quartermaster.cli import COMPLETION_VARIABLE, PROGRAM, cli, output

SHELLS: Final = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script by which a shell completes commands, options and values.

    Values are the choices of options, formats, and ids of missions and runs from the home of this machine.
    """
    kind = get_completion_class(shell)
    assert kind is not None
    template = kind.source_template
    names = kind(cli, {}, PROGRAM, COMPLETION_VARIABLE).source_vars()
    output.write((template % names).rstrip("\n"))
